//! Where in an image the network finds a class.

use super::{ForwardSpec, PredictError, Predictor, Samples, Source};
use crate::formats::{Adapter, add_product};
use crate::model::{GateMode, StepValues, Tensor};

/// What each place of an image contributes to the logit of a class.
///
/// ```text
/// f_c = b_c + sum_p e_c(p),   e_c(p) = W_c . a(p) / P
/// ```
///
/// a(p) are the features of the last block at place p of P, W and b the head. This is the class activation map of Zhou et al.
/// (2016, arXiv:1512.04150), to which Grad-CAM comes down where features are pooled by their mean, as in a ResNet (Selvaraju et al.
/// 2017, arXiv:1610.02391, section 3.1); a negative place speaks against the class. An adapter on the head counts at its mean.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ClassMap {
    /// Places of a row, and rows.
    pub side: usize,
    /// Mean of e_c(p) over the samples, `[side, side]`, in logits.
    pub mean: Vec<f32>,
    /// Its standard deviation over the samples, `[side, side]`.
    pub std: Vec<f32>,
}

impl ClassMap {
    /// Of `side` places a row, and rows, `[side, side]` each.
    pub fn new(side: usize, mean: Vec<f32>, std: Vec<f32>) -> Self {
        Self { side, mean, std }
    }
}

impl Predictor {
    /// The map of one class for each image of a set, in their order; `classes` `[n]` are labels. Samples are shared by all images,
    /// as in [`Samples::shared`]. `adapter` is the predictor's own, for its head. `progress` is called with the number of images done.
    ///
    /// # Errors
    /// As [`log_probs`](Self::log_probs).
    ///
    /// # Panics
    /// If there are not as many classes as images.
    pub fn class_maps(
        &self,
        adapter: &Adapter,
        source: &Source,
        classes: &[usize],
        samples: Samples,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Vec<ClassMap>, PredictError> {
        assert_eq!(classes.len(), source.dataset.len());
        let head = head_weight(adapter);
        let width = adapter.head.features;
        let draws = samples.count.max(1);
        let at_once = self.draws_at_once(samples.count);
        let spec = ForwardSpec {
            last_map: true,
            ..self.spec(source, 1, at_once)
        };
        let plan = self.plan(spec)?;
        let gates = match samples.count {
            0 => GateMode::Mean,
            _ => GateMode::Shared,
        };
        let mut explain = |(image, class): (usize, &usize)| -> Result<ClassMap, PredictError> {
            source.fetch(&[image], None)?.write(&plan.batch);
            let (mut maps, mut side) = (Vec::new(), 0);
            for first in (0..draws).step_by(at_once) {
                let values = StepValues::prediction(samples.seed, first as u32, gates);
                plan.run(&[0], &values)?;
                let (map, found) = plan.last_map()?;
                side = map.map.width;
                let weight = &head[class * width..][..width];
                let rows = 0..at_once.min(draws - first);
                maps.extend(rows.map(|row| contributions(&map, &found, row, weight)));
            }
            progress(image + 1);
            Ok(over_draws(side, &maps))
        };
        classes.iter().enumerate().map(&mut explain).collect()
    }
}

/// W of the head with its own adapter, `[classes, features]`.
fn head_weight(adapter: &Adapter) -> Vec<f32> {
    let mut weight = adapter.head.weight.clone();
    if let Some(layer) = adapter.layers.iter().find(|layer| layer.name == "fc") {
        let (a, b) = (&layer.lora_a, &layer.lora_b);
        add_product(&mut weight, adapter.scale(), b, a, layer.rank());
    }
    weight
}

/// e_c(p) of one row, `[positions]`; values are laid out `[position, row, channel]`.
fn contributions(map: &Tensor, values: &[f32], row: usize, weight: &[f32]) -> Vec<f32> {
    let (positions, padded) = (map.map.positions(), map.map.quads() * 4);
    let features = |position: usize| &values[(position * map.rows + row) * padded..];
    (0..positions)
        .map(|position| {
            let pairs = features(position).iter().zip(weight);
            let sum: f64 = pairs.map(|(a, w)| f64::from(*a) * f64::from(*w)).sum();
            (sum / positions as f64) as f32
        })
        .collect()
}

fn over_draws(side: usize, maps: &[Vec<f32>]) -> ClassMap {
    let draws = maps.len() as f64;
    let each = |of: &dyn Fn(usize) -> f64| (0..side * side).map(|p| of(p) as f32).collect();
    let mean = |p: usize| maps.iter().map(|map| f64::from(map[p])).sum::<f64>() / draws;
    let variance = |p: usize| {
        let centre = mean(p);
        let squares = maps.iter().map(|map| (f64::from(map[p]) - centre).powi(2));
        squares.sum::<f64>() / draws
    };
    ClassMap::new(side, each(&mean), each(&|p| variance(p).sqrt()))
}
