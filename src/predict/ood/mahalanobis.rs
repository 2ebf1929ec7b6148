//! The Mahalanobis distance to the nearest class (Lee et al. 2018, "A Simple Unified Framework for Detecting Out-of-Distribution
//! Samples and Adversarial Attacks", arXiv:1807.03888).

use faer::linalg::matmul::triangular::{self, BlockStructure};
use faer::{Accum, Mat, MatRef, Side, get_global_parallelism};

/// Eigenvalues of a covariance are taken for at least this share of their mean.
const LEAST_VARIANCE: f64 = 1e-6;

/// A Gaussian of the training features for each class, with one covariance Sigma for all.
///
/// ```text
/// score(x) = min_c (x - mu_c)' Sigma^-1 (x - mu_c)
/// ```
///
/// The covariance is shrunk (Ledoit and Wolf 2004), so that there may be fewer images than features.
#[derive(Clone, Debug, PartialEq)]
pub struct Mahalanobis {
    /// W `[d, d]`, row-major, with W Sigma W' = I.
    pub(super) whitening: Vec<f32>,
    /// W mu_c `[classes that have images, d]`
    pub(super) class_means: Vec<f32>,
    pub(super) width: usize,
}

impl Mahalanobis {
    /// Of features `[n, d]` and their labels `[n]`; `None` where the features of all images of every class are the same, or are not
    /// finite.
    pub fn fit(features: &[f32], labels: &[u32]) -> Option<Self> {
        let n = labels.len();
        let d = features.len() / n.max(1);
        let classes = labels.iter().max().map_or(0, |most| *most as usize + 1);
        let mut means = vec![0.0; classes * d];
        let mut counts = vec![0usize; classes];
        for (row, label) in features.chunks_exact(d.max(1)).zip(labels) {
            let class = *label as usize;
            counts[class] += 1;
            let sum = &mut means[class * d..][..d];
            sum.iter_mut()
                .zip(row)
                .for_each(|(sum, x)| *sum += f64::from(*x));
        }
        for (mean, count) in means.chunks_exact_mut(d.max(1)).zip(&counts) {
            mean.iter_mut()
                .for_each(|sum| *sum /= (*count).max(1) as f64);
        }
        let centred = Mat::from_fn(d, n, |f, image| {
            f64::from(features[image * d + f]) - means[labels[image] as usize * d + f]
        });
        let whitening = whitening(shrunk(centred.as_ref()).as_ref())?;
        let present = means.chunks_exact(d).zip(&counts);
        let present = present.filter(|(_, count)| **count > 0);
        let turn = |mean: &[f64]| -> Vec<f32> {
            let turned = &whitening * MatRef::from_column_major_slice(mean, d, 1);
            turned.col(0).iter().map(|value| *value as f32).collect()
        };
        let fitted = Self {
            class_means: present.flat_map(|(mean, _)| turn(mean)).collect(),
            whitening: (0..d * d)
                .map(|place| whitening[(place / d, place % d)] as f32)
                .collect(),
            width: d,
        };
        fitted.is_sound().then_some(fitted)
    }

    /// Whether it can score: shapes agree, everything is finite.
    pub(super) fn is_sound(&self) -> bool {
        let d = self.width;
        let shapes = d > 0
            && self.whitening.len() == d * d
            && !self.class_means.is_empty()
            && self.class_means.len().is_multiple_of(d);
        let mut all = self.whitening.iter().chain(&self.class_means);
        shapes && all.all(|value| value.is_finite())
    }

    /// The score of each row of features `[n, d]`; the higher, the less familiar.
    pub fn scores(&self, features: &[f32]) -> Vec<f64> {
        let d = self.width;
        let whitening = MatRef::from_row_major_slice(&self.whitening, d, d);
        let columns = MatRef::from_column_major_slice(features, d, features.len() / d);
        let turned = whitening * columns;
        let distance = |image: usize, mean: &[f32]| -> f64 {
            let pairs = turned.col(image).iter().zip(mean);
            pairs.map(|(x, mean)| f64::from(x - mean).powi(2)).sum()
        };
        let score = |image: usize| {
            let classes = self.class_means.chunks_exact(d);
            let distances = classes.map(|mean| distance(image, mean));
            // Not `f64::min`, for which a number is less than what is none.
            distances.min_by(f64::total_cmp).expect("sound")
        };
        (0..turned.ncols()).map(score).collect()
    }
}

/// The covariance of centred columns `[d, n]`, drawn towards a multiple of the identity as far as the noise of so few asks
/// (Ledoit and Wolf 2004, "A well-conditioned estimator for large-dimensional covariance matrices", lemma 3.2 f.).
fn shrunk(centred: MatRef<f64>) -> Mat<f64> {
    let (d, n) = (centred.nrows(), centred.ncols());
    let mut covariance = Mat::zeros(d, d);
    triangular::matmul(
        covariance.as_mut(),
        BlockStructure::TriangularLower,
        Accum::Replace,
        centred,
        BlockStructure::Rectangular,
        centred.transpose(),
        BlockStructure::Rectangular,
        1.0 / n as f64,
        get_global_parallelism(),
    );
    for row in 0..d {
        for column in row + 1..d {
            covariance[(row, column)] = covariance[(column, row)];
        }
    }
    let level = (0..d).map(|f| covariance[(f, f)]).sum::<f64>() / d as f64;
    let square = covariance.squared_norm_l2();
    let fourth: f64 = (0..n)
        .map(|image| centred.col(image).squared_norm_l2().powi(2))
        .sum();
    // Both per feature: how far the images' own products are from S, and S from the identity's multiple.
    let noise = (fourth / n as f64 - square) / (n as f64 * d as f64);
    let spread = square / d as f64 - level * level;
    let share = match spread > 0.0 {
        true => (noise / spread).clamp(0.0, 1.0),
        false => 0.0,
    };
    Mat::from_fn(d, d, |row, column| {
        let target = if row == column { share * level } else { 0.0 };
        (1.0 - share) * covariance[(row, column)] + target
    })
}

