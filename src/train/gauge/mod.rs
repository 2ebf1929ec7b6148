//! The basis in which an adapter's ranks stand.
//!
//! (B R)(R^-1 A) is the same function for every invertible R, so training singles out no basis for a layer's ranks,
//! but the cost of cutting one depends on the basis (figures in `docs/ranks.md`).
//!
//! * [`svd`] needs the factors alone: the ranks are the singular directions of B A.
//! * [`evidence`] needs a pass over images: the second moments of h = A x and of q = s B' G (G: the gradient of the log
//!   likelihood at the adapter's output) become diagonal together.
//!
//! Gates are diagonal only in the basis in which they were trained: see [`Turn`].

mod evidence;
mod gradients;
mod pass;
mod ranks;
mod state;
mod svd;
mod turn;

pub use evidence::evidence;
pub use gradients::{EVIDENCE_IMAGES, GateGradients, best_log_alpha, refitted};
pub use pass::Evidence;
pub use ranks::{Cut, Order, Posterior, Predicted, Ranks};
pub use state::{turn, turned_layout, turns, turns_into};
pub use svd::svd;
pub use turn::Turn;

use crate::errors::ErrorKind;
use crate::predict::PredictError;

/// Why a basis could not be found.
#[derive(Debug, thiserror::Error)]
pub enum GaugeError {
    #[error(
        "`{0}` holds values that are not finite, so its ranks cannot be turned; the training has diverged: take an \
         earlier adapter"
    )]
    NotFinite(String),
    #[error("this basis, order or posterior needs a pass over training images, and none was made")]
    NoEvidence,
    #[error("ranks have singular values only in the gauge `svd`")]
    NotSingular,
    #[error(
        "its config.toml lacks `kl-multiplicity`, by which a posterior is set anew; take `mixed` or `mean` for it"
    )]
    NoKappa,
    #[error(
        "its noise is on weights, not on gates, and does not turn with the ranks; keep the mean weights alone"
    )]
    DrawsWeights,
    #[error(transparent)]
    Predict(#[from] PredictError),
}

impl GaugeError {
    /// Who can do something about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Predict(error) => error.kind(),
            _ => ErrorKind::Input,
        }
    }
}
