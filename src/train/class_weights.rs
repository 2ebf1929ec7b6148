//! How much an image counts in the loss, by its class.

use serde::{Deserialize, Serialize};

/// Against classes of uneven size: the cross-entropy of each image is multiplied by the weight of its class. The mean over
/// the training images is 1, so that the loss keeps its size beside the KL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClassWeights {
    /// All images count alike.
    #[default]
    None,
    /// Classes count alike: w_c = N / (K n_c), with n_c of N images in class c of the K that have any.
    Balanced,
    /// In between: w_c is proportional to (1 - beta) / (1 - beta^n_c) with beta = .999, the inverse of the effective number of
    /// images (Cui et al. 2019).
    Effective,
}

/// How much of an image's information those before it leave.
const BETA: f64 = 0.999;

impl ClassWeights {
    /// As the option takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Balanced => "balanced",
            Self::Effective => "effective",
        }
    }

    /// The weight of each class by its number of images; that of a class without, which nothing asks for, is 0.
    pub fn of(self, counts: &[usize]) -> Vec<f32> {
        let weight = |n: usize| match self {
            Self::None => 1.0,
            Self::Balanced => 1.0 / n as f64,
            Self::Effective => (1.0 - BETA) / (1.0 - BETA.powi(n as i32)),
        };
        let weights = counts
            .iter()
            .map(|n| if *n == 0 { 0.0 } else { weight(*n) });
        let weights: Vec<f64> = weights.collect();
        let sum: f64 = weights.iter().zip(counts).map(|(w, n)| w * *n as f64).sum();
        let mean = sum / counts.iter().sum::<usize>().max(1) as f64;
        let scaled = weights.iter().map(|w| match self {
            // Exactly.
            Self::None => *w as f32,
            _ => (w / mean) as f32,
        });
        scaled.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::ClassWeights;

    #[test]
    fn weights_by_hand() {
        // Six of class 0, two of class 1, none of class 2, one of class 3.
        let counts = [6, 2, 0, 1];
        assert_eq!(ClassWeights::None.of(&counts), [1.0, 1.0, 0.0, 1.0]);
        // 9 / (3 x 6) and so on: the three classes with images count a third each.
        assert_eq!(ClassWeights::Balanced.of(&counts), [0.5, 1.5, 0.0, 3.0]);
        let effective = ClassWeights::Effective.of(&counts);
        // (1 + b) / (1 + b + b^2 + b^3 + b^4 + b^5) of one to two images.
        let ratio = f64::from(effective[0] / effective[1]);
        let b: f64 = 0.999;
        let expected = (1.0 + b) / (0..6).map(|i| b.powi(i)).sum::<f64>();
        assert!((ratio - expected).abs() < 1e-6, "{ratio}");
        let pairs = effective.iter().zip(counts);
        let mean = pairs.map(|(weight, n)| weight * n as f32).sum::<f32>() / 9.0;
        assert!((mean - 1.0).abs() < 1e-6);
    }
}
