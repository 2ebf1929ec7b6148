//! The curvature that each structure has.

use super::LaplaceStructure;
use super::curvature::Curvature;
use super::dense::{Gates, LastLayerFull};
use super::diagonal::Diagonal;
use super::kron::{AdapterKron, LastLayerKron};
use super::points::Block;

/// Dimensions of the model that structures depend on.
pub struct Dims {
    pub classes: usize,
    /// Inputs of the head, the 1 of its bias included.
    pub features: usize,
    pub ranks: usize,
    pub blocks: Vec<Block>,
}

/// An empty sum.
pub fn curvature(structure: LaplaceStructure, dims: Dims) -> Box<dyn Curvature> {
    let Dims {
        classes,
        features,
        ranks,
        blocks,
    } = dims;
    match structure {
        LaplaceStructure::LastLayerFull => Box::new(LastLayerFull::new(classes, features)),
        LaplaceStructure::LastLayerKron => Box::new(LastLayerKron::new(classes, features)),
        LaplaceStructure::AdapterDiag => Box::new(Diagonal::new(&blocks)),
        LaplaceStructure::AdapterKron => Box::new(AdapterKron::new(classes, blocks)),
        LaplaceStructure::Gates => Box::new(Gates::new(ranks)),
    }
}
