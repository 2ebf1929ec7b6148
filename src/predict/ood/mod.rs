//! Out-of-distribution detection: images that look like nothing the adapter was trained on, told by the inputs of the head.

mod detector;
mod energy;
mod fitted;
mod mahalanobis;
mod neighbours;

pub use detector::{Familiarity, OodDetector};
pub use energy::energies;
pub use fitted::{FittedScore, OodScore, training_images};
pub use mahalanobis::Mahalanobis;
pub use neighbours::Neighbours;
