//! The Monte Carlo predictive: gate samples through the suffix alone, averaged in log space; Laplace
//! approximations.

mod ensemble;
mod evaluate;
mod features;
mod forward;
mod gate_factors;
#[cfg(feature = "laplace")]
pub mod laplace;
mod predictor;
mod run;
mod session;
mod source;

pub use ensemble::Ensemble;
pub use evaluate::{Evaluated, evaluate};
pub use forward::{ForwardPlan, ForwardSpec};
pub use gate_factors::{GateFactors, Labels, LayerFactors};
pub use predictor::{PredictError, Prediction, Predictive, Predictor, Samples, fitted};
pub use run::{Run, RunError};
pub use session::{Answer, ClassAnswer, Session, SessionOptions};
pub use source::{Budget, Inputs, Source};
