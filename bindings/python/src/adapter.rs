//! Adapters in files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bayeslora::FormatError;
use bayeslora::low_level::formats::RunDir;
use pyo3::prelude::*;

use crate::errors::Failure;

/// A trained adapter: its ranks, its gates and its head.
#[pyclass(frozen, eq, module = "bayeslora")]
#[derive(PartialEq)]
pub struct Adapter(pub bayeslora::Adapter);

/// Whether a run lies at the path, and not an adapter alone.
pub fn is_run(path: &Path) -> bool {
    path.join("config.toml").exists()
}

fn load(path: &Path) -> Result<bayeslora::Adapter, FormatError> {
    let dir = match is_run(path) {
        true => RunDir::open(path)?.adapter_dir(),
        false => path.to_owned(),
    };
    bayeslora::Adapter::load_peft(dir)
}

#[pymethods]
impl Adapter {
    /// Reads the directory of an adapter, as `save` and peft write it, or that of a run.
    #[staticmethod]
    #[pyo3(name = "load")]
    fn read(py: Python, path: PathBuf) -> PyResult<Self> {
        Ok(Self(py.detach(|| load(&path)).map_err(Failure::from)?))
    }

    /// Writes a directory that peft loads too, in the place of the adapter that is there.
    fn save(&self, py: Python, path: PathBuf) -> PyResult<()> {
        Ok(py
            .detach(|| self.0.save_peft(path))
            .map_err(Failure::from)?)
    }

    /// Class names, in the order of their labels.
    #[getter]
    fn classes(&self) -> Vec<String> {
        self.0.classes.clone()
    }

    /// The share of each class that its answers have as their prior, which is that of the training images as their loss was
    /// weighted; None where the file does not say.
    #[getter]
    fn trained_for(&self) -> Option<BTreeMap<&str, f64>> {
        let prior = &self.0.class_balance.as_ref()?.prior;
        let classes = self.0.classes.iter().map(String::as_str);
        Some(classes.zip(prior.iter().copied()).collect())
    }

    /// How it was trained, such as "bayeslora" or "lora".
    #[getter]
    fn method(&self) -> &str {
        &self.0.method
    }

    /// Ranks left of each adapted layer.
    #[getter]
    fn ranks(&self) -> BTreeMap<&str, usize> {
        let layers = self.0.layers.iter();
        layers.map(|layer| (&*layer.name, layer.rank())).collect()
    }

    /// Ranks of every layer before any was cut.
    #[getter]
    fn initial_rank(&self) -> usize {
        self.0.initial_rank
    }

    /// Trained numbers of all layers; the head is not counted.
    #[getter]
    fn scalars(&self) -> usize {
        self.0.scalars()
    }

    /// Side of the network's input in pixels; None where the file does not say.
    #[getter]
    fn resolution(&self) -> Option<usize> {
        Some(self.0.resolution).filter(|side| *side > 0)
    }

    /// Whether it has gates, or weights, to draw: if not, every sample is the mean.
    #[getter]
    fn draws(&self) -> bool {
        self.0.draws()
    }

    fn __repr__(&self) -> String {
        let ranks = self.0.layers.iter().map(|layer| layer.rank());
        format!(
            "<Adapter: {}, {} classes, {} ranks in {} layers>",
            self.0.method,
            self.0.classes.len(),
            ranks.sum::<usize>(),
            self.0.layers.len()
        )
    }
}
