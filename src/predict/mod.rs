//! The Monte Carlo predictive: gate samples through the suffix alone, averaged in log space.

mod evaluate;
mod forward;
mod predictor;
mod source;

pub use evaluate::{Evaluated, evaluate};
pub use forward::{ForwardPlan, ForwardSpec};
pub use predictor::{PredictError, Prediction, Predictor, Samples, fitted};
pub use source::Source;
