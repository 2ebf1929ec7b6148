//! Training options from keywords.

use bayeslora::TrainConfig;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use pythonize::depythonize;

/// Those given, over the defaults: the names are the command line's with underscores.
pub fn config(given: Option<&Bound<PyDict>>) -> PyResult<TrainConfig> {
    let Some(given) = given else {
        return Ok(TrainConfig::default());
    };
    let all = PyDict::new(given.py());
    for (name, value) in given {
        let option = name.extract::<String>()?.replace('_', "-");
        // Alone first, for an error that says which it is.
        let alone = PyDict::new(given.py());
        alone.set_item(&option, &value)?;
        depythonize::<TrainConfig>(&alone).map_err(|error| {
            let text = error.to_string();
            match text.contains("unknown field") {
                true => PyTypeError::new_err(text.replace('-', "_")),
                false => PyValueError::new_err(format!("{name}: {text}")),
            }
        })?;
        all.set_item(option, value)?;
    }
    Ok(depythonize(&all)?)
}
