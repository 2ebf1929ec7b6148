//! Gate gradients in any basis, against the network differentiated after the turn.

use bayeslora::low_level::model::{AdapterLayout, AdapterState};
use bayeslora::low_level::predict::laplace::{Wanted, for_each};
use bayeslora::low_level::predict::{GateFactors, Labels, Predictor, Samples};
use bayeslora::low_level::train::gauge::{self, GateGradients, Turn, best_log_alpha};
use faer::Mat;
use faer::linalg::solvers::DenseSolveCore;

use super::algebra::random;
use super::network::{CLASSES, gated, images, layout, network};
use crate::properties::{GPU, random_state};

fn predictor(layout: &AdapterLayout, state: &AdapterState) -> Predictor {
    let network = network(&GPU);
    Predictor::with_params(network, gated(layout, state), 16)
}

fn drawn(seed: u64) -> Labels {
    Labels::Drawn { seed }
}

fn small_state(layout: &AdapterLayout) -> AdapterState {
    let mut state = random_state(layout, 12);
    let factors = state.layers.iter_mut().flat_map(|layer| &mut layer.lora_b);
    factors.for_each(|b| *b *= 0.1);
    // No class is certain.
    state
        .head_weight
        .iter_mut()
        .for_each(|weight| *weight *= 0.1);
    state
}

fn random_turns(layout: &AdapterLayout) -> Vec<Turn> {
    let ranks = layout.layers.iter().map(|layer| layer.rank()).enumerate();
    ranks
        .map(|(layer, rank)| {
            let right = random(rank, rank, 50 + layer as u64)
                + faer::Scale(2.0) * Mat::<f64>::identity(rank, rank);
            let left = right.partial_piv_lu().inverse();
            Turn { left, right }
        })
        .collect()
}

/// sum_ab of what the plan keeps is the gradient of the turned network's own gates, which another plan gives for every
/// class: the draws' labels are told from its log probabilities by trying each.
#[test]
fn gradients_are_those_of_the_turned_network() {
    let network = network(&GPU);
    let layout = layout(&network, 5);
    let state = small_state(&layout);
    let source = images();
    let before = predictor(&layout, &state);
    let factors = GateFactors::gather(&before, &source, 9, drawn(3), &mut |_| ()).unwrap();
    for turns in [
        random_turns(&layout),
        layout
            .layers
            .iter()
            .map(|l| Turn::identity(l.rank()))
            .collect(),
    ] {
        let gradients: Vec<Mat<f64>> = factors
            .layers
            .iter()
            .zip(&turns)
            .map(|(layer, turn)| layer.gradients(turn.left.as_ref(), turn.right.as_ref()))
            .collect();
        let silent: Vec<Vec<f32>> = layout.layers.iter().map(|l| vec![0.0; l.rank()]).collect();
        let turned = gauge::turn(&layout, &state, &turns, &silent);
        let turned = predictor(&layout, &turned);
        let indices: Vec<usize> = (0..6).collect();
        let mut points = Vec::new();
        for_each(&turned, &source, &indices, Wanted::Gates, &mut |_, more| {
            points.extend(more);
            Ok(())
        })
        .unwrap();
        let mut seen = [0; CLASSES];
        for (image, point) in points.iter().enumerate() {
            let ranks = point.jacobian.len() / CLASSES;
            let row = |class: usize| &point.jacobian[class * ranks..][..ranks];
            // d log p(label) / dz = J_label - sum_c p_c J_c; the plan's sign is the loss's.
            let expected = |label: usize| -> Vec<f64> {
                let gradient = (0..ranks).map(|i| {
                    let mean: f64 = (0..CLASSES)
                        .map(|class| point.log_probs[class].exp() * f64::from(row(class)[i]))
                        .sum();
                    mean - f64::from(row(label)[i])
                });
                gradient.collect()
            };
            for draw in 0..2 {
                let found: Vec<f64> = gradients
                    .iter()
                    .flat_map(|layer| {
                        layer
                            .row(2 * image + draw)
                            .iter()
                            .copied()
                            .collect::<Vec<_>>()
                    })
                    .collect();
                let size = found
                    .iter()
                    .fold(0.0, |most: f64, value| most.max(value.abs()));
                let error = |label: usize| {
                    let expected = expected(label);
                    let pairs = found.iter().zip(&expected);
                    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
                };
                let label = (0..CLASSES)
                    .min_by(|a, b| error(*a).total_cmp(&error(*b)))
                    .unwrap();
                seen[label] += 1;
                assert!(
                    error(label) < 1e-4 * size,
                    "{image}: {:.1e} of {size:.1e}",
                    error(label)
                );
            }
        }
        assert!(
            seen.iter().filter(|count| **count > 0).count() > 1,
            "{seen:?}"
        );
    }
}

