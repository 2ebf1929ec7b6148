//! The C interface: see `include/bayeslora.h`, which cbindgen makes from this crate.
//!
//! Every function catches panics, and refuses null where something has to be.
#![allow(non_camel_case_types, reason = "the names are those of C")]
#![allow(
    clippy::not_unsafe_ptr_arg_deref,
    reason = "C has no unsafe; the header says what pointers must be"
)]
#![deny(unsafe_op_in_unsafe_fn)]

mod gpu;
mod image;
mod prune;
mod session;
mod status;
mod stop;
mod text;
mod trainer;

pub use gpu::*;
pub use image::*;
pub use prune::*;
pub use session::*;
pub use status::*;
pub use stop::*;
pub use trainer::*;
