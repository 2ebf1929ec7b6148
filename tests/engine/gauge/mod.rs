//! The basis of the ranks: turning changes no function, and what it is for is reached.

mod algebra;
mod evidence;
mod mixed;
mod network;
