//! ResNet-18 as a table of layers, adapters and gates, and the builders that turn them into plans.

mod adapters;
mod backbone;
mod batch;
pub mod exchange;
mod features;
mod frozen;
mod graph;
mod kernels;
mod ops;
mod prefix;
mod resnet;
mod step;
mod suffix;
mod winograd;

pub use adapters::{
    AdapterLayout, AdapterState, Group, HEAD, LayerState, LayoutLayer, RankEntry, Segment,
};
pub use backbone::{Backbone, BackboneError, ConvWeights};
pub use batch::{Batch, BatchInput, FLIPPED_VIEW, PLAIN_VIEW, View};
pub use features::FeatureCache;
pub use frozen::{FrozenConv, FrozenNetwork};
pub use graph::{Graph, Map, Tensor, u};
pub use kernels::{ConvKernel, KernelChoice, LowRankKernel};
pub use ops::{
    ConvBackward, ConvForward, ConvShape, GateTable, LowRank, Outer, Prior, ProductKernel, Tile, Up,
};
pub use prefix::{PrefixInput, largest_chunk, prefix};
pub use resnet::{Block, ConvSpec, Cut, ResNet};
pub use step::{GateMode, Purpose, StepValues};
pub use suffix::{Activations, AdapterSlots, LayerSlots, backward, forward};
