//! Laplace approximations: Jacobians against the f64 twin and the engine's own slopes; curvatures,
//! evidence and variances against dense f64 formulas.

#[path = "common/mod.rs"]
mod common;
#[path = "laplace/dense.rs"]
mod dense;
#[path = "laplace/jacobians.rs"]
mod jacobians;
#[path = "laplace/posterior.rs"]
mod posterior;
#[path = "reference/mod.rs"]
mod reference;
#[path = "small/mod.rs"]
mod small;
