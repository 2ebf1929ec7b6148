//! Images linearised at the MAP: log probabilities and Jacobians, streamed batch by batch.

use rayon::prelude::*;

use super::LaplaceError;
use super::factors::Site;
use super::jacobian::{Answer, JacobianPlan, Wanted};
use crate::data::prefetch;
use crate::model::AdapterLayout;
use crate::predict::{Predictor, Source};

/// One image, linearised at the MAP.
#[derive(Clone, Debug)]
pub struct Point {
    /// `[classes]`: the logits up to a constant.
    pub log_probs: Vec<f64>,
    /// `[classes, dims]`; for the head its input with a 1 appended, `[features + 1]`, since logit c is
    /// linear in row c alone.
    pub jacobian: Vec<f32>,
}

/// The matrix A or B of a layer: `[rank, columns]`, where a column of B is one of its outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// In the parameter buffer.
    start: usize,
    pub rank: usize,
    taps: usize,
    channels: usize,
}

impl Block {
    pub fn columns(&self) -> usize {
        self.taps * self.channels
    }

    /// Entries of the matrix.
    pub fn parameters(&self) -> usize {
        self.rank * self.columns()
    }

    /// Appends `[rank, columns]` from a buffer with padded channels.
    fn gather(&self, packed: &[f32], out: &mut Vec<f32>) {
        let padded = self.channels.next_multiple_of(4);
        let rows = packed[self.start..].chunks_exact(padded);
        for row in rows.take(self.rank * self.taps) {
            out.extend_from_slice(&row[..self.channels]);
        }
    }
}

/// A and B of every layer that has ranks left.
pub fn blocks(layout: &AdapterLayout) -> Vec<Block> {
    let layers = layout.layers.iter().filter(|layer| layer.rank() > 0);
    let both = layers.flat_map(|layer| {
        let block = |start, taps, channels| Block {
            start,
            rank: layer.rank(),
            taps,
            channels,
        };
        [
            block(layer.a.start, layer.taps(), layer.in_channels),
            block(layer.b.start, 1, layer.out_channels),
        ]
    });
    both.collect()
}

/// A, B of all layers out of the parameter buffer or a gradient, in the order of [`blocks`].
pub fn gather(blocks: &[Block], packed: &[f32]) -> Vec<f32> {
    let mut out = Vec::with_capacity(blocks.iter().map(Block::parameters).sum());
    blocks
        .iter()
        .for_each(|block| block.gather(packed, &mut out));
    out
}

/// Images of a batch: enough to fill a device.
const SOFTWARE_ROWS: usize = 32;
const HARDWARE_ROWS: usize = 128;

/// Classes x images of a batch whose factors of the gradients of A and B are all kept, for each site.
const FACTOR_ROWS: usize = 320;

/// Floats of the Jacobians that are in memory at a time.
const GROUP_FLOATS: usize = 1 << 25;

/// Calls `each` with the place among `indices` of the first of some images, and these images.
///
/// # Errors
/// The GPU fails, or a batch does not fit it; an image file has changed since the set was opened.
pub fn for_each(
    predictor: &Predictor,
    source: &Source,
    indices: &[usize],
    wanted: Wanted,
    each: &mut dyn FnMut(usize, Vec<Point>) -> Result<(), LaplaceError>,
) -> Result<(), LaplaceError> {
    let layout = &predictor.layout;
    let rows = match predictor.network.gpu.is_software() {
        true => SOFTWARE_ROWS,
        false => HARDWARE_ROWS,
    };
    let rows = match wanted {
        Wanted::Adapters => rows.min(FACTOR_ROWS / layout.classes).max(1),
        _ => rows,
    };
    let rows = rows.min(indices.len());
    let plan = JacobianPlan::new(predictor, source.input(), rows, wanted)?;
    let reader = Reader {
        layout,
        wanted,
        sites: &plan.sites,
        parameters: blocks(layout).iter().map(Block::parameters).sum(),
        gates: layout.rank_table(rows, |_| 0.0).1,
    };
    let group = match wanted {
        Wanted::Adapters => GROUP_FLOATS / (layout.classes * reader.parameters),
        _ => rows,
    };
    let batches: Vec<&[usize]> = indices.chunks(rows).collect();
    let fetch = |number: usize| source.fetch(batches[number], None);
    prefetch(batches.len(), fetch, |ahead| {
        for (number, batch) in batches.iter().enumerate() {
            let inputs = ahead.next(|| ()).expect("as many as there are batches")?;
            inputs.write(&plan.batch);
            let answer = plan.run()?;
            let all: Vec<usize> = (0..batch.len()).collect();
            for group in all.chunks(group.max(1)) {
                let points = group.par_iter().map(|row| reader.point(&answer, *row));
                each(number * rows + group[0], points.collect())?;
            }
        }
        Ok(())
    })
}

/// Takes a batch apart.
struct Reader<'a> {
    layout: &'a AdapterLayout,
    wanted: Wanted,
    sites: &'a [Site],
    /// A and B of all layers.
    parameters: usize,
    /// Where each layer's gates start.
    gates: Vec<usize>,
}

impl Reader<'_> {
    fn point(&self, answer: &Answer, row: usize) -> Point {
        let AdapterLayout {
            classes, features, ..
        } = *self.layout;
        let logs = answer.log_probs[row * classes..][..classes].iter();
        Point {
            log_probs: logs.copied().map(f64::from).collect(),
            jacobian: match self.wanted {
                Wanted::Features => {
                    let start = row * features.next_multiple_of(4);
                    let mut input = answer.pooled[start..start + features].to_vec();
                    input.push(1.0);
                    input
                }
                Wanted::Gates => {
                    let each = answer.gates.iter();
                    each.flat_map(|packed| self.gates_of(packed, row))
                        .copied()
                        .collect()
                }
                Wanted::Adapters => self.adapters_of(answer, row),
            },
        }
    }

    /// `[ranks of all layers]` of one row.
    fn gates_of<'a>(&'a self, packed: &'a [f32], row: usize) -> impl Iterator<Item = &'a f32> {
        let layers = self.layout.layers.iter().zip(&self.gates);
        layers.flat_map(move |(layer, start)| {
            let stride = layer.rank().next_multiple_of(4);
            &packed[start + row * stride..][..layer.rank()]
        })
    }

    /// `[classes, A and B of all layers]` of one row.
    fn adapters_of(&self, answer: &Answer, row: usize) -> Vec<f32> {
        let mut jacobian = vec![0.0; self.layout.classes * self.parameters];
        let mut place = 0;
        for (site, values) in self.sites.iter().zip(&answer.sites) {
            let rows = jacobian.chunks_exact_mut(self.parameters);
            let mut rows: Vec<&mut [f32]> = rows.map(|row| &mut row[place..]).collect();
            place += site.jacobian(values, row, &mut rows);
        }
        jacobian
    }
}
