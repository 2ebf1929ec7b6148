//! Networks on the GPU: what they compute, how they train, and what theory says of both.
//!
//! One binary, on one device for most: linking each file alone takes longer than many of them run.

mod corruptions;
mod elbo;
mod gates;
mod gauge;
mod golden;
mod gradients;
mod input;
mod int8;
mod laplace;
mod lr_range;
mod merge;
mod pruning;
mod state;
mod theory;
mod toy_rank;
mod train;
mod tuning;
mod weight_noise;

#[path = "../common/mod.rs"]
mod common;
#[path = "../properties/mod.rs"]
mod properties;
#[path = "../reference/mod.rs"]
mod reference;
#[path = "../small/mod.rs"]
mod small;
