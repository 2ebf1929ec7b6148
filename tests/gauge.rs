//! The basis of the ranks: turning changes no function, and what it is for is reached.

mod common;
mod properties;
mod reference;

#[path = "gauge/algebra.rs"]
mod algebra;
#[path = "gauge/evidence.rs"]
mod evidence;
#[path = "gauge/mixed.rs"]
mod mixed;
#[path = "gauge/network.rs"]
mod network;
