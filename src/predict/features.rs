//! Features at the cut, computed once an image and view and kept as f16 in host memory.

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::PredictError;
use crate::data::{DataError, Dataset, prefetch};
use crate::gpu::largest_that_fits;
use crate::model::{
    Batch, BatchInput, Cut, FrozenNetwork, Graph, Map, View, largest_chunk, prefix,
};

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

    /// Computes the features of a set at the network's input size `size`. `progress` is called with
    /// the number of images done.
    ///
    /// # Errors
    /// The GPU fails, or an image file has changed since the set was opened.
    pub fn compute(
        network: &FrozenNetwork,
        cut: Cut,
        dataset: &Dataset,
        size: usize,
        views: &[View],
        mut progress: impl FnMut(usize),
    ) -> Result<Self, PredictError> {
        let (images, side) = (dataset.len(), dataset.side);
        if images == 0 {
            return Err(PredictError::Empty);
        }
        let map = network.resnet.cut_map(cut, size);
        let plan = |at_once: usize| {
            let rows = at_once * views.len();
            let batch = Batch::new(&network.gpu, BatchInput::Images { side, size }, rows);
            let mut graph = Graph::new(&network.gpu, network.kernels);
            let input = batch.prefix_input(&mut graph);
            let chunk = largest_chunk(&network.gpu, network, size);
            let out = prefix(&mut graph, network, cut, input, rows, chunk);
            graph.builder.keep(out.slot);
            Ok((graph.builder.build()?, batch, out))
        };
        let most = (ROWS / views.len()).clamp(1, images);
        let (at_once, (plan, batch, out)) = largest_that_fits(most, plan)?;
        let rows = at_once * views.len();

        let mut data = vec![f16::ZERO; map.floats() * images * views.len()];
        let width = map.quads() * 4;
        let mut narrow = vec![f16::ZERO; map.floats() * rows];
        let indices: Vec<usize> = (0..images).collect();
        let groups: Vec<&[usize]> = indices.chunks(at_once).collect();
        // Each image once a view.
        let read = |group: usize| {
            let pixels = dataset.read(groups[group])?;
            let images = pixels.chunks_exact(dataset.image_bytes());
            let rows = images.flat_map(|image| std::iter::repeat_n(image, views.len()));
            Ok::<_, DataError>(rows.collect::<Vec<_>>().concat())
        };
        prefetch(groups.len(), read, |ahead| {
            for (number, group) in groups.iter().enumerate() {
                let pixels = ahead.next(|| ()).expect("as many as there are groups")?;
                batch.write_images(&pixels, &views.repeat(group.len()));
                plan.run();
                narrow.convert_from_f32_slice(&plan.read(out.slot)?);
                for (row, features) in data[number * rows * map.floats()..]
                    .chunks_mut(map.floats())
                    .take(group.len() * views.len())
                    .enumerate()
                {
                    for (position, channels) in features.chunks_mut(width).enumerate() {
                        let start = (position * rows + row) * width;
                        channels.copy_from_slice(&narrow[start..start + width]);
                    }
                }
                progress(number * at_once + group.len());
            }
            Ok(Self {
                map,
                views: views.len(),
                data,
            })
        })
    }

    pub fn map(&self) -> Map {
        self.map
    }

    /// The features of some images under some views, `[position, row, channel]` for `rows` rows;
    /// rows beyond `picks` are zero.
    pub fn gather(&self, picks: &[(usize, usize)], rows: usize) -> Vec<f16> {
        let (floats, width) = (self.map.floats(), self.map.quads() * 4);
        let mut out = vec![f16::ZERO; floats * rows];
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
        out
    }
}
