//! One method of [`Graph`](super::Graph) per operation.

mod conv;
mod gates;
mod head;
mod input;
mod low_rank;
mod pool;
mod weights;

pub use conv::{ConvBackward, ConvForward, ConvShape, MatrixTile, ProductKernel, Tile};
pub use gates::{GateTable, Prior};
pub use input::{PIXEL_DEVIATION, PIXEL_MEAN, Piece};
pub use low_rank::{LowRank, Outer, Up};
pub use weights::WeightTable;
