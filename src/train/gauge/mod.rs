//! The basis in which an adapter's ranks stand.
//!
//! (B R)(R^-1 A) is the same function for every invertible R, so training leaves a layer's ranks in no basis of their
//! own, and what it costs to cut one depends on which it is. Turned first, an adapter loses half of its ranks for what
//! a fifth costs untouched.
//!
//! * [`svd`] needs the factors alone: the ranks are the singular directions of B A.
//! * [`evidence`] needs a pass over images: the second moments of h = A x and of q = s B' G (G: the gradient of the log
//!   likelihood at the adapter's output) become diagonal together.
//!
//! Gates are diagonal in the basis that they were trained in, and in no other: see [`Turn`].

mod evidence;
mod gradients;
mod state;
mod svd;
mod turn;

pub use evidence::evidence;
pub use gradients::{EVIDENCE_IMAGES, GateGradients, best_log_alpha, evidence_turns};
pub use state::{turn, turned_layout, turns};
pub use svd::svd;
pub use turn::Turn;

/// Why a basis could not be found.
#[derive(Debug, thiserror::Error)]
pub enum GaugeError {
    #[error(
        "`{0}` holds values that are not finite, so its ranks cannot be turned; the training has diverged: take an \
         earlier adapter"
    )]
    NotFinite(String),
}
