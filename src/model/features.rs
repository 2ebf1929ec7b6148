//! Features at the cut, computed once an image and view and kept as f16 in host memory.

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::batch::{Batch, BatchInput, View};
use super::{Cut, FrozenNetwork, Graph, Map, largest_chunk, prefix};
use crate::gpu::GpuError;

/// Rows computed at a time.
const ROWS: usize = 64;

/// The prefix's output for every image of a set, under each of a few views.
pub struct FeatureCache {
    map: Map,
    views: usize,
    /// `[image, view, position, channel]`, channels padded.
    data: Vec<f16>,
}

impl FeatureCache {
    /// Bytes of host memory that a set would take.
    pub fn bytes(map: Map, images: usize, views: usize) -> u64 {
        2 * (map.floats() * images * views) as u64
    }

    /// Computes the features of square u8 images of `side` pixels, `[n, side, side, 3]`, resized to
    /// `size`. `progress` is called with the number done.
    ///
    /// # Errors
    /// The GPU fails.
    pub fn compute(
        network: &FrozenNetwork,
        cut: Cut,
        (pixels, side): (&[u8], usize),
        size: usize,
        views: &[View],
        mut progress: impl FnMut(usize),
    ) -> Result<Self, GpuError> {
        let image_bytes = side * side * 3;
        let images = pixels.len() / image_bytes;
        let map = network.resnet.cut_map(cut, size);
        let rows = ROWS.min(images * views.len());
        let batch = Batch::new(&network.gpu, BatchInput::Images { side, size }, rows);
        let mut graph = Graph::new(&network.gpu, network.kernels);
        let input = batch.prefix_input(&mut graph);
        let chunk = largest_chunk(&network.gpu, network, size);
        let out = prefix(&mut graph, network, cut, input, rows, chunk);
        graph.builder.keep(out.slot);
        let plan = graph.builder.build()?;

        let mut data = vec![f16::ZERO; map.floats() * images * views.len()];
        let width = map.quads() * 4;
        let mut narrow = vec![f16::ZERO; map.floats() * rows];
        let picks: Vec<(usize, usize)> = (0..images)
            .flat_map(|image| (0..views.len()).map(move |view| (image, view)))
            .collect();
        for (number, picks) in picks.chunks(rows).enumerate() {
            let bytes: Vec<u8> = picks
                .iter()
                .flat_map(|(index, _)| &pixels[index * image_bytes..][..image_bytes])
                .copied()
                .collect();
            let chosen: Vec<View> = picks.iter().map(|(_, view)| views[*view]).collect();
            batch.write_images(&bytes, &chosen);
            plan.run();
            narrow.convert_from_f32_slice(&plan.read(out.slot)?);
            for (row, features) in data[number * rows * map.floats()..]
                .chunks_mut(map.floats())
                .take(picks.len())
                .enumerate()
            {
                for (position, channels) in features.chunks_mut(width).enumerate() {
                    let start = (position * rows + row) * width;
                    channels.copy_from_slice(&narrow[start..start + width]);
                }
            }
            progress((number * rows + picks.len()) / views.len());
        }
        Ok(Self {
            map,
            views: views.len(),
            data,
        })
    }

    pub fn map(&self) -> Map {
        self.map
    }

    pub fn views(&self) -> usize {
        self.views
    }

    /// The features of some images under some views, `[position, row, channel]` for `rows` rows;
    /// rows beyond `picks` are left as they are.
    pub fn gather(&self, picks: &[(usize, usize)], rows: usize, out: &mut Vec<f16>) {
        let (floats, width) = (self.map.floats(), self.map.quads() * 4);
        out.resize(floats * rows, f16::ZERO);
        for (row, (image, view)) in picks.iter().enumerate() {
            let start = (image * self.views + view) * floats;
            for (position, channels) in self.data[start..start + floats]
                .chunks_exact(width)
                .enumerate()
            {
                let place = (position * rows + row) * width;
                out[place..place + width].copy_from_slice(channels);
            }
        }
    }
}
