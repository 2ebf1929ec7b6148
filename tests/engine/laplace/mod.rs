//! Laplace approximations: Jacobians against the f64 twin and the engine's own slopes; curvatures,
//! evidence and variances against dense f64 formulas.

mod dense;
mod jacobians;
mod posterior;
