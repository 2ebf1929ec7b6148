//! From bytes to the network's input.

use bayeslora::low_level::model::{Map, Piece};
use half::f16;

use crate::bench::{EXACT, everywhere, map_lanes, map_of};
use crate::reference::resize::{self, Augmentation};
use crate::reference::tensor::Tensor;

/// Normalised pixels lie in [-2.2, 2.7]. A position of some ten rounds to 1e-6 of a pixel (its product with
/// the ratio, and the ratio), and neighbours differ by up to the whole range: 9e-7 on llvmpipe, where the
/// division by 255 is exact to half a unit; WGSL allows two and a half.
const PIXELS: f64 = 2e-6;

/// Planar bytes and a view of each image; the corners of the crop's range come first.
fn images_and_views(rows: usize, side: usize) -> (Vec<u8>, Vec<Augmentation>) {
    let noise = Tensor::random(&[rows * 3 * side * side], 5);
    let bytes = noise.data.iter().map(|value| (127.9 * (value + 1.0)) as u8);
    let views = (0..rows).map(|n| Augmentation {
        top: [0, 8, 4, 1][n % 4],
        left: [8, 0, 4, 6][n % 4],
        flip: n % 3 == 1,
    });
    (bytes.collect(), views.collect())
}

#[test]
fn prepare() {
    // Images, those of a buffer, rows in the batch, first and number of the chunk, side, size.
    for (images, capacity, batch, first, rows, side, size) in [
        (1, 1, 1, 0, 1, 5, 5),
        (9, 9, 9, 0, 9, 6, 13),
        (7, 4, 7, 3, 4, 13, 6),
        (40, 12, 40, 7, 33, 5, 7),
        (11, 3, 5, 2, 3, 32, 64),
    ] {
        let (planar, _) = images_and_views(images, side);
        let (_, views) = images_and_views(batch, side);
        let picks: Vec<usize> = (0..batch).map(|row| (3 * row + 1) % images).collect();
        let plane = side * side;
        let picked: Vec<u8> = picks
            .iter()
            .flat_map(|image| &planar[image * 3 * plane..][..3 * plane])
            .copied()
            .collect();
        let shape = [batch, 3, side, side];
        let all = resize::prepare(&picked, shape, &views, [size, size]);
        let row = 3 * size * size;
        let chunk = all.data[first * row..(first + rows) * row].to_vec();
        let expected = Tensor::new(&[rows, 3, size, size], chunk);
        let pixels: Vec<u8> = (0..planar.len())
            .map(|i| planar[(i / (3 * plane) * 3 + i % 3) * plane + i / 3 % plane])
            .collect();
        let crops: Vec<u32> = views
            .iter()
            .zip(&picks)
            .flat_map(|(view, image)| {
                let pad = resize::CROP_PAD as i32;
                let at = |offset: usize| (offset as i32 - pad) as u32;
                let flip = u32::from(view.flip);
                [at(view.left), at(view.top), flip, *image as u32]
            })
            .collect();
        let name = format!(
            "prepare {rows} of {batch} rows from {first}, {images} images by {capacity}, {side} to {size}"
        );
        everywhere(&name, 17, |bench| {
            let parts = pixels.chunks(capacity * 3 * plane).enumerate();
            let pieces: Vec<Piece> = parts
                .map(|(number, part)| {
                    let mut bytes = part.to_vec();
                    bytes.resize(bytes.len().next_multiple_of(4), 255);
                    Piece {
                        slot: bench.words(&bytemuck::pod_collect_to_vec::<u8, u32>(&bytes)),
                        first: number * capacity,
                        count: part.len() / (3 * plane),
                    }
                })
                .collect();
            let views = bench.words(&crops);
            let out = bench.graph.prepare(&pieces, views, side, size, first, rows);
            bench.expect("out", out, &expected, PIXELS);
        });
    }
}

#[test]
fn unpack() {
    // Rows there are, those of a buffer, rows of the batch, those that have features.
    for (channels, [height, width], sets, capacity, batch, picked) in [
        (3, [1, 1], 1, 1, 1, 1),
        (5, [5, 7], 9, 9, 9, 9),
        (5, [2, 3], 4, 4, 6, 3),
        (10, [3, 3], 17, 5, 13, 11),
        (1, [2, 9], 4, 1, 6, 5),
        (129, [1, 3], 7, 3, 5, 1),
        (7, [3, 2], 3, 2, 4, 0),
        (6, [23, 29], 5, 2, 4, 3),
    ] {
        let all = Tensor::random(&[sets, channels, height, width], 1)
            .map(|value| f64::from(f16::from_f64(8.0 * value)));
        let row = channels * height * width;
        let picks: Vec<usize> = (0..picked).map(|row| (3 * row + 1) % sets).collect();
        let mut expected: Vec<f64> = picks
            .iter()
            .flat_map(|number| &all.data[number * row..][..row])
            .copied()
            .collect();
        expected.resize(batch * row, 0.0);
        let expected = Tensor::new(&[batch, channels, height, width], expected);
        let numbers = picks.iter().map(|number| *number as u32);
        let none = std::iter::repeat(u32::MAX);
        let views: Vec<u32> = numbers
            .chain(none)
            .take(batch)
            .flat_map(|number| [7, 7, 7, number])
            .collect();
        let map: Map = map_of(&all);
        let name = format!(
            "unpack {picked} of {batch} rows from {sets} by {capacity}, {channels} channels {height}x{width}"
        );
        everywhere(&name, 5, |bench| {
            let mut pieces = Vec::new();
            for first in (0..sets).step_by(capacity) {
                let count = capacity.min(sets - first);
                let halves: Vec<f16> = (first..first + count)
                    .flat_map(|number| {
                        let features = all.data[number * row..][..row].to_vec();
                        let features = Tensor::new(&[1, channels, height, width], features);
                        crate::bench::floats(&map_lanes(&features))
                    })
                    .map(f16::from_f32)
                    .collect();
                let slot = bench.words(&bytemuck::pod_collect_to_vec(&halves));
                pieces.push(Piece { slot, first, count });
            }
            let views = bench.words(&views);
            let out = bench.graph.unpack(&pieces, views, map, batch);
            bench.expect("out", out, &expected, EXACT);
        });
    }
}

#[test]
fn place() {
    for (channels, [height, width], rows, chunk) in
        [(3, [1, 1], 3, 2), (10, [5, 7], 9, 4), (13, [3, 3], 17, 17)]
    {
        let x = Tensor::random(&[rows, channels, height, width], 1);
        let part = |first: usize, count: usize| {
            let row = channels * height * width;
            let data = x.data[first * row..(first + count) * row].to_vec();
            Tensor::new(&[count, channels, height, width], data)
        };
        let name = format!("place {channels} channels {height}x{width} {rows} rows by {chunk}");
        everywhere(&name, 5, |bench| {
            let whole = bench.graph.tensor("whole", map_of(&x), rows);
            for first in (0..rows).step_by(chunk) {
                let part = bench.input(&part(first, chunk.min(rows - first)));
                bench.graph.place(part, first, whole);
            }
            bench.expect("whole", whole, &x, EXACT);
        });
    }
}