/// W with W S W' = I; `None` where S is zero, or not finite.
fn whitening(covariance: MatRef<f64>) -> Option<Mat<f64>> {
    let eigen = covariance.self_adjoint_eigen(Side::Lower).ok()?;
    let values: Vec<f64> = eigen.S().column_vector().iter().copied().collect();
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let vectors = eigen.U();
    (mean > 0.0 && mean.is_finite()).then(|| {
        Mat::from_fn(values.len(), values.len(), |row, column| {
            let variance = values[row].max(LEAST_VARIANCE * mean);
            vectors[(column, row)] / variance.sqrt()
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_pcg::Pcg64;

    /// Two classes of two features, by hand: shrinkage and the score.
    #[test]
    fn is_what_the_formula_says() {
        let features = [
            0.0, 0.0, 2.0, 0.0, 1.0, 1.0, 1.0, -1.0, 10.0, 0.0, 12.0, 0.0, 11.0, 2.0, 11.0, -2.0,
        ];
        let labels = [0, 0, 0, 0, 1, 1, 1, 1];
        let fitted = Mahalanobis::fit(&features, &labels).unwrap();
        let means = [[1.0, 0.0], [11.0, 0.0]];
        let x = |image: usize, f: usize| {
            f64::from(features[2 * image + f]) - means[labels[image] as usize][f]
        };
        let s = |a: usize, b: usize| (0..8).map(|i| x(i, a) * x(i, b)).sum::<f64>() / 8.0;
        let pairs = [(0, 0), (0, 1), (1, 0), (1, 1)];
        let level = (s(0, 0) + s(1, 1)) / 2.0;
        let target = |a: usize, b: usize| if a == b { level } else { 0.0 };
        // The images' own products around S, over n, and S around the identity's multiple; both per feature.
        let noise: f64 = (0..8)
            .flat_map(|i| pairs.map(|(a, b)| (x(i, a) * x(i, b) - s(a, b)).powi(2)))
            .sum::<f64>()
            / (2.0 * 64.0);
        let spread = pairs.map(|(a, b)| (s(a, b) - target(a, b)).powi(2));
        let share = (noise / (spread.iter().sum::<f64>() / 2.0)).min(1.0);
        let sigma = |a: usize, b: usize| (1.0 - share) * s(a, b) + share * target(a, b);
        let determinant = sigma(0, 0) * sigma(1, 1) - sigma(0, 1).powi(2);
        for point in [[1.0, 0.0], [6.0, 3.0], [-4.0, 7.0], [11.0, -2.0]] {
            let distances = means.map(|mean| {
                let (u, v) = (point[0] - mean[0], point[1] - mean[1]);
                (sigma(1, 1) * u * u - 2.0 * sigma(0, 1) * u * v + sigma(0, 0) * v * v)
                    / determinant
            });
            let expected = distances[0].min(distances[1]);
            let found = fitted.scores(&point.map(|value| value as f32))[0];
            // Single precision on the way.
            assert!(
                (found - expected).abs() < 1e-4 * expected.max(1.0),
                "{point:?}: {found} {expected}"
            );
        }
    }

    /// Fewer images than features, as with a folder of photographs: what lies off the classes scores higher.
    #[test]
    fn few_images_of_many_features_are_enough() {
        const D: usize = 64;
        let mut random = Pcg64::seed_from_u64(5);
        let mut normal = || (0..12).map(|_| random.random::<f32>()).sum::<f32>() - 6.0;
        let mut images = |class: usize, n: usize| -> Vec<f32> {
            let value = |place: usize| if place % D / 16 == class { 3.0 } else { 0.0 };
            (0..n * D).map(|place| value(place) + normal()).collect()
        };
        let train: Vec<f32> = (0..3).flat_map(|class| images(class, 12)).collect();
        let labels: Vec<u32> = (0..36).map(|image| image / 12).collect();
        let fitted = Mahalanobis::fit(&train, &labels).unwrap();
        let familiar = fitted.scores(&images(1, 100));
        let unknown = fitted.scores(&images(3, 100));
        let area = crate::metrics::auroc(&familiar, &unknown);
        assert!(area > 0.95, "{area}");
    }

    #[test]
    fn features_that_do_not_vary_are_refused() {
        assert!(Mahalanobis::fit(&[1.0; 12], &[0, 0, 1, 1]).is_none());
        assert!(Mahalanobis::fit(&[1.0, f32::NAN, 0.0, 2.0], &[0, 1]).is_none());
    }
}
