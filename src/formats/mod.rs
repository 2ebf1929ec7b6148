//! Bytes to plain structs and back.

mod adapter;
mod architecture;
mod asset;
mod backbone;
mod bundle;
mod checkpoint;
pub(crate) mod checksum;
mod claim;
mod class_balance;
#[allow(missing_docs)]
mod digest;
mod error;
mod files;
pub(crate) mod fitted;
mod foreign;
mod hugging_face;
mod lock;
#[allow(missing_docs)]
mod manifest;
mod merge;
mod mixing;
pub mod npy;
#[cfg(feature = "onnx")]
pub mod onnx;
mod peft;
mod peft_config;
mod peft_modules;
mod printable;
mod publish;
mod pytorch;
mod regular;
mod run_dir;
mod temperature;
mod tensors;

pub use adapter::{Adapter, GateDistribution, Head, LayerAdapter, MAX_RANK};
pub use architecture::Architecture;
pub use asset::Asset;
pub(crate) use backbone::EPSILON;
pub use backbone::{BackboneFile, Stem};
pub use bundle::Bundle;
pub use checkpoint::Checkpoint;
pub use claim::{Claim, Undo};
pub use class_balance::ClassBalance;
pub use digest::Digest;
pub use error::FormatError;
pub use files::write_atomic;
pub use lock::{LOCK, Lock};
pub use manifest::{DataManifest, ManifestFile, ManifestImages};
pub(crate) use merge::add_product;
pub use mixing::Mixing;
pub use printable::printable;
pub use regular::{open_regular, read_regular};
pub use run_dir::RunDir;
pub use temperature::Temperature;
pub use tensors::{Integers, Tensor, TensorFile};
