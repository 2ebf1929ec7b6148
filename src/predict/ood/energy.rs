//! The energy of the logits (Liu et al. 2020, "Energy-based Out-of-distribution Detection", arXiv:2010.03759).

use crate::formats::Head;

/// The energy of each row of head inputs `[n, head.features]`, in nats; the higher, the less familiar.
///
/// ```text
/// E(x) = -log sum_c exp((W x + b)_c)
/// ```
pub fn energies(features: &[f32], head: &Head) -> Vec<f64> {
    let rows = features.chunks_exact(head.features.max(1));
    rows.map(|x| {
        let weights = head.weight.chunks_exact(head.features.max(1));
        let logits: Vec<f64> = weights
            .zip(&head.bias)
            .map(|(weights, bias)| {
                let products = weights.iter().zip(x);
                let sum: f64 = products.map(|(w, x)| f64::from(*w) * f64::from(*x)).sum();
                sum + f64::from(*bias)
            })
            .collect();
        let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = logits.iter().map(|logit| (logit - largest).exp()).sum();
        -(largest + sum.ln())
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn energy_by_hand() {
        let head = Head {
            classes: 2,
            features: 2,
            weight: vec![1.0, 0.0, 0.0, 2.0],
            bias: vec![0.0, -1.0],
            trained: true,
        };
        // Logits 3 and 1; and 800 and 800, whose exponentials no float holds.
        let found = energies(&[3.0, 1.0, 800.0, 400.5], &head);
        assert!((found[0] + (3f64.exp() + 1f64.exp()).ln()).abs() < 1e-12);
        assert!((found[1] + 800.0 + 2f64.ln()).abs() < 1e-9);
    }
}
