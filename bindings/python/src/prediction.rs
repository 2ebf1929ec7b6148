//! Answers as arrays.

use bayeslora::Answer;
use numpy::ndarray::Array2;
use numpy::{IntoPyArray, PyArray1, PyArray2};
use pyo3::prelude::*;

/// What a predictor says of `n` images.
#[pyclass(frozen, get_all, module = "bayeslora")]
pub struct Prediction {
    /// float32 [n, classes]: the predictive, which is the mean over the samples, under the class prior or at the temperature.
    probabilities: Py<PyArray2<f32>>,
    /// float32 [n, classes]: standard deviation of each probability over the samples, under the class prior but before any temperature.
    std: Py<PyArray2<f32>>,
    /// float32 [n]: of the predictive, in nats.
    entropy: Py<PyArray1<f32>>,
    /// float32 [n]: the part of the entropy that comes from the samples' disagreement, in nats.
    mutual_information: Py<PyArray1<f32>>,
    /// bool [n]: whether the most probable class is less so than the threshold, or than the promised risk allows.
    abstains: Py<PyArray1<bool>>,
    /// int64 [n]: the most probable class, abstaining or not.
    labels: Py<PyArray1<i64>>,
    /// Its name, n of them.
    top: Vec<String>,
    /// Names of the classes among which the right one is as often as was promised; None where nothing was.
    prediction_sets: Option<Vec<Vec<String>>>,
    /// bool [n]: whether an image looks like nothing that the run was trained on; None where nothing was fitted to tell.
    unfamiliar: Option<Py<PyArray1<bool>>>,
    /// Names of the columns of `probabilities`.
    classes: Vec<String>,
}

impl Prediction {
    pub fn new(py: Python, answers: &[Answer], classes: Vec<String>) -> Self {
        let shape = (answers.len(), classes.len());
        let (mut probabilities, mut std) = (Array2::zeros(shape), Array2::zeros(shape));
        for (row, answer) in answers.iter().enumerate() {
            for class in &answer.classes {
                probabilities[[row, class.label]] = class.probability;
                std[[row, class.label]] = class.std;
            }
        }
        let each = |field: fn(&Answer) -> f32| {
            let values: Vec<f32> = answers.iter().map(field).collect();
            values.into_pyarray(py).unbind()
        };
        let abstains: Vec<bool> = answers.iter().map(|answer| answer.abstains).collect();
        let named = |set: &Vec<usize>| set.iter().map(|label| classes[*label].clone()).collect();
        let sets = answers.iter().map(|answer| answer.prediction_set.as_ref());
        let sets: Option<Vec<Vec<String>>> = sets.map(|set| set.map(named)).collect();
        let unfamiliar = answers.iter().map(|answer| answer.familiarity);
        let unfamiliar = unfamiliar.map(|found| Some(found?.unfamiliar));
        let unfamiliar: Option<Vec<bool>> = unfamiliar.collect();
        let first = answers.iter().map(|answer| &answer.classes[0]);
        let labels: Vec<i64> = first.clone().map(|class| class.label as i64).collect();
        Self {
            probabilities: probabilities.into_pyarray(py).unbind(),
            std: std.into_pyarray(py).unbind(),
            entropy: each(|answer| answer.entropy),
            mutual_information: each(|answer| answer.mutual_information),
            abstains: abstains.into_pyarray(py).unbind(),
            labels: labels.into_pyarray(py).unbind(),
            top: first.map(|class| class.class.to_string()).collect(),
            prediction_sets: sets,
            unfamiliar: unfamiliar.map(|all| all.into_pyarray(py).unbind()),
            classes,
        }
    }
}

#[pymethods]
impl Prediction {
    fn __len__(&self) -> usize {
        self.top.len()
    }

    fn __repr__(&self) -> String {
        let (images, classes) = (self.top.len(), self.classes.len());
        format!("<Prediction: {images} images, {classes} classes>")
    }
}
