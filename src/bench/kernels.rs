//! Each convolution alone, over the network's distinct shapes.

use super::measure::{Better, Effort, Row};
use super::{BenchError, Step, Subject, Work};
use crate::model::Map;

/// A shape that some convolutions of a training step share, and their dispatches.
pub struct LayerShape {
    /// Direction, kernel, channels, stride, side of the input.
    pub name: String,
    /// For each convolution, its dispatches in the plan.
    pub dispatches: Vec<Vec<usize>>,
    /// Operations that each convolution executes, padding skipped.
    pub flops: u64,
}

/// The distinct shapes of the convolutions in the plan of a training step, forward ones first.
pub fn conv_shapes(subject: &Subject, step: &Step) -> Vec<LayerShape> {
    let infos = step.plan().dispatches();
    let mut shapes: Vec<LayerShape> = Vec::new();
    for direction in ["forward", "input gradient"] {
        for (place, side) in input_sides(subject).into_iter().enumerate() {
            let spec = &subject.backbone.resnet.convs[place];
            let start = format!("{} {direction}", spec.name);
            // A variant may take more than one dispatch for a convolution.
            let dispatches: Vec<usize> = (0..infos.len())
                .filter(|index| infos[*index].label.starts_with(&start))
                .collect();
            if dispatches.is_empty() {
                continue;
            }
            let name = format!(
                "{direction} {k}x{k} {}-{} /{} {side}x{side}",
                spec.in_channels,
                spec.out_channels,
                spec.stride,
                k = spec.kernel,
            );
            let flops = dispatches.iter().map(|index| infos[*index].flops).sum();
            match shapes.iter_mut().find(|shape| shape.name == name) {
                Some(shape) => shape.dispatches.push(dispatches),
                None => shapes.push(LayerShape {
                    name,
                    dispatches: vec![dispatches],
                    flops,
                }),
            }
        }
    }
    shapes
}

/// The side of what enters each convolution.
fn input_sides(subject: &Subject) -> Vec<usize> {
    let (resnet, size) = (&subject.backbone.resnet, subject.settings.size);
    let mut sides = vec![size; resnet.convs.len()];
    for (index, block) in resnet.blocks.iter().enumerate() {
        let Map { height, .. } = resnet.block_input(index, size);
        sides[block.conv1] = height;
        sides[block.conv2] = resnet.convs[block.conv1].out_side(height);
        if let Some(place) = block.downsample {
            sides[place] = height;
        }
    }
    sides
}

impl LayerShape {
    /// Seconds of each of its convolutions, run alone.
    ///
    /// # Errors
    /// The GPU fails.
    pub fn time(&self, step: &Step) -> Result<Vec<f64>, BenchError> {
        let one = |dispatches: &Vec<usize>| -> Result<f64, BenchError> {
            let times = dispatches.iter().map(|index| step.plan().time_one(*index));
            let times: Result<Vec<_>, _> = times.collect();
            Ok(times?.iter().map(|time| time.seconds).sum())
        };
        self.dispatches.iter().map(one).collect()
    }
}

/// GFLOP/s of every shape, and the median over the shapes.
pub(super) fn rows(
    subject: &Subject,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<Row>, BenchError> {
    let step = Step::new(subject, Work::Train)?;
    step.run()?;
    let shapes = conv_shapes(subject, &step);
    let mut rows = Vec::new();
    for (done, shape) in shapes.iter().enumerate() {
        progress(done, shapes.len());
        let effort = Effort {
            seconds: 0.5,
            ..Effort::default()
        };
        let mut rates = Vec::new();
        effort.sample(|| -> Result<(), BenchError> {
            let times = shape.time(&step)?;
            rates.extend(times.iter().map(|time| shape.flops as f64 / time * 1e-9));
            Ok(())
        })?;
        // The run that only warms up.
        rates.drain(..shape.dispatches.len());
        let name = format!("kernels/{}", shape.name);
        rows.push(Row::speed(name, "GFLOP/s", Better::Higher, &rates));
    }
    let medians: Vec<f64> = rows.iter().map(|row| row.value).collect();
    rows.push(Row::speed(
        "kernels/median",
        "GFLOP/s",
        Better::Higher,
        &medians,
    ));
    Ok(rows)
}
