//! What training tells.

use std::sync::mpsc::SyncSender;

use bayeslora::EpochReport;
use pyo3::prelude::*;
use pythonize::pythonize;

/// How far training has come.
pub enum News {
    Step {
        phase: &'static str,
        done: usize,
        total: usize,
        epoch: Option<usize>,
        loss: Option<f32>,
    },
    /// One is done, of so many.
    Epoch(Box<EpochReport>, usize),
}

impl News {
    /// What the library tells; nothing of what later versions tell besides.
    pub fn of(told: bayeslora::Progress) -> Option<Self> {
        use bayeslora::Progress::{Caching, Evaluating, Training};
        let images = |phase, done, total| Self::Step {
            phase,
            done,
            total,
            epoch: None,
            loss: None,
        };
        Some(match told {
            Caching { done, total } => images("caching", done, total),
            Evaluating { done, total } => images("evaluating", done, total),
            Training {
                epoch,
                step,
                steps,
                loss,
                ..
            } => Self::Step {
                phase: "training",
                done: step,
                total: steps,
                epoch: Some(epoch),
                // Not known yet.
                loss: Some(loss).filter(|loss| !loss.is_nan()),
            },
            _ => return None,
        })
    }

    /// Whether it was heard.
    pub fn send(self, tell: &SyncSender<News>) -> bool {
        tell.send(self).is_ok()
    }
}

/// How far training has come: what its callback gets.
#[pyclass(frozen, get_all, module = "bayeslora")]
pub struct Progress {
    /// "caching", "training", "evaluating" or "epoch", when one is done.
    phase: &'static str,
    /// Images, steps or epochs done.
    done: usize,
    /// Of how many.
    total: usize,
    /// From 1; None while caching and evaluating.
    epoch: Option<usize>,
    /// In nats, of the last step that is known, or the mean of the epoch.
    loss: Option<f64>,
    /// Of a whole epoch: "nll" (nats) and "accuracy" on the held-out images, "rank", "kl" and others.
    report: Option<Py<PyAny>>,
}

impl Progress {
    pub fn new(py: Python, news: News) -> PyResult<Self> {
        Ok(match news {
            News::Step {
                phase,
                done,
                total,
                epoch,
                loss,
            } => Self {
                phase,
                done,
                total,
                epoch,
                loss: loss.map(f64::from),
                report: None,
            },
            News::Epoch(report, epochs) => Self {
                phase: "epoch",
                done: report.epoch,
                total: epochs,
                epoch: Some(report.epoch),
                loss: Some(report.loss),
                report: Some(pythonize(py, &report)?.unbind()),
            },
        })
    }
}

#[pymethods]
impl Progress {
    fn __repr__(&self) -> String {
        let epoch = self
            .epoch
            .map_or(String::new(), |epoch| format!(", epoch {epoch}"));
        format!(
            "<Progress: {}{epoch}, {} of {}>",
            self.phase, self.done, self.total
        )
    }
}
