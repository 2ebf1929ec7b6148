//! Reference implementations of all operations, on the CPU in f64. They are called twins in the tests.
//!
//! Twins take logical NCHW arguments, without channel padding or any layout of the engine's, so that
//! a mistake in a layout cannot be on both sides of a comparison. They are written to be obviously
//! right; `tests/reference_twins.rs` proves them by finite differences and published vectors.

// Every test binary compiles this module anew and uses its own part of it.
#![allow(dead_code)]

pub mod adamw;
pub mod adapter;
pub mod affine;
pub mod conv;
pub mod corruption;
pub mod gates;
pub mod head;
pub mod int8;
pub mod philox;
pub mod pool;
pub mod resize;
pub mod resnet;
pub mod tensor;
pub mod toy;
pub mod weights;
