//! Predicting.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, TryLockError};
use std::thread::sleep;
use std::time::Duration;

use bayeslora::{Backbone, Picture, Precision, Run, Session, SessionOptions, StopHandle};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::adapter::{Adapter, is_run};
use crate::attended::attended;
use crate::devices::{self, Choice};
use crate::errors::Failure;
use crate::images::{images, picture, squares};
use crate::prediction::Prediction;
use crate::prior::prior;

/// How often a call asks whether it is its turn.
const TURN: Duration = Duration::from_millis(2);

/// An adapter on its backbone, ready to answer.
#[pyclass(frozen, module = "bayeslora")]
pub struct Predictor {
    session: Mutex<Session>,
    /// Whoever holds the session may use it.
    stop: StopHandle,
    side: usize,
    classes: Vec<String>,
    device: String,
}

/// What is to answer.
#[derive(FromPyObject)]
enum Subject<'py> {
    Adapter(Bound<'py, Adapter>),
    Path(PathBuf),
}

/// An adapter beside the network that it stands on.
enum Opened {
    Run(Run),
    Adapter(bayeslora::Adapter, Backbone),
}

impl Opened {
    fn path(path: PathBuf, backbone: Option<PathBuf>) -> Result<Self, Failure> {
        if !is_run(&path) {
            return Self::adapter(bayeslora::Adapter::load_peft(path)?, backbone);
        }
        let backbone = backbone.map(Backbone::load).transpose()?;
        Ok(Self::Run(Run::open_with(path, backbone)?))
    }

    fn adapter(adapter: bayeslora::Adapter, backbone: Option<PathBuf>) -> Result<Self, Failure> {
        let backbone = Backbone::load(backbone.unwrap_or("embedded".into()))?;
        Ok(Self::Adapter(adapter, backbone))
    }
}

impl Predictor {
    fn open(opened: Opened, device: Option<Choice>) -> Result<Self, Failure> {
        let options = SessionOptions::default();
        let stop = StopHandle::new();
        let precision = match &opened {
            Opened::Run(run) => run.precision,
            Opened::Adapter(..) => Precision::default(),
        };
        let gpu = devices::open(device, precision)?.stopped_by(&stop);
        let (session, adapter) = match &opened {
            Opened::Run(run) => (Session::of(&gpu, run, options)?, &run.adapter),
            Opened::Adapter(adapter, backbone) => {
                (Session::new(&gpu, backbone, adapter, options)?, adapter)
            }
        };
        Ok(Self {
            session: Mutex::new(session),
            stop,
            side: adapter.resolution,
            classes: adapter.classes.clone(),
            device: gpu.info().name.clone(),
        })
    }

    /// The session, once no other thread has it.
    fn turn(&self, py: Python) -> PyResult<MutexGuard<'_, Session>> {
        loop {
            match self.session.try_lock() {
                Ok(session) => return Ok(session),
                Err(TryLockError::Poisoned(poisoned)) => return Ok(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) => py.detach(|| sleep(TURN)),
            }
            py.check_signals()?;
        }
    }
}

#[pymethods]
impl Predictor {
    /// Opens a run's directory, an adapter's, or an `Adapter`; `backbone` is a file of safetensors or PyTorch, or "embedded".
    #[new]
    #[pyo3(signature = (source, *, backbone=None, device=None))]
    fn new(
        py: Python,
        source: Subject,
        backbone: Option<PathBuf>,
        device: Option<Choice>,
    ) -> PyResult<Self> {
        let opened = match source {
            Subject::Path(path) => py.detach(|| Opened::path(path, backbone))?,
            Subject::Adapter(adapter) => {
                let adapter = &adapter.get().0;
                py.detach(|| Opened::adapter(adapter.clone(), backbone))?
            }
        };
        Ok(py.detach(|| Self::open(opened, device))?)
    }

    /// Answers about one image or several: uint8 [n, height, width, 3] (or 4, with alpha), paths, the bytes of files, or a list of
    /// these.
    ///
    /// `samples` are draws of the gates, the same for every image, by `seed`; 0 takes the mean weights. Logits are divided by
    /// `temperature`; None takes the one that was fitted to the run for as many samples. `class_prior` is how frequent the classes
    /// are where the images come from: "uniform", "train", or a weight for each class, {"cat": 0.7, "dog": 0.3}. Where the most
    /// probable class is less so than `threshold`, the answer abstains. `batch` images are computed at a time.
    #[pyo3(signature = (images, samples=8, temperature=None, *, class_prior=None, threshold=0.0, seed=1, batch=16))]
    #[allow(clippy::too_many_arguments, reason = "Python has them by name")]
    fn predict(
        &self,
        py: Python,
        images: &Bound<PyAny>,
        samples: i64,
        temperature: Option<f64>,
        class_prior: Option<&Bound<PyAny>>,
        threshold: f32,
        seed: u64,
        batch: i64,
    ) -> PyResult<Prediction> {
        let options = SessionOptions {
            samples: count("samples", samples)?,
            seed,
            temperature,
            class_prior: class_prior.map(prior).transpose()?,
            threshold,
            batch: count("batch", batch)?,
        };
        let given = self::images(images)?;
        let mut turn = self.turn(py)?;
        let session = &mut *turn;
        let answers = attended(
            py,
            &self.stop,
            |_| {
                session.set_options(options)?;
                let squares = squares(&given, self.side)?;
                let pictures = squares.iter().map(|square| picture(square, self.side));
                Ok(session.predict(&pictures.collect::<Vec<Picture>>())?)
            },
            |()| Ok(()),
        );
        self.stop.reset();
        drop(turn);
        Ok(Prediction::new(py, &answers?, self.classes.clone()))
    }

    /// Class names, in the order of their labels.
    #[getter]
    fn classes(&self) -> Vec<String> {
        self.classes.clone()
    }

    /// Side of the network's input, in pixels.
    #[getter]
    fn resolution(&self) -> usize {
        self.side
    }

    /// Name of the device that it runs on.
    #[getter]
    fn device(&self) -> &str {
        &self.device
    }

    fn __repr__(&self) -> String {
        let (classes, side) = (self.classes.len(), self.side);
        format!(
            "<Predictor: {classes} classes at {side} x {side}, {}>",
            self.device
        )
    }
}

fn count(option: &str, found: i64) -> PyResult<usize> {
    let wrong = |_| PyValueError::new_err(format!("{option} is {found}, expected no less than 0"));
    usize::try_from(found).map_err(wrong)
}
