//! Variational training of rank-gated adapters.

pub mod kl;
