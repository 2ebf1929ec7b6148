//! Which balance of the classes a run is trained for.

use super::{ClassWeights, Sampler, TrainConfig};

impl TrainConfig {
    /// The class probabilities `[classes]` that answers have as their prior, given the training images of each class: those that
    /// the loss has seen. A weighted loss is least where p(c | x) is proportional to w_c n_c p(x | c), so that balanced weights
    /// and the balanced sampler both give the same to every class that has images.
    pub fn class_prior(&self, counts: &[usize]) -> Vec<f64> {
        let is_even =
            self.sampler == Sampler::Balanced || self.class_weights == ClassWeights::Balanced;
        let weights = self.class_weights.of(counts);
        let mass = |(n, weight): (&usize, f32)| match n {
            0 => 0.0,
            _ if is_even => 1.0,
            n => f64::from(weight) * *n as f64,
        };
        let mass: Vec<f64> = counts.iter().zip(weights).map(mass).collect();
        let sum: f64 = mass.iter().sum();
        mass.into_iter().map(|mass| mass / sum).collect()
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_pcg::Pcg64;

    use super::*;
    use crate::metrics::{Predictions, accuracy, nll};
    use crate::predict::PriorShift;

    const CENTRES: [[f64; 2]; 3] = [[0.0, 0.0], [1.6, 0.0], [0.0, 1.6]];

    /// Points of three Gaussians of variance 1.
    struct Points {
        inputs: Vec<[f64; 3]>,
        labels: Vec<u32>,
    }

    impl Points {
        fn draw(count: usize, prior: [f64; 3], seed: u64) -> Self {
            let mut random = Pcg64::seed_from_u64(seed);
            let mut points = Self {
                inputs: Vec::new(),
                labels: Vec::new(),
            };
            for _ in 0..count {
                let place = random.random_range(0.0..1.0);
                let label = match place {
                    p if p < prior[0] => 0,
                    p if p < prior[0] + prior[1] => 1,
                    _ => 2,
                };
                let radius = (-2.0 * (1.0 - random.random_range(0.0..1.0f64)).ln()).sqrt();
                let (sin, cos) =
                    (std::f64::consts::TAU * random.random_range(0.0..1.0f64)).sin_cos();
                let [x, y] = CENTRES[label];
                points
                    .inputs
                    .push([1.0, x + radius * cos, y + radius * sin]);
                points.labels.push(label as u32);
            }
            points
        }

        fn counts(&self) -> Vec<usize> {
            let of = |class| self.labels.iter().filter(|label| **label == class).count();
            (0..3).map(of).collect()
        }

        fn log_probs(&self, logits: impl Fn(&[f64; 3]) -> [f64; 3]) -> Vec<f32> {
            let row = |input: &[f64; 3]| {
                let logits = logits(input);
                let mass: f64 = logits.iter().map(|logit| logit.exp()).sum();
                logits.map(|logit| (logit - mass.ln()) as f32)
            };
            self.inputs.iter().flat_map(row).collect()
        }

        /// Accuracy and NLL.
        fn scores(&self, log_probs: &[f32]) -> (f64, f64) {
            let predictions = Predictions::from_log_probs(log_probs, &self.labels, 3).unwrap();
            (accuracy(&predictions), nll(&predictions))
        }

        /// The best that there is.
        fn bayes(&self, prior: [f64; 3]) -> (f64, f64) {
            let log_probs = self.log_probs(|[_, x, y]| {
                let each = CENTRES.iter().zip(prior);
                let logits: Vec<f64> = each
                    .map(|([a, b], p)| p.ln() - ((x - a).powi(2) + (y - b).powi(2)) / 2.0)
                    .collect();
                [logits[0], logits[1], logits[2]]
            });
            self.scores(&log_probs)
        }
    }

    /// Softmax regression by gradient descent, with the weights or the draws of a configuration.
    fn fit(points: &Points, config: &TrainConfig) -> [[f64; 3]; 3] {
        const DRAWN: u64 = 8;
        let by_class = config.class_weights.of(&points.counts());
        let mut times = vec![0.0; points.labels.len()];
        for epoch in 0..DRAWN {
            let order = config.sampler.order(&points.labels, 1, epoch);
            for image in order.indices() {
                times[*image] += 1.0 / DRAWN as f64;
            }
        }
        let mut weights = [[0.0; 3]; 3];
        for _ in 0..800 {
            let mut slope = [[0.0; 3]; 3];
            for ((input, label), times) in points.inputs.iter().zip(&points.labels).zip(&times) {
                let logits = logits(&weights, input).map(f64::exp);
                let mass: f64 = logits.iter().sum();
                let importance = times * f64::from(by_class[*label as usize]);
                for class in 0..3 {
                    let target = f64::from(u8::from(class == *label as usize));
                    let error = importance * (logits[class] / mass - target);
                    for (slope, input) in slope[class].iter_mut().zip(input) {
                        *slope += error * input;
                    }
                }
            }
            let all = points.labels.len() as f64;
            for (weight, slope) in weights.iter_mut().flatten().zip(slope.iter().flatten()) {
                *weight -= 0.5 * slope / all;
            }
        }
        weights
    }

    fn logits(weights: &[[f64; 3]; 3], input: &[f64; 3]) -> [f64; 3] {
        weights.map(|row| row.iter().zip(input).map(|(w, x)| w * x).sum())
    }

    /// However the loss was balanced: the adjusted answers are as good as the best for the other balance.
    #[test]
    fn adjusted_answers_are_right_where_the_balance_has_changed() {
        let points = Points::draw(8_000, [0.85, 0.11, 0.04], 1);
        let target = [0.1, 0.2, 0.7];
        let test = Points::draw(8_000, target, 2);
        let (best_accuracy, best_nll) = test.bayes(target);
        let base = TrainConfig::default;
        for config in [
            base(),
            TrainConfig {
                class_weights: ClassWeights::Balanced,
                ..base()
            },
            TrainConfig {
                class_weights: ClassWeights::Effective,
                ..base()
            },
            TrainConfig {
                sampler: Sampler::Balanced,
                ..base()
            },
        ] {
            let weights = fit(&points, &config);
            let log_probs = test.log_probs(|input| logits(&weights, input));
            let under = |trained: &[f64]| {
                let mut log_probs = log_probs.clone();
                PriorShift::new(trained, &target).adjust(&mut log_probs);
                test.scores(&log_probs)
            };
            let (accuracy, nll) = test.scores(&log_probs);
            let prior = config.class_prior(&points.counts());
            let (adjusted_accuracy, adjusted_nll) = under(&prior);
            let said = format!(
                "{:?} {:?}: {accuracy:.3} {nll:.3} -> {adjusted_accuracy:.3} {adjusted_nll:.3}, best {best_accuracy:.3} \
                 {best_nll:.3}",
                config.class_weights, config.sampler
            );
            println!("{said}");
            assert!(adjusted_nll < nll - 0.05, "{said}");
            assert!(adjusted_accuracy > accuracy + 0.01, "{said}");
            assert!(adjusted_nll < best_nll + 0.02, "{said}");
            assert!(adjusted_accuracy > best_accuracy - 0.01, "{said}");
            // What is not uneven any more must not be corrected again.
            if config != base() {
                let (_, twice) = under(&base().class_prior(&points.counts()));
                assert!(twice > adjusted_nll + 0.03, "{said}, twice {twice:.3}");
            }
        }
    }

    #[test]
    fn priors_by_hand() {
        let counts = [6, 2, 0, 1];
        let prior = |class_weights, sampler| {
            TrainConfig {
                class_weights,
                sampler,
                ..TrainConfig::default()
            }
            .class_prior(&counts)
        };
        let third = 1.0 / 3.0;
        let even = [third, third, 0.0, third];
        assert_eq!(prior(ClassWeights::Balanced, Sampler::Shuffled), even);
        assert_eq!(prior(ClassWeights::None, Sampler::Balanced), even);
        let as_they_are = prior(ClassWeights::None, Sampler::Shuffled);
        assert_eq!(as_they_are, [6.0 / 9.0, 2.0 / 9.0, 0.0, 1.0 / 9.0]);
        // n (1 - b) / (1 - b^n), with b = .999: nearly even for so few images.
        let between = prior(ClassWeights::Effective, Sampler::Shuffled);
        assert!(between[0] > third && between[0] < 0.34 && between[3] < third);
    }
}
