//! How frequent the classes were in training.

use serde::{Deserialize, Serialize};

/// How frequent the classes were among the images that an adapter was trained on, and in its loss: what answers for another
/// balance of the classes are made from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassBalance {
    /// Training images of each class, `[classes]`.
    pub images: Vec<usize>,
    /// The class probabilities that the adapter's answers have as their prior, `[classes]`, of the sum 1: those that the loss has
    /// seen, which weights of classes and a balanced sampler make others than the images'. 0 for a class without images.
    pub prior: Vec<f64>,
}

impl ClassBalance {
    /// What contradicts it, for so many classes.
    pub(crate) fn fault(&self, classes: usize) -> Option<String> {
        const ROUNDING: f64 = 1e-6;
        let Self { images, prior } = self;
        if [images.len(), prior.len()] != [classes; 2] {
            let (counts, shares) = (images.len(), prior.len());
            return Some(format!(
                "{counts} counts of images and {shares} probabilities for {classes} classes"
            ));
        }
        let fits = |(n, p): (&usize, &f64)| (0.0..=1.0).contains(p) && (*n == 0) == (*p == 0.0);
        if let Some(label) = images
            .iter()
            .zip(prior)
            .position(|of_class| !fits(of_class))
        {
            let (n, p) = (images[label], prior[label]);
            return Some(format!(
                "the probability {p} for the {n} images of class {label}"
            ));
        }
        let sum: f64 = prior.iter().sum();
        ((sum - 1.0).abs() > ROUNDING).then(|| format!("probabilities of the sum {sum}"))
    }
}

#[cfg(test)]
mod tests {
    use super::ClassBalance;

    #[test]
    fn contradictions_are_named() {
        let fault = |images: &[usize], prior: &[f64]| {
            let (images, prior) = (images.to_vec(), prior.to_vec());
            ClassBalance { images, prior }.fault(2).unwrap_or_default()
        };
        assert_eq!(fault(&[3, 1], &[0.75, 0.25]), "");
        // As a balanced loss sees them, and without images of one.
        assert_eq!(fault(&[3, 1], &[0.5, 0.5]), "");
        assert_eq!(fault(&[0, 1], &[0.0, 1.0]), "");
        for (images, prior, says) in [
            (&[3][..], &[0.5, 0.5][..], "1 counts"),
            (&[3, 1], &[0.5, 0.25, 0.25], "3 probabilities"),
            (&[3, 0], &[0.75, 0.25], "0.25 for the 0 images of class 1"),
            (&[3, 1], &[1.0, 0.0], "0 for the 1 images of class 1"),
            (&[3, 1], &[1.5, -0.5], "1.5"),
            (&[3, 1], &[f64::NAN, 0.5], "NaN"),
            (&[3, 1], &[0.5, 0.25], "the sum 0.75"),
        ] {
            let found = fault(images, prior);
            assert!(found.contains(says), "{found}");
        }
    }
}
