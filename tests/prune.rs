//! Which ranks a prune takes, and in what order.

use bayeslora::low_level::model::{AdapterState, LayerState};
use bayeslora::low_level::train::{kept_ranks, kept_without, noisiest};

fn state(log_alpha: &[&[f32]]) -> AdapterState {
    let layers = log_alpha.iter().map(|values| LayerState {
        lora_a: vec![],
        lora_b: vec![],
        log_alpha: values.to_vec(),
    });
    AdapterState {
        layers: layers.collect(),
        head_weight: vec![],
        head_bias: vec![],
    }
}

#[test]
fn the_noisiest_go_first_and_ties_in_the_order_of_the_network() {
    let state = state(&[&[0.5, -3.0, 2.0], &[2.0, 1.0], &[]]);
    assert_eq!(
        noisiest(&state, 0.0, 0),
        [(0, 2), (1, 0), (1, 1), (0, 0)],
        "at or above the threshold"
    );
    assert_eq!(noisiest(&state, 0.0, 1), [(0, 2), (1, 0), (0, 0)]);
    assert_eq!(noisiest(&state, f64::NEG_INFINITY, 0).len(), 5);
    assert!(noisiest(&state, 3.0, 0).is_empty());
}

#[test]
fn cutting_every_candidate_is_what_the_trainer_does() {
    let state = state(&[&[0.5, -3.0, 2.0], &[2.0, 1.0], &[]]);
    for (threshold, min_rank) in [(0.0, 0), (0.0, 1), (1.5, 0), (-9.0, 2), (9.0, 0)] {
        let gone = noisiest(&state, threshold, min_rank);
        let kept = kept_without(&state, &gone);
        assert_eq!(kept, kept_ranks(&state, threshold, min_rank), "{threshold}");
    }
    let gone = noisiest(&state, 0.0, 0);
    assert_eq!(
        kept_without(&state, &gone[..1]),
        [vec![0, 1], vec![0, 1], vec![]]
    );
}
