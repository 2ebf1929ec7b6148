//! Every operation of `Graph` against its f64 twin, at awkward shapes, on every kind of device.
//!
//! Each case runs on all of [`bench::setups`]: kernels chosen for the adapter and plain ones, with
//! and without naga's runtime checks, on a device with WebGPU's default limits and no feature, and
//! on one whose grids must fold. Runs with the same kernels must give the same bits on all of them.
//!
//! Poison is everywhere. Every transient is NaN before, with a guard behind it; inputs lie between
//! NaNs; what an operation writes into a larger buffer lies between sentinels that must survive.
//! Padding lanes go in as zeros and must come out as zeros.
//!
//! llvmpipe's subgroup is as wide as its vectors, and it reads the width once a process. By default
//! the widest is taken (16 lanes with AVX-512, else 8); the other kernels are run by
//!
//!     LP_NATIVE_VECTOR_WIDTH=256 cargo test --release --test operations    # 8 lanes
//!     LP_NATIVE_VECTOR_WIDTH=128 cargo test --release --test operations    # 4 lanes
//!
//! Newer drivers take minutes to compile kernels that are not for them: `OPERATIONS=defaults` leaves out all but those
//! that the adapter chooses and the plain ones. `.ci/drivers` has it so.

mod bench;
mod chain;
mod conv;
mod gates;
mod head;
mod input;
mod low_rank;
mod optimizer;
mod pool;
mod prefix;
mod weights;

#[path = "../common/mod.rs"]
mod common;
#[path = "../reference/mod.rs"]
mod reference;
