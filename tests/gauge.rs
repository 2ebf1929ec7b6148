//! The basis of the ranks: turning changes no function, and what it is for is reached.

mod common;
mod properties;

#[path = "gauge/algebra.rs"]
mod algebra;
#[path = "gauge/network.rs"]
mod network;
