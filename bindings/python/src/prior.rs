//! How frequent the classes are where answers are given.

use bayeslora::{ClassPrior, PredictError};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyMapping;

use crate::errors::Failure;

/// "uniform", "train", or a weight for each class.
pub fn prior(given: &Bound<PyAny>) -> PyResult<ClassPrior> {
    if let Ok(word) = given.extract::<String>() {
        let prior = word.parse().map_err(PredictError::from);
        return Ok(prior.map_err(Failure::from)?);
    }
    let Ok(weights) = given.cast::<PyMapping>() else {
        return Err(PyTypeError::new_err(format!(
            "class_prior is {}, expected \"uniform\", \"train\" or a weight for each class, {{CLASS: WEIGHT, ...}}",
            given.get_type().name()?
        )));
    };
    let listed = weights.items()?.extract();
    let listed = listed.map_err(|error| PyTypeError::new_err(format!("class_prior: {error}")))?;
    Ok(ClassPrior::Weights(listed))
}
