//! Many comparisons at once.

/// p-values adjusted by Holm's step-down method (1979): all with an adjusted p below alpha may be called decided, and the
/// chance that any of these is wrong stays below alpha, however they depend on one another. In the order given.
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let n = p_values.len();
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|a, b| p_values[*a].total_cmp(&p_values[*b]));
    let mut adjusted = vec![0.0; n];
    let mut largest: f64 = 0.0;
    for (place, &index) in order.iter().enumerate() {
        largest = largest.max((n - place) as f64 * p_values[index]).min(1.0);
        adjusted[index] = largest;
    }
    adjusted
}
