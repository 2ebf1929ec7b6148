//! The Monte Carlo predictive: gate samples through the suffix alone, averaged in log space; Laplace
//! approximations.

mod calibration;
mod class_map;
mod class_prior;
mod ensemble;
#[allow(missing_docs)]
mod evaluate;
mod features;
#[allow(missing_docs)]
mod forward;
#[allow(missing_docs)]
mod gate_factors;
#[cfg(feature = "laplace")]
#[allow(missing_docs)]
pub mod laplace;
pub mod ood;
mod predictor;
mod run;
mod session;
#[allow(missing_docs)]
mod source;

pub use calibration::{Calibration, Held, Promise, ties};
pub use class_map::ClassMap;
pub use class_prior::{Adjusted, ClassPrior, ClassPriorError, PriorShift};
pub use ensemble::Ensemble;
pub use evaluate::{Evaluated, evaluate, evaluate_under};
pub use forward::{ForwardPlan, ForwardSpec};
pub use gate_factors::{GateFactors, Labels, LayerFactors};
pub use predictor::{
    PredictError, Prediction, Predictive, Predictor, Samples, as_trained, fitted, require_trained,
};
pub use run::{Run, RunError};
pub use session::{Answer, ClassAnswer, Session, SessionOptions};
pub use source::{Budget, Inputs, Source};
