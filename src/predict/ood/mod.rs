//! Out-of-distribution detection: images that look like nothing the adapter was trained on, told by the inputs of the head.

mod detector;
mod energy;
mod mahalanobis;
mod neighbours;

pub use detector::{Familiarity, OodDetector, OodScore};
pub use energy::energies;
pub use mahalanobis::Mahalanobis;
pub use neighbours::Neighbours;
