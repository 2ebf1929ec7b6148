//! ResNets as tables of layers, adapters and gates, and the builders that turn them into plans.

mod adapted;
mod adapters;
#[warn(missing_docs)]
mod backbone;
mod batch;
#[warn(missing_docs)]
mod bits;
pub mod exchange;
mod frozen;
mod graph;
mod int8;
mod kernels;
mod merge;
#[cfg(feature = "onnx")]
#[warn(missing_docs)]
mod onnx;
mod ops;
mod params;
mod prefix;
mod resident;
mod resnet;
mod step;
mod suffix;
mod textures;
mod tuning;
mod weight_noise;
mod winograd;

pub use adapted::{AdaptedNetwork, BackwardPass, Drawn, ForwardPass, Noise};
pub use adapters::{
    AdapterLayout, AdapterState, Group, HEAD, LayerState, LayoutLayer, RankEntry, Segment,
};
pub use backbone::{Backbone, BackboneError, ConvWeights};
pub use batch::{Batch, BatchInput, FLIPPED_VIEW, PLAIN_VIEW, View};
pub use bits::BackboneBits;
pub use frozen::{FrozenConv, FrozenNetwork};
pub use graph::{Graph, Map, Tensor, u};
pub use kernels::{ConvKernel, KernelChoice, LowRankKernel};
#[cfg(feature = "onnx")]
pub use onnx::{OnnxError, onnx};
pub use ops::{
    ConvBackward, ConvForward, ConvShape, GateTable, LowRank, MatrixTile, Outer, PIXEL_DEVIATION,
    PIXEL_MEAN, Piece, Prior, ProductKernel, Tile, Up, WeightTable,
};
pub use params::AdapterParams;
pub use prefix::{PrefixInput, check_fit, largest_chunk, prefix};
pub use resident::{ResidentFeatures, ResidentImages};
pub use resnet::{Block, ConvSpec, Cut, ResNet};
pub use step::{GateMode, Purpose, StepValues};
pub use suffix::{Activations, AdapterFactors, AdapterSlots, LayerSlots, backward, forward};
pub use textures::{RegisterTile, Textures};
pub use tuning::rank_kernels;
pub use weight_noise::{DrawnWeights, WeightEntry};
pub use winograd::WinogradTile;
