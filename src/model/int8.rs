//! Weights of 8 bits: integers times a scale for each output channel (symmetric quantisation by channel, as in Krishnamoorthi
//! 2018, arXiv:1806.08342, section 2.2).

use rayon::prelude::*;

use super::ConvWeights;
use super::frozen::Matrix;

/// The largest integer. -128 is left out, so that both signs reach as far.
const LARGEST: f32 = 127.0;

impl ConvWeights {
    /// The nearest weights that are a whole number from -127 to 127 of steps; the step of an output channel is its largest
    /// weight / 127. Weights that are so already stay as they are.
    pub fn quantised(&self) -> Self {
        if self.scales.is_some() {
            return self.clone();
        }
        let mut rounded = self.clone();
        let filter = self.weight.len() / self.gain.len();
        let filters = rounded.weight.par_chunks_mut(filter);
        let scales = filters.map(|weights| {
            let largest = weights.iter().fold(0f32, |most, w| most.max(w.abs()));
            let scale = largest / LARGEST;
            for weight in weights {
                *weight = scale * steps(*weight, scale);
            }
            scale
        });
        rounded.scales = Some(scales.collect());
        rounded
    }
}

/// How many steps a weight is, rounded; a step may be so small that it is 0.
fn steps(weight: f32, scale: f32) -> f32 {
    match scale > 0.0 {
        true => (weight / scale).round().clamp(-LARGEST, LARGEST),
        false => 0.0,
    }
}

/// The integers of a matrix and their scales, as `shaders/conv/int8.wgsl` reads them. The output channels are its columns,
/// or `backward` its rows.
pub(super) fn packed(matrix: &Matrix, scales: &[f32], backward: bool) -> Vec<u32> {
    let (tall, wide) = (matrix.rows, matrix.columns);
    let mut words: Vec<u32> = scales.iter().map(|scale| scale.to_bits()).collect();
    // A row of vec4us has as many words as the matrix has columns.
    words.resize(scales.len().next_multiple_of(wide), 0);
    let word = |line: usize, column: usize| {
        let bytes = [0, 1, 2, 3].map(|lane| {
            let column = column + lane;
            let channel = if backward { line % tall } else { column };
            // Channels of the padding have none.
            let scale = scales.get(channel).copied().unwrap_or(0.0);
            steps(matrix.data[line * wide + column], scale) as i8 as u8
        });
        u32::from_le_bytes(bytes)
    };
    let blocks = (0..matrix.data.len() / wide / 4).into_par_iter();
    words.par_extend(
        blocks
            .flat_map_iter(|block| {
                (0..wide).map(move |place| (4 * block + place % 4, place / 4 * 4))
            })
            .map(|(line, column)| word(line, column)),
    );
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights(weight: Vec<f32>, channels: usize) -> ConvWeights {
        ConvWeights {
            weight,
            gain: vec![1.0; channels],
            bias: vec![0.0; channels],
            scales: None,
        }
    }

    #[test]
    fn weights_are_whole_steps_at_most_half_a_step_away() {
        let values = vec![
            // The largest is exactly 127 steps; a tie goes away from zero.
            12.7, -0.05, 0.26, 3.1, //
            // A channel of zeros, one whose step underflows, and one of large numbers.
            0.0, 0.0, 0.0, -0.0, //
            1e-44, -1e-45, 0.0, 1e-44, //
            1e38, -1e38, 1e30, 0.0,
        ];
        let rounded = weights(values.clone(), 4).quantised();
        let scales = rounded.scales.as_ref().unwrap();
        for (index, (weight, found)) in values.iter().zip(&rounded.weight).enumerate() {
            let scale = scales[index / 4];
            let count = if scale > 0.0 { found / scale } else { 0.0 };
            assert!((count - count.round()).abs() < 1e-4 && count.abs() <= 127.5);
            let error = f64::from(*weight) - f64::from(*found);
            // Below f32's range a step is 0 and so is every weight.
            assert!(
                error.abs() <= 0.501 * f64::from(scale) + 2e-44,
                "{index}: {weight} {found}"
            );
            assert_eq!(*found, scale * steps(*found, scale), "{index}");
        }
        assert_eq!(rounded.weight[4..8], [0.0; 4]);
        let again = rounded.quantised();
        assert_eq!(
            (again.weight, again.scales),
            (rounded.weight, rounded.scales)
        );
    }

    #[test]
    fn packed_words_hold_four_columns_and_scales_come_first() {
        // Two taps of 4 rows x 8 columns; the output channels are the columns, of which seven are there.
        let scales: Vec<f32> = (1..=7).map(|c| c as f32 / 8.0).collect();
        let integer = |line: usize, column: usize| match column < 7 {
            true => ((line * 37 + column * 11) % 255) as f32 - 127.0,
            false => 0.0,
        };
        let scale = |column: usize| scales.get(column).copied().unwrap_or(0.0);
        let data = (0..64).map(|at| scale(at % 8) * integer(at / 8, at % 8));
        let matrix = Matrix {
            rows: 4,
            columns: 8,
            data: data.collect(),
        };
        let words = packed(&matrix, &scales, false);
        let expected: Vec<_> = scales.iter().map(|s| s.to_bits()).chain([0]).collect();
        assert_eq!(words[..8], expected);
        assert_eq!(words.len(), 8 + 16);
        for (line, column) in [(0, 0), (3, 2), (5, 6), (7, 7)] {
            let (block, quad) = (line / 4, column / 4);
            let word = words[8 + block * 8 + quad * 4 + line % 4];
            let byte = word.to_le_bytes()[column % 4] as i8;
            assert_eq!(f32::from(byte), integer(line, column), "{line} {column}");
        }
        // Transposed: 4 rows of each tap are the channels, and their scales fill half a row.
        let scales = [0.5f32, 0.25, 2.0];
        let scale = |row: usize| scales.get(row).copied().unwrap_or(0.0);
        let data = (0..64).map(|at| scale(at / 8 % 4) * integer(at / 8, at % 8));
        let matrix = Matrix {
            rows: 4,
            columns: 8,
            data: data.collect(),
        };
        let words = packed(&matrix, &scales, true);
        assert_eq!(words[..4], [0.5f32, 0.25, 2.0, 0.0].map(f32::to_bits));
        assert_eq!((words[4..8].to_vec(), words.len()), (vec![0; 4], 8 + 16));
        let byte = words[8 + 8 + 4 + 2].to_le_bytes()[1] as i8;
        assert_eq!(f32::from(byte), integer(6, 5));
    }
}