/// Labels follow the model's own probabilities, the same for the same seed.
#[test]
fn labels_are_the_models() {
    let network = network(&GPU);
    let layout = layout(&network, 2);
    let state = small_state(&layout);
    let predictor = predictor(&layout, &state);
    let source = images();
    let gather =
        |seed| GateFactors::gather(&predictor, &source, 9, drawn(seed), &mut |_| ()).unwrap();
    let moments = |factors: &GateFactors| factors.layers[3].moments_q.clone();
    assert_eq!(moments(&gather(1)), moments(&gather(1)));
    // E[q q'] over labels is that of the exact expectation, as seeds go by.
    let seeds = 200;
    let mut mean = Mat::<f64>::zeros(2, 2);
    for seed in 0..seeds {
        mean += moments(&gather(seed)) / faer::Scale(seeds as f64);
    }
    let log_probs = predictor
        .log_probs(&source, Samples::MEAN, &mut |_| ())
        .unwrap();
    assert!(
        log_probs.iter().any(|log| *log < -0.7 && *log > -3.0),
        "labels are certain: {log_probs:?}"
    );
    let other = moments(&gather(1));
    assert_ne!(other, moments(&gather(2)));
    // The spread of one seed is far larger than what is left of the mean of many.
    let half = (0..seeds / 2).fold(Mat::<f64>::zeros(2, 2), |sum, seed| {
        sum + moments(&gather(seed)) / faer::Scale((seeds / 2) as f64)
    });
    let rest = (&half - &mean).norm_l2() / mean.norm_l2();
    assert!(rest < 0.2, "{rest}");
}

/// Moments and gradients agree: without spatial correlation a gate's second moment is no product, but where there is one
/// position and one image it is.
#[test]
fn moments_are_means_over_positions_and_images() {
    let network = network(&GPU);
    let layout = layout(&network, 3);
    let state = small_state(&layout);
    let source = images();
    let one = source.first(1);
    let factors =
        GateFactors::gather(&predictor(&layout, &state), &one, 9, drawn(1), &mut |_| ()).unwrap();
    // `fc` has one position: sum_p q h' is q h', and its square the product of both moments' entries.
    let fc = factors.layers.last().unwrap();
    let identity = Mat::<f64>::identity(3, 3);
    let gradients = fc.gradients(identity.as_ref(), identity.as_ref());
    for i in 0..3 {
        let square = gradients.col(i).squared_norm_l2() / 2.0;
        let product = fc.moments_h[(i, i)] * fc.moments_q[(i, i)];
        assert!((square / product - 1.0).abs() < 1e-5, "{square} {product}");
    }
}

