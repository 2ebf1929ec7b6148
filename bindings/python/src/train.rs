//! Training.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::mpsc::SyncSender;

use bayeslora::{
    Backbone, Dataset, EpochReport, GpuError, StopHandle, TrainConfig, TrainError, Trainer,
};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use pythonize::pythonize;

use crate::adapter::Adapter;
use crate::attended::attended;
use crate::checkpoint::Keeper;
use crate::devices::{self, Choice};
use crate::errors::Failure;
use crate::images::{Image, images, picture, squares};
use crate::options;
use crate::progress::{News, Progress};

/// What a training comes to.
#[pyclass(frozen, get_all, module = "bayeslora")]
pub struct Training {
    /// As it is after the last epoch; with `patience`, the best.
    adapter: Py<Adapter>,
    /// The report of each epoch of this call, as `Progress.report`.
    epochs: Py<PyAny>,
}

#[pymethods]
impl Training {
    fn __repr__(&self, py: Python) -> PyResult<String> {
        let epochs = self.epochs.bind(py).len()?;
        let adapter = self.adapter.bind(py).repr()?;
        Ok(format!("<Training: {epochs} epochs, {adapter}>"))
    }
}

/// All that the work of a training takes.
struct Task {
    images: Vec<Image>,
    labels: Vec<u32>,
    classes: Vec<String>,
    out: Option<PathBuf>,
    keeper: Option<Keeper>,
    backbone: PathBuf,
    device: Option<Choice>,
    config: TrainConfig,
}

/// Trains an adapter on labelled images.
///
/// `images` are uint8 [n, height, width, 3] (or 4, with alpha), paths, the bytes of files, or a list of these; `labels` [n] count
/// the `classes` from 0. `out` is the directory of the adapter, written anew after each epoch, as is `checkpoint`, a file from which
/// `resume` goes on with the same images and options. `progress` is called with a
/// `Progress` in this thread; an exception of its stops training and comes out. `validation` is the share of the images that is
/// held out to score each epoch on. The other options are those of `bayeslora train`, with underscores.
#[pyfunction]
#[pyo3(signature = (
    images, labels, classes, *, out=None, checkpoint=None, resume=false, backbone=None, device=None, progress=None, **options
))]
#[allow(clippy::too_many_arguments, reason = "Python has them by name")]
pub fn train(
    py: Python,
    images: &Bound<PyAny>,
    labels: Vec<i64>,
    classes: Vec<String>,
    out: Option<PathBuf>,
    checkpoint: Option<PathBuf>,
    resume: bool,
    backbone: Option<PathBuf>,
    device: Option<Choice>,
    progress: Option<Bound<PyAny>>,
    options: Option<&Bound<PyDict>>,
) -> PyResult<Training> {
    let config = options::config(options)?;
    let keeper = match (checkpoint, resume) {
        (Some(path), _) => Some(Keeper::open(path, resume)?),
        (None, false) => None,
        (None, true) => {
            let text = "resume=True goes on from a file: name it by checkpoint";
            return Err(PyValueError::new_err(text));
        }
    };
    let task = Task {
        images: self::images(images)?,
        labels: outputs(&labels, classes.len())?,
        classes,
        out,
        keeper,
        backbone: backbone.unwrap_or("embedded".into()),
        device,
        config,
    };
    let (given, labelled) = (task.images.len(), task.labels.len());
    if given != labelled {
        let text = format!("there are {given} images and {labelled} labels, expected one for each");
        return Err(PyValueError::new_err(text));
    }
    let stop = StopHandle::new();
    let told = progress.is_some();
    let (adapter, epochs) = attended(
        py,
        &stop,
        |tell| task.run(&stop, told.then_some(tell)),
        |news| match &progress {
            None => Ok(()),
            Some(progress) => progress.call1((Progress::new(py, news)?,)).map(drop),
        },
    )?;
    Ok(Training {
        adapter: Py::new(py, Adapter(adapter))?,
        epochs: pythonize(py, &epochs)?.unbind(),
    })
}

/// Labels of the network's outputs.
fn outputs(labels: &[i64], classes: usize) -> PyResult<Vec<u32>> {
    let numbered = labels.iter().enumerate();
    let output = |(image, label): (usize, &i64)| {
        let output = u32::try_from(*label).ok();
        output.filter(|output| (*output as usize) < classes).ok_or_else(|| {
            PyValueError::new_err(format!(
                "image {image} has label {label}, and there are {classes} classes: expected labels that count them from 0"
            ))
        })
    };
    numbered.map(output).collect()
}

impl Task {
    fn run(
        self,
        stop: &StopHandle,
        tell: Option<&SyncSender<News>>,
    ) -> Result<(bayeslora::Adapter, Vec<EpochReport>), Failure> {
        let Self {
            images,
            labels,
            classes,
            out,
            mut keeper,
            backbone,
            device,
            config,
        } = self;
        config.check().map_err(TrainError::from)?;
        let (train, held_out) = sets(&images, &labels, classes, &config)?;
        drop(images);
        let backbone = Backbone::load(backbone)?;
        let gpu = devices::open(device, config.precision)?.stopped_by(stop);
        let mut observe = |progress| {
            let heard = match (tell, News::of(progress)) {
                (Some(tell), Some(news)) => news.send(tell),
                _ => true,
            };
            match heard && !stop.is_stopped() {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        };
        let total = config.epochs;
        let mut trainer = Trainer::new(&gpu, &backbone, config, train, held_out, &mut observe)?;
        if let Some(keeper) = &mut keeper {
            keeper.begin(&mut trainer, &backbone)?;
        }
        let mut epochs = Vec::new();
        let finished = trainer.train(&mut observe, |trainer, report| {
            if let Some(out) = &out {
                trainer.adapter()?.save_peft(out)?;
            }
            if let Some(keeper) = &keeper {
                keeper.keep(trainer)?;
            }
            if let Some(tell) = tell {
                News::Epoch(report.clone().into(), total).send(tell);
            }
            epochs.push(report);
            Ok::<_, Failure>(())
        })?;
        match finished {
            true => {
                let adapter = trainer.adapter()?;
                // Of a training that had come to its end before.
                if let (Some(out), true) = (&out, epochs.is_empty()) {
                    adapter.save_peft(out)?;
                }
                Ok((adapter, epochs))
            }
            false => Err(GpuError::Stopped.into()),
        }
    }
}

/// The images to train on, and those that are held out to score each epoch on.
fn sets(
    images: &[Image],
    labels: &[u32],
    classes: Vec<String>,
    config: &TrainConfig,
) -> Result<(Dataset, Option<Dataset>), Failure> {
    let side = config.resolution;
    let squares = squares(images, side)?;
    let pictures = squares.iter().map(|square| picture(square, side));
    let labelled: Vec<_> = pictures.zip(labels.iter().copied()).collect();
    let all = Dataset::from_pictures(side, &labelled, classes.into())?;
    if config.validation == 0.0 {
        return Ok((all, None));
    }
    let seed = config.split_seed.unwrap_or(config.seed);
    let (train, held_out) = all.split_validation(config.validation, seed)?;
    Ok((train, Some(held_out)))
}
