//! Winograd's minimal filtering F(2x2, 3x3) [Lavin & Gray 2015, arXiv:1509.09308]: sixteen products
//! give four outputs of a 3x3 filter, where the direct sum takes thirty-six.

/// G: what a filter is transformed with from both sides.
const G: [[f64; 3]; 4] = [
    [1.0, 0.0, 0.0],
    [0.5, 0.5, 0.5],
    [0.5, -0.5, 0.5],
    [0.0, 0.0, 1.0],
];

/// G f G' of each 3x3 filter f, sixteen values for nine; `flipped` turns the filters by half a turn
/// first, as gradients need them. Computed in f64 and rounded once.
pub(super) fn transformed_filters(filters: &[f32], flipped: bool) -> Vec<f32> {
    let transform = |filter: &[f32]| {
        let at = |y: usize, x: usize| {
            let index = y * 3 + x;
            f64::from(filter[if flipped { 8 - index } else { index }])
        };
        let value = |i: usize, j: usize| {
            let row = |y: usize| (0..3).map(|x| at(y, x) * G[j][x]).sum::<f64>();
            (0..3).map(|y| G[i][y] * row(y)).sum::<f64>() as f32
        };
        std::array::from_fn::<f32, 16, _>(|index| value(index / 4, index % 4))
    };
    filters.chunks_exact(9).flat_map(transform).collect()
}