#[test]
fn a_predicted_change_has_its_cross_terms() {
    let network = network(&GPU);
    let layout = layout(&network, 4);
    let mut state = small_state(&layout);
    // Two ranks that undo each other: each matters, both together do not.
    let spec = &layout.layers[3];
    let inputs = spec.in_channels * spec.taps();
    state.layers[3].lora_a.copy_within(..inputs, inputs);
    for b in state.layers[3].lora_b.chunks_mut(4) {
        b[1] = -b[0];
    }
    let source = images();
    let factors = GateFactors::gather(
        &predictor(&layout, &state),
        &source,
        9,
        drawn(1),
        &mut |_| (),
    )
    .unwrap();
    let turns: Vec<Turn> = layout
        .layers
        .iter()
        .map(|l| Turn::identity(l.rank()))
        .collect();
    let gradients = GateGradients::new(&factors, &turns);
    let evidence = gradients.evidence(6);
    let (alone, other) = (
        gradients.predicted_kl(&[(3, 0)]),
        gradients.predicted_kl(&[(3, 1)]),
    );
    assert!((alone - 0.5 * evidence[3][0] / 6.0).abs() < 1e-12 * alone.max(1.0));
    assert!(alone > 0.0 && (alone / other - 1.0).abs() < 1e-4);
    assert!(gradients.predicted_kl(&[(3, 0), (3, 1)]) < 1e-8 * alone);
    assert_eq!(gradients.predicted_kl(&[]), 0.0);
}

#[test]
fn alpha_is_where_its_equation_says() {
    for (kappa, evidence) in [(1.0, 2.0), (0.5, 300.0), (20.0, 0.3)] {
        let alpha = best_log_alpha(kappa, evidence).exp();
        assert!((alpha * (1.0 + alpha) - kappa / evidence).abs() < 1e-12 * kappa / evidence);
    }
    assert_eq!(best_log_alpha(1.0, 0.0), 8.0);
    assert_eq!(best_log_alpha(0.0, 1.0), -10.0);
    assert_eq!(best_log_alpha(0.0, 0.0), -10.0);
}

/// With the images' own labels the mean gradient is the slope of their NLL, as a central difference finds it: gates of
/// 1 - e and 1 + e are rows of A scaled by them.
#[test]
fn slopes_are_those_of_the_nll() {
    let network = network(&GPU);
    let layout = layout(&network, 3);
    let state = small_state(&layout);
    let source = images();
    let before = predictor(&layout, &state);
    let factors = GateFactors::gather(&before, &source, 9, Labels::Given, &mut |_| ()).unwrap();
    let turns: Vec<Turn> = layout
        .layers
        .iter()
        .map(|l| Turn::identity(l.rank()))
        .collect();
    let gradients = GateGradients::new(&factors, &turns);
    let last = layout.layers.len() - 1;
    for gone in [
        vec![(0, 1)],
        vec![(last, 0)],
        vec![(2, 0), (3, 2), (last, 1)],
    ] {
        let nll = |gate: f32| -> f64 {
            let mut state = state.clone();
            for (layer, place) in &gone {
                let spec = &layout.layers[*layer];
                let inputs = spec.in_channels * spec.taps();
                let row = &mut state.layers[*layer].lora_a[place * inputs..][..inputs];
                row.iter_mut().for_each(|a| *a *= gate);
            }
            let log_probs = predictor(&layout, &state)
                .log_probs(&source, Samples::MEAN, &mut |_| ())
                .unwrap();
            let rows = log_probs.chunks_exact(CLASSES).zip(&source.dataset.labels);
            let sum: f64 = rows
                .map(|(row, label)| -f64::from(row[*label as usize]))
                .sum();
            sum / source.dataset.len() as f64
        };
        const STEP: f32 = 0.004;
        let found = gradients.slope(&gone);
        let expected = (nll(1.0 - STEP) - nll(1.0 + STEP)) / (2.0 * f64::from(STEP));
        // The difference's own error: ReLUs that switch within the step, and f32 logits over it.
        assert!(
            (found - expected).abs() < 0.02 * expected.abs() + 5e-5,
            "{gone:?}: {found} {expected}"
        );
        assert!(
            expected.abs() > 1e-4,
            "{gone:?}: there is something to find"
        );
    }
}
