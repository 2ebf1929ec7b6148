//! Bytes to plain structs and back.

pub mod npy;
