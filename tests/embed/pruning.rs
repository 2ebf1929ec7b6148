//! Ranks of an adapter are cut as far as an application says, and what that costs is told.

use bayeslora::low_level::formats::{Adapter, LayerAdapter};
use bayeslora::low_level::train::gauge::{Order, Posterior};
use bayeslora::low_level::train::{PruneError, PruneGauge, PruneImages, PruneOptions, Pruning};

use super::subject::{ADAPTER, config, images};
use crate::properties::{GPU, tiny_backbone};

fn sets(train: bool) -> PruneImages {
    PruneImages {
        train: train.then(|| images(24)),
        held_out: images(9),
    }
}

/// The adapter that is left, the ranks that went, and the report.
fn pruned(
    options: &PruneOptions,
    images: PruneImages,
) -> Result<(Adapter, usize, serde_json::Value), PruneError> {
    let (backbone, mut tell) = (tiny_backbone(), |_| ());
    let subject = (&backbone, &*ADAPTER, &config());
    let mut pruning = Pruning::new(&GPU, subject, options, images, &mut tell)?;
    let count = pruning.count(&mut tell)?;
    let report = serde_json::to_value(pruning.report(count, &mut tell)?).unwrap();
    Ok((pruning.adapter(count), count, report))
}

fn ranks(adapter: &Adapter) -> usize {
    adapter.layers.iter().map(LayerAdapter::rank).sum()
}

#[test]
fn half_of_the_ranks_go_in_the_basis_of_the_evidence() {
    let all = ranks(&ADAPTER);
    let options = PruneOptions {
        keep: Some(0.5),
        ..PruneOptions::default()
    };
    let (adapter, count, report) = pruned(&options, sets(true)).unwrap();
    let left = (0.5 * all as f64).round() as usize;
    assert_eq!((ranks(&adapter), count), (left, all - left));
    assert_eq!(report["gauge"], "evidence");
    assert_eq!(report["posterior"], "mixed");
    assert_eq!(report["evidence_images"], 24);
    assert_eq!(report["ranks_after"], left);
    assert!(adapter.draws() && adapter.is_mixed());
    // Nothing is cut at the first point of the curve, so only rounding is left of the turn.
    let change = report["curve"][0]["nll_change"].as_f64().unwrap();
    assert!(change.abs() < 1e-5, "{change}");
}

#[test]
fn limits_are_kept_to() {
    let options = |most| PruneOptions {
        gauge: Some(PruneGauge::Svd),
        posterior: Some(Posterior::Mean),
        max_nll_increase: Some(most),
        ..PruneOptions::default()
    };
    let rise = |report: &serde_json::Value| {
        let of = |key: &str| report[key].as_f64().unwrap();
        of("nll_after") - of("nll_before")
    };
    let (_, few, report) = pruned(&options(1e-3), sets(false)).unwrap();
    assert!(rise(&report) <= 1.1e-3);
    let (adapter, all, report) = pruned(&options(1e3), sets(false)).unwrap();
    assert_eq!((ranks(&adapter), all), (0, ranks(&ADAPTER)));
    assert!(few < all, "a rank costs nothing here: {few} of {all}");
    assert!(rise(&report) > 1e-3);
}

/// A number of ranks and a threshold: each holds.
#[test]
fn of_several_limits_each_holds() {
    let all = ranks(&ADAPTER);
    let left = |threshold, keep_ranks, keep| {
        let options = PruneOptions {
            threshold: Some(threshold),
            keep_ranks,
            keep,
            ..PruneOptions::default()
        };
        ranks(&pruned(&options, sets(false)).unwrap().0)
    };
    // Nothing is noisier than this, everything than that.
    assert_eq!(left(90.0, Some(2), None), all);
    assert_eq!(left(-90.0, Some(2), None), 2);
    assert_eq!(
        left(-90.0, Some(2), Some(0.5)),
        (0.5 * all as f64).round() as usize
    );
}

/// The library knows no command line: its errors name options, not flags.
#[test]
fn what_cannot_be_done_is_refused_without_flags() {
    let refused = |options: PruneOptions, says: &str| {
        let error = pruned(&options, sets(false)).unwrap_err().to_string();
        assert!(error.contains(says) && !error.contains("--"), "{error}");
    };
    let default = PruneOptions::default;
    refused(
        PruneOptions {
            keep: Some(1.5),
            ..default()
        },
        "`keep` is 1.5",
    );
    refused(
        PruneOptions {
            keep: Some(f64::NAN),
            ..default()
        },
        "`keep` is NaN",
    );
    let all = ranks(&ADAPTER);
    refused(
        PruneOptions {
            keep_ranks: Some(all + 1),
            ..default()
        },
        "take at most as many",
    );
    let by = Some(Order::Magnitude);
    refused(
        PruneOptions {
            threshold: Some(0.0),
            by,
            ..default()
        },
        "leave out `by`",
    );
    let gauge = Some(PruneGauge::None);
    let by = Some(Order::SingularValue);
    refused(
        PruneOptions {
            gauge,
            by,
            ..default()
        },
        "take `gauge svd`",
    );
    // There are no training images to ask.
    refused(default(), "a pass over training images");
    let empty = PruneImages {
        train: None,
        held_out: images(0),
    };
    let svd = PruneOptions {
        gauge: Some(PruneGauge::Svd),
        ..default()
    };
    let error = pruned(&svd, empty).unwrap_err().to_string();
    assert_eq!(error, "the held-out set has no images");
    // Shaders would read past the classes' ends.
    let mut wrong = sets(true);
    wrong.held_out.labels[4] = 3;
    let error = pruned(&default(), wrong).unwrap_err().to_string();
    assert!(
        error.contains("image 4 of the held-out set has label 3"),
        "{error}"
    );
}

#[test]
fn a_head_that_was_never_trained_says_nothing_of_ranks() {
    let mut adapter = ADAPTER.clone();
    adapter.head.trained = false;
    let subject = (&tiny_backbone(), &adapter, &config());
    let options = PruneOptions::default();
    let refused = Pruning::new(&GPU, subject, &options, sets(true), &mut |_| ());
    let error = refused.err().unwrap().to_string();
    assert!(error.contains("never trained"), "{error}");
}
