//! What a study says of stored predictions, without a GPU.

use std::path::Path;
use std::sync::Arc;

use bayeslora::low_level::data::Dataset;
use bayeslora::low_level::formats::{
    Adapter, FormatError, GateDistribution, Head, LayerAdapter, RunDir,
};
use bayeslora::low_level::metrics::holm;
use bayeslora::low_level::model::{AdapterLayout, AdapterParams, AdapterState, Backbone, exchange};
use bayeslora::low_level::predict::laplace::{LaplaceConfig, LaplaceStructure};
use bayeslora::low_level::report::{Comparison, Results, Study, Verdict};
use bayeslora::low_level::study::measure::{Answers, Material, ensemble, measure};
use bayeslora::low_level::study::{
    Ask, CUT_SHARES, Chosen, CutRecord, Images, KappaBy, Place, RunSpec, SAMPLED_SHARE, Scale,
    Settings, Stored, StudyError, candidates, candidates_of, cut_lines, decay_candidates,
    default_multiplicity, fewest_ranks, final_epoch, is_trained, lowest, runs,
};
use bayeslora::low_level::train::gauge::{Order, Ranks};
use bayeslora::low_level::train::kl::KlMultiplicity;
use bayeslora::low_level::train::{Method, PruneGauge, TrainConfig, initial_state, weakest};
use serde_json::json;

const CLASSES: usize = 3;
const IMAGES: usize = 60;

/// Log probabilities `[samples, IMAGES, CLASSES]` that give the label the share `right`.
fn answers(labels: &[u32], samples: usize, right: impl Fn(usize, usize) -> f32) -> Vec<f32> {
    let mut values = Vec::new();
    for sample in 0..samples {
        for (image, label) in labels.iter().enumerate() {
            let right = right(sample, image);
            for class in 0..CLASSES as u32 {
                let p = match class == *label {
                    true => right,
                    false => (1.0 - right) / (CLASSES - 1) as f32,
                };
                values.push(p.ln());
            }
        }
    }
    values
}

/// What `method` writes: noise only where it is learnt.
fn adapter(method: Method) -> Adapter {
    Adapter {
        layers: vec![LayerAdapter {
            name: "layer4.1.conv2".into(),
            in_channels: 4,
            out_channels: 4,
            kernel: 1,
            lora_a: vec![0.5; 8],
            lora_b: vec![0.5; 8],
            log_alpha: method.learns_noise().then(|| vec![-3.0, 1.0]),
            mixing: None,
            rank_ids: vec![0, 1],
        }],
        head: Head {
            classes: CLASSES,
            features: 4,
            weight: vec![0.0; 12],
            bias: vec![0.0; 3],
            trained: true,
        },
        classes: ["a", "b", "c"].map(String::from).to_vec(),
        class_balance: None,
        initial_rank: 2,
        lora_alpha: 4.0,
        backbone_sha256: String::new(),
        base_name: String::new(),
        resolution: 32,
        seed: 1,
        method: method.name().into(),
        gates: method.gates().unwrap_or(GateDistribution::Gaussian),
    }
}

/// A run with everything but its predictions.
fn train(out: &Path, spec: &RunSpec, seed: u64) -> Place {
    let place = Place::new(out, &spec.name, seed);
    let run = RunDir::create(&place.run, "", |_| Ok::<_, FormatError>(())).unwrap();
    for epoch in 1..=spec.config.epochs {
        run.append_metrics(&json!({
            "epoch": epoch, "accuracy": 0.5, "nll": 1.0, "ece": 0.1, "train_accuracy": 0.6,
            "rank": 8, "soft_rank": 6.5, "ranks": { "layer4.1.conv2": 8 },
            "images_per_second": 100.0, "seconds": 1.5,
            "prune": match epoch {
                1 => json!({
                    "ranks_before": 10, "ranks_after": 8,
                    "before": { "accuracy": 0.5, "nll": 1.0, "ece": 0.1 },
                    "after": { "accuracy": 0.4995, "nll": 1.001, "ece": 0.1 },
                }),
                _ => json!(null),
            },
        }))
        .unwrap();
    }
    adapter(spec.config.method)
        .save_peft(run.adapter_dir())
        .unwrap();
    place
}

fn settings() -> Settings {
    Settings {
        epochs: 2,
        headline_seeds: 2,
        seeds: 1,
        resamples: 200,
        cut_shares: &CUT_SHARES,
        ..Scale::Smoke.settings()
    }
}

fn labels() -> Vec<u32> {
    (0..IMAGES as u32)
        .map(|image| image % CLASSES as u32)
        .collect()
}

/// What a prediction of a study is made of.
struct Made<'a> {
    run: &'a str,
    gated: bool,
    samples: usize,
    seed: u64,
    image: usize,
}

/// A study whose gated run gives the label `gated` and whose plain run `plain`, in every prediction.
fn study(plain: f32, gated: f32) -> Results {
    study_of(&["test", "validation"], |made| match made.gated {
        true => gated,
        false => plain,
    })
}

/// A study with answers on some sets, of which `right` is what the label gets.
fn study_of(sets: &[&str], right: impl Fn(Made) -> f32) -> Results {
    study_with(sets, right, |_, _, _| ())
}

/// The same with whatever `more` leaves of each seed of the headline runs.
fn study_with(
    sets: &[&str],
    right: impl Fn(Made) -> f32,
    more: impl Fn(&Place, &RunSpec, u64),
) -> Results {
    study_in(&settings(), |spec| spec.is_headline, sets, right, more)
}

/// The same of a study of other sizes, with the runs that are there.
fn study_in(
    settings: &Settings,
    is_there: impl Fn(&RunSpec) -> bool,
    sets: &[&str],
    right: impl Fn(Made) -> f32,
    more: impl Fn(&Place, &RunSpec, u64),
) -> Results {
    let labels = labels();
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path();
    let chosen = Chosen {
        kl_multiplicity: KlMultiplicity::Value(0.5),
        default_multiplicity: KlMultiplicity::Value(0.5),
        weight_decay: None,
        rank_per_layer: 4,
    };
    let runs = runs(settings, &chosen);
    // Not the same on every image, or there would be nothing to resample.
    let wobble = |image: usize| 0.002 * (image % 7) as f32;
    for spec in runs.iter().filter(|spec| is_there(spec)) {
        let gated = spec.config.method.gates().is_some();
        for seed in 1..=spec.seeds {
            let place = train(out, spec, seed);
            for samples in [0, 8] {
                let draws = samples.max(1);
                let values = answers(&labels, draws, |_, image| {
                    wobble(image)
                        + right(Made {
                            run: &spec.name,
                            gated,
                            samples,
                            seed,
                            image,
                        })
                });
                for set in sets {
                    let stored = Stored::samples(set, samples);
                    place.write(&stored, &values, draws, CLASSES).unwrap();
                }
            }
            more(&place, spec, seed);
        }
    }
    let classes: Arc<[String]> = ["a", "b", "c"].map(String::from).into();
    let test = Dataset::new(2, vec![0; IMAGES * 12], labels.clone(), classes);
    let material = Material {
        out,
        settings,
        chosen: &chosen,
        candidates: &[],
        decays: &[],
        runs: &runs,
        validation_labels: &labels,
        test: &test,
        known_labels: &labels,
        unfamiliar: &[],
        held_out: &[],
        study: Study {
            train_images: 100,
            ..Study::default()
        },
    };
    measure(&material, &mut |_, _| ()).unwrap()
}

/// The gated run's samples against the plain run.
fn against_lora<'a>(results: &'a Results, measure: &str) -> &'a Comparison {
    let mut all = results.comparisons.iter();
    all.find(|c| c.baseline == "lora-r4/mean" && c.measure == measure)
        .unwrap()
}

#[test]
fn the_better_one_is_called_better_and_the_worse_one_worse() {
    for (plain, gated, verdict, sign) in [
        (0.6, 0.8, Verdict::Better, -1.0),
        (0.8, 0.6, Verdict::Worse, 1.0),
        (0.7, 0.7, Verdict::Undecided, 0.0),
    ] {
        let results = study(plain, gated);
        let nll = against_lora(&results, "nll");
        assert_eq!(nll.verdict, verdict, "{plain} against {gated}");
        let difference = nll.difference.unwrap().estimate;
        assert!(difference * sign >= 0.0 && (difference != 0.0) == (sign != 0.0));
        assert_eq!(nll.by_seed.len(), 2);
        let tempered = results.comparisons.iter().filter(|c| {
            c.row.ends_with("+temperature") && c.baseline == "lora-r4/mean+temperature"
        });
        assert_eq!(tempered.count(), 5, "a temperature on both, five measures");
        let target = results
            .targets
            .iter()
            .find(|t| t.aim.starts_with("NLL below"));
        let reached = target.unwrap().reached;
        assert_eq!(reached, Some(verdict == Verdict::Better));
    }
}

/// A lead that its own interval shows, and that is too small for one among all comparisons of the measure.
#[test]
fn verdicts_are_corrected_for_each_other() {
    let results = study_of(&["test", "validation"], |made| {
        let more = if made.image.is_multiple_of(2) {
            0.13
        } else {
            -0.07
        };
        0.7 * f32::exp(if made.gated { more } else { 0.0 })
    });
    let nll = against_lora(&results, "nll");
    assert!(nll.difference.unwrap().high < 0.0, "{nll:?}");
    assert_eq!(nll.verdict, Verdict::Undecided, "{nll:?}");
    // The target was stated before: it has no others.
    let mut targets = results.targets.iter();
    let target = targets.find(|t| t.aim.starts_with("NLL below")).unwrap();
    assert_eq!(target.reached, Some(true));
    for measure in ["nll", "accuracy", "ece", "brier", "aurc"] {
        let family = results.comparisons.iter().filter(|c| c.measure == measure);
        let family: Vec<&Comparison> = family.collect();
        let p = family.iter().map(|c| c.difference.unwrap().p_value(0.95));
        for (comparison, p) in family.iter().zip(holm(&p.collect::<Vec<f64>>())) {
            let decided = comparison.verdict != Verdict::Undecided;
            assert_eq!(decided, p < 0.05, "{comparison:?}");
        }
    }
}

#[test]
fn the_best_is_better_than_every_other() {
    let best_in = |results: &Results, measure: &str| {
        let is_best =
            |row: &&bayeslora::low_level::report::Row| row.best_in.iter().any(|m| m == measure);
        let names = results
            .rows
            .iter()
            .filter(is_best)
            .map(|row| row.name.clone());
        names.collect::<Vec<_>>()
    };
    let results = study_of(&["test"], |made| match (made.gated, made.samples) {
        (true, 8) => 0.8,
        _ => 0.7,
    });
    let nll = best_in(&results, "nll");
    let name = "bayeslora-r4-kappa-0.5/samples-8";
    assert_eq!(nll, [name.to_owned(), format!("{name}/50")]);
    // All are always right.
    assert!(best_in(&results, "accuracy").is_empty());
    // Members that are sure of different images: one model against all seeds of the others.
    let results = study_of(&["test"], |made| match made.gated {
        true => 0.4,
        false if (made.image + made.seed as usize).is_multiple_of(2) => 0.9,
        false => 0.2,
    });
    assert_eq!(best_in(&results, "nll"), ["ensemble-2", "ensemble-2/50"]);
    // A tie has no winner.
    let results = study_of(&["test"], |_| 0.7);
    assert!(best_in(&results, "nll").is_empty());
}

#[test]
fn rows_hold_what_the_files_hold() {
    let results = study(0.6, 0.8);
    let row = |name: &str| results.rows.iter().find(|row| row.name == name).unwrap();
    let lora = row("lora-r4/mean");
    let expected = labels()
        .iter()
        .enumerate()
        .map(|(image, _)| -f64::from((0.6 + 0.002 * (image % 7) as f32).ln()))
        .sum::<f64>()
        / IMAGES as f64;
    let nll = &lora.scores["nll"];
    // Log probabilities are stored in f32.
    assert!((nll.mean - expected).abs() < 1e-6);
    let interval = nll.interval.unwrap();
    assert!(interval.low <= nll.mean && nll.mean <= interval.high && interval.low < interval.high);
    assert_eq!(lora.scores["accuracy"].mean, 1.0);
    assert_eq!((lora.seeds.len(), lora.test_images), (2, IMAGES));
    assert!(lora.headline && lora.training.len() == 2);
    // The same on the images and seeds that the smaller rows have.
    let excerpt = row("lora-r4/mean/50");
    assert_eq!((excerpt.seeds.len(), excerpt.test_images), (1, 50));
    assert!(!excerpt.headline && excerpt.training.is_empty());
    assert!(excerpt.scores["nll"].mean != nll.mean);
    // An ensemble of equal members is its member.
    let together = row("ensemble-2");
    assert!((together.scores["nll"].mean - expected).abs() < 1e-6);
    // 16 weights, and two gates where they are learnt.
    assert_eq!(lora.adapter_parameters, 16.0);
    assert_eq!(
        row("bayeslora-r4-kappa-0.5/samples-8").adapter_parameters,
        18.0
    );
    // Everything is right and less sure than it could be: the temperature sharpens.
    let tempered = row("lora-r4/mean+temperature");
    assert!(tempered.scores["nll"].mean < nll.mean);
    assert!(tempered.scores["temperature"].mean < 1.0);
    // What is not there is said.
    assert!(
        results
            .missing
            .iter()
            .any(|line| line.contains("MC dropout"))
    );
    assert_eq!(results.prunes.len(), 2, "one cut a gated run");
    let cuts = results
        .targets
        .iter()
        .find(|t| t.aim.starts_with("no cut"))
        .unwrap();
    assert_eq!(cuts.reached, Some(true), "{}", cuts.found);
}

#[test]
fn ranks_go_in_the_order_asked_for() {
    let backbone = Backbone::embedded().unwrap();
    let resnet = &backbone.resnet;
    let conv = |name: &str| {
        resnet
            .convs
            .iter()
            .position(|spec| spec.name == name)
            .unwrap()
    };
    let places = [conv("layer4.0.downsample.0"), conv("layer4.1.conv2")];
    let ids = vec![vec![0, 1], vec![0]];
    let layout = AdapterLayout::new(resnet, &places, false, CLASSES, &ids);
    let mut state = initial_state(&layout, 1);
    state.layers[0].log_alpha = vec![-2.0, 1.0];
    state.layers[1].log_alpha = vec![0.0];
    for layer in &mut state.layers {
        layer.lora_b.fill(1.0);
    }
    let config = TrainConfig::default();
    let order = |state: &AdapterState, gauge: PruneGauge, order: Order| {
        let (layers, head) = exchange::to_file(&AdapterParams {
            layout: layout.clone(),
            state: state.clone(),
            scale: 1.0,
            gates: Some(GateDistribution::Gaussian),
        });
        let adapter = Adapter {
            layers,
            head,
            ..adapter(config.method)
        };
        let ranks = Ranks::new(&backbone, &adapter, &config, (gauge, None), None).unwrap();
        ranks.scores(order).map(|scores| weakest(&scores, 0))
    };
    let none = |state, by| order(state, PruneGauge::None, by).unwrap();
    assert_eq!(none(&state, Order::Alpha), [(0, 1), (1, 0), (0, 0)]);
    // |a_i| |b_i| with the same b: the second rank of the first layer twice as long as the first.
    let inputs = layout.layers[0].in_channels;
    let mut scaled = state.clone();
    for place in 0..inputs {
        scaled.layers[0].lora_a[inputs + place] = 2.0 * scaled.layers[0].lora_a[place];
    }
    scaled.layers[1].lora_a.fill(0.0);
    let expected = [(1, 0), (0, 0), (0, 1)];
    assert_eq!(none(&scaled, Order::Magnitude), expected);
    // Both rows of A are one and both columns of B: one direction is left, and it comes first.
    let svd = order(&scaled, PruneGauge::Svd, Order::SingularValue).unwrap();
    assert_eq!(svd.last(), Some(&(0, 0)));
    let random = |seed| none(&state, Order::Random { seed });
    assert_eq!(random(1), random(1));
    assert!((1..20).any(|seed| random(seed) != random(0)));
    for (by, part) in [
        (Order::SingularValue, "only in the gauge `svd`"),
        (Order::Evidence, "training images"),
        (Order::EvidencePerScalar, "training images"),
    ] {
        let error = order(&state, PruneGauge::None, by).unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
    }
}

/// Every cut gives the label the share `right - cost (1 - share)` on a test image, and on a validation image ten times that
/// cost less.
fn study_with_cuts(cost: f32) -> Results {
    let right = 0.8;
    let cut = |place: &Place, spec: &RunSpec, seed: u64| {
        let gated = spec.config.method.gates().is_some();
        let labels = labels();
        let mut records = Vec::new();
        for line in cut_lines(gated, seed) {
            for share in [1.0].into_iter().chain(CUT_SHARES) {
                records.push(CutRecord {
                    gauge: line.gauge.name().into(),
                    order: line.order.name().into(),
                    share,
                    ranks: (share * 80.0) as usize + seed as usize,
                    scalars: (share * 1000.0) as usize,
                    predicted_nll_change: 0.25 * (1.0 - share),
                    predicted_kl: 0.125 * (1.0 - share),
                });
                let samples = match gated && share == SAMPLED_SHARE {
                    true => &[0, 8][..],
                    false => &[0],
                };
                for samples in samples.iter().filter(|_| share < 1.0) {
                    for (set, times) in [("test", 1.0), ("validation", 0.1)] {
                        let less = times * cost * (1.0 - share as f32);
                        let draws = (*samples).max(1);
                        let values = answers(&labels, draws, |_, image| {
                            0.002 * (image % 7) as f32 + right - less
                        });
                        let stored = Stored::cut(set, line, share, *samples);
                        place.write(&stored, &values, draws, CLASSES).unwrap();
                    }
                }
            }
        }
        place.write_cuts(records).unwrap();
    };
    study_with(&["test", "validation"], |_| right, cut)
}

#[test]
fn a_flipped_bit_in_what_a_study_reads_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::new(directory.path(), "lora-r4", 1);
    let (stored, values) = (Stored::samples("test", 0), [-0.5, -1.0, -0.25, -1.5]);
    place.write(&stored, &values, 1, 2).unwrap();
    place.write_trace("test", &values).unwrap();
    place
        .write_note(&stored, &json!({ "precision": 2.5 }))
        .unwrap();
    place.write_cuts(Vec::new()).unwrap();
    assert_eq!(place.read(&stored).unwrap().values, values);
    let trace = place.read_trace("test", 3).unwrap();
    assert_eq!(
        trace,
        values[..3]
            .iter()
            .map(|v| f64::from(*v))
            .collect::<Vec<_>>()
    );
    assert!(
        place
            .read_trace("test", 5)
            .unwrap_err()
            .to_string()
            .contains("each of 5 images")
    );
    assert_eq!(place.read_note(&stored).unwrap()["precision"], 2.5);
    let damage = |file: &str| {
        let path = place.run.join(file);
        let mut bytes = std::fs::read(&path).unwrap();
        let at = bytes.len() - 6;
        bytes[at] ^= 1;
        std::fs::write(&path, bytes).unwrap();
    };
    let found = |result: Result<(), StudyError>| result.unwrap_err().to_string();
    damage("predictions/test.mean.npy");
    assert!(found(place.read(&stored).map(drop)).contains("test.mean.npy"));
    damage("predictions/test.trace.npy");
    assert!(found(place.read_trace("test", 4).map(drop)).contains("test.trace.npy"));
    damage("predictions/test.mean.json");
    assert!(found(place.read_note(&stored).map(drop)).contains("test.mean.json"));
    damage("cuts.json");
    assert!(found(place.read_cuts().map(drop)).contains("cuts.json"));
    // Without its checksum a file says nothing.
    std::fs::remove_file(place.run.join("predictions/test.trace.npy.sha256")).unwrap();
    assert!(found(place.read_trace("test", 4).map(drop)).contains("test.trace.npy.sha256"));
    // So it is made again.
    assert!(place.has(&stored) && !place.has_trace("test"));
    std::fs::remove_file(place.run.join("predictions/test.mean.npy.sha256")).unwrap();
    assert!(!place.has(&stored));
    std::fs::remove_file(place.run.join("predictions/test.mean.json")).unwrap();
    assert!(place.read_note(&stored).is_err());
}

/// Of features, from a Mahalanobis distance.
fn feature_scores(place: &Place, set: &str, mahalanobis: impl Fn(usize) -> f32) {
    let column = |value: &dyn Fn(usize) -> f32| Some((0..IMAGES).map(value).collect());
    let scores = [column(&|image| image as f32), column(&mahalanobis), None];
    place.write_feature_scores(set, IMAGES, &scores).unwrap();
}

#[test]
fn scores_of_features_are_read_as_they_were_written_or_refused() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::new(directory.path(), "lora-r4", 1);
    assert!(!place.has_feature_scores("test"));
    feature_scores(&place, "test", |image| 2.0 * image as f32);
    assert!(place.has_feature_scores("test"));
    let read = |n| place.read_feature_scores("test", n);
    let expected = [Some(vec![0.0, 1.0]), Some(vec![0.0, 2.0]), None];
    assert_eq!(read(2).unwrap(), expected, "what was not fitted stays so");
    let refused = |n| read(n).unwrap_err().to_string();
    let path = place.run.join("predictions/test.features.npy");
    let parts = ["test.features.npy", "of each of 61 images", "delete it"];
    assert!(parts.iter().all(|part| refused(IMAGES + 1).contains(part)));
    // One value that is none is not a score that was not fitted.
    feature_scores(
        &place,
        "test",
        |image| if image == 1 { f32::NAN } else { 0.0 },
    );
    assert!(refused(2).contains("(mahalanobis) that is no number"));
    // Another's file under this name: two columns, with its checksum.
    place
        .write(&Stored::samples("other", 0), &[0.0; 8], 1, 2)
        .unwrap();
    let other = place.run.join("predictions/other.mean.npy");
    std::fs::copy(&other, &path).unwrap();
    let sum = std::fs::read_to_string(other.with_extension("npy.sha256")).unwrap();
    let sum = sum.replace("other.mean.npy", "test.features.npy");
    std::fs::write(path.with_extension("npy.sha256"), sum).unwrap();
    assert!(refused(2).contains("1 x 4 x 2 values, and 3 of each"));
    std::fs::remove_file(path.with_extension("npy.sha256")).unwrap();
    assert!(!place.has_feature_scores("test"));
}

/// Two classes held out: features that tell them, cannot, or mislead, beside probabilities that tell nothing.
#[test]
fn scores_of_features_stand_beside_the_largest_probability() {
    let found = |further: f32| {
        study_in(
            &settings(),
            |spec| spec.is_headline || spec.without_classes,
            &["test", "validation", "held-out-classes"],
            |_| 0.7,
            |place, spec, _| {
                if spec.without_classes {
                    feature_scores(place, "test", |image| image as f32);
                    feature_scores(place, "held-out-classes", |image| image as f32 + further);
                }
            },
        )
    };
    let all = IMAGES as f32;
    for (further, lead, reached) in [(all, 0.5, true), (0.0, 0.0, false), (-all, -0.5, false)] {
        let results = found(further);
        let [set] = &results.unfamiliar[..] else {
            panic!("{:?}", results.unfamiliar);
        };
        // Answers are the same on both sets, so that they tell nothing.
        assert_eq!(set.images, IMAGES);
        for row in ["lora-without-two", "bayeslora-without-two"] {
            let of = |score: &str| {
                let mut all = set.detections.iter();
                all.find(|one| one.row == row && one.score == score)
            };
            let base = of("max_probability").unwrap();
            assert_eq!((base.auroc.mean, &base.difference), (0.5, &None));
            let ours = of("mahalanobis").unwrap();
            assert_eq!(ours.auroc.mean, 0.5 + lead);
            let difference = ours.difference.as_ref().unwrap();
            assert_eq!((difference.mean, difference.by_seed.len()), (lead, 1));
            let interval = difference.interval.unwrap();
            assert!(interval.low <= lead && lead <= interval.high);
            assert!(of("energy").is_some() && of("neighbours").is_none());
        }
        let shown: Vec<&str> = set
            .histograms
            .iter()
            .map(|one| one.score.as_str())
            .collect();
        assert_eq!(shown, ["max_probability", "mahalanobis"].repeat(2));
        let mut targets = results.targets.iter();
        let target = targets.find(|t| t.aim.starts_with("two classes held out"));
        assert_eq!(target.unwrap().reached, Some(reached), "{:?}", target);
    }
}

#[test]
fn cuts_are_held_against_the_uncut_run() {
    let results = study_with_cuts(0.2);
    let of = |run: &'static str| results.cuts.iter().filter(move |cut| cut.family == run);
    // Alpha is the gates' alone; six shares each.
    assert_eq!((of("lora").count(), of("bayeslora").count()), (36, 42));
    let find = |run: &'static str, share: f64| {
        let mut all = of(run).filter(|cut| (&*cut.gauge, &*cut.order) == ("svd", "singular-value"));
        all.find(|cut| cut.share == Some(share)).unwrap()
    };
    // The first 50 images and the first seed are those of a small row.
    let images = settings().test_images;
    let share = |image: usize, less: f64| 0.8 + 0.002 * (image % 7) as f64 - less;
    let mean = |n: usize, value: &dyn Fn(usize) -> f64| (0..n).map(value).sum::<f64>() / n as f64;
    let change = |n: usize, less: f64| mean(n, &|i| (share(i, 0.0) / share(i, less)).ln());
    let half = find("lora", 0.5);
    let test = half.test.as_ref().unwrap();
    assert_eq!(test.images, images);
    assert!((test.nll_change.mean - change(images, 0.1)).abs() < 1e-6);
    let interval = test.nll_change.interval.unwrap();
    assert!(interval.low < test.nll_change.mean && test.nll_change.mean < interval.high);
    let kl = mean(images, &|i| {
        let (p, q) = (share(i, 0.0), share(i, 0.1));
        p * (p / q).ln() + (1.0 - p) * ((1.0 - p) / (1.0 - q)).ln()
    });
    assert!((test.kl.mean - kl).abs() < 1e-6);
    assert_eq!(test.accuracy_change.mean, 0.0);
    let validation = half.kl.as_ref().unwrap().mean;
    assert!(validation > 0.0 && validation < 0.1 * kl);
    let uncut = find("lora", 1.0);
    assert!((half.nll.mean - uncut.nll.mean - change(IMAGES, 0.01)).abs() < 1e-6);
    let predicted = half.predicted_nll.as_ref().unwrap().mean;
    assert!((predicted - uncut.nll.mean - 0.125).abs() < 1e-9);
    assert_eq!(uncut.kl.as_ref().unwrap().mean, 0.0);
    assert_eq!(uncut.test.as_ref().unwrap().nll_change.mean, 0.0);
    // Seeds 1 and 2 have 41 and 42 left.
    assert_eq!((half.ranks, half.scalars), (41.5, Some(500.0)));
    assert!(half.sampled.is_none() && find("bayeslora", 0.25).sampled.is_none());
    let sampled = find("bayeslora", 0.5).sampled.as_ref().unwrap();
    assert!((sampled.nll_change.mean - change(images, 0.1)).abs() < 1e-6);
}

#[test]
fn the_aim_of_half_the_ranks_follows_the_interval() {
    for (cost, reached) in [(0.002, true), (0.2, false)] {
        let results = study_with_cuts(cost);
        let aims = results.targets.iter();
        let aims: Vec<_> = aims.filter(|aim| aim.aim.starts_with("half of")).collect();
        assert_eq!(aims.len(), 2);
        for aim in aims {
            assert_eq!(aim.reached, Some(reached), "{}: {}", aim.aim, aim.found);
        }
    }
}

#[test]
fn a_temperature_takes_overconfidence_out_of_the_choice() {
    // The first is unsure and right in 80 of 100, the second sure and right in 90.
    let labels = vec![0u32; 100];
    let candidate = |right: usize, p: f32| -> Vec<f32> {
        let of = |image: usize| if image < right { p } else { 1.0 - p };
        (0..100)
            .flat_map(|i| [of(i).ln(), (1.0 - of(i)).ln()])
            .collect()
    };
    let candidates = [candidate(80, 0.8), candidate(90, 0.9999)];
    let best = |by: KappaBy| {
        let each = candidates
            .each_ref()
            .map(|log_probs| by.nll_each(log_probs, &labels, 2).unwrap());
        by.best(&[8, 80], &each.each_ref().map(Vec::as_slice))
    };
    assert_eq!(best(KappaBy::FewestRanks), 0);
    assert_eq!(best(KappaBy::TemperedNll), 1);
    let long = Scale::Long.settings();
    assert_eq!(
        (long.epochs, long.headline_seeds, long.cut_seeds),
        (20, 5, 5)
    );
    assert_eq!(long.kappa_by, KappaBy::TemperedNll);
}

#[test]
fn kappa_is_the_fewest_ranks_within_an_error_of_the_lowest() {
    let best: Vec<f64> = (0..100).map(|i| 1.0 + 0.1 * f64::from(i % 2)).collect();
    // A standard error of the difference is .01: the first is within, the second is not.
    let noise = |shift: f64| -> Vec<f64> {
        let wobble = |i: usize| if i.is_multiple_of(2) { 0.1 } else { -0.1 };
        (0..100).map(|i| best[i] + shift + wobble(i)).collect()
    };
    let (close, far) = (noise(0.009), noise(0.02));
    let each = [&best[..], &close, &far];
    assert_eq!(lowest(&each), 0);
    assert_eq!(fewest_ranks(&[80, 40, 10], &each), 1);
    assert_eq!(fewest_ranks(&[40, 80, 10], &each), 0);
    let tried = candidates(0.001, &[1.0, 3.0]);
    let values = [0.001, 0.003].map(KlMultiplicity::Value);
    assert_eq!(tried, [KlMultiplicity::Unit, values[0], values[1]]);
    // The default of `train`, which does not fall below that of 2,000 images.
    for (images, kappa) in [(200, 0.001), (2_000, 0.001), (10_000, 0.005)] {
        assert_eq!(default_multiplicity(images), KlMultiplicity::Value(kappa));
    }
    let specs = candidates_of(&Scale::Desk.settings(), 10_000);
    assert!(specs.len() == 5 && specs.iter().all(|spec| spec.seeds == 1));
}

#[test]
fn final_ranks_stand_beside_initial_ones() {
    let settings = Settings {
        other_ranks: &[8],
        auto_ranks: &[4, 8],
        ..settings()
    };
    // From rank 8 the automatic one of LoRA is worse.
    let found = |auto_8: f32| {
        study_in(
            &settings,
            |spec| !spec.asks.is_empty() && !spec.without_classes,
            &["test", "validation"],
            |made| match made.run {
                "lora-r8-auto" => auto_8,
                run if run.ends_with("-auto") => 0.9,
                _ => 0.7,
            },
            |_, _, _| (),
        )
    };
    let results = found(0.9);
    let points: Vec<_> = results
        .final_ranks
        .iter()
        .map(|point| (point.series.as_str(), point.initial_rank))
        .collect();
    let series = [
        "LoRA",
        "BayesLoRA",
        "LoRA, rank auto",
        "BayesLoRA, rank auto",
    ];
    let expected: Vec<_> = series
        .into_iter()
        .flat_map(|one| [(one, 4), (one, 8)])
        .collect();
    assert_eq!(points, expected);
    for point in &results.final_ranks {
        // Of the headline rows the part that the others have been asked.
        let headline = ["lora-r4", "bayeslora-r4-kappa-0.5"].contains(&point.run.as_str());
        assert_eq!(point.test_images, if headline { 50 } else { IMAGES });
        assert_eq!(point.ranks.mean, 8.0);
        assert!(point.adapter_parameters > 0.0);
        assert!(point.tempered_nll.as_ref().unwrap().mean < point.nll.mean);
    }
    let reached = |results: &Results| {
        let aims = results.targets.iter();
        let aims = aims.filter(|aim| aim.aim.contains("rank auto:"));
        aims.map(|aim| aim.reached).collect::<Vec<_>>()
    };
    // All are right and the temperature makes them sure: nobody is above another.
    assert_eq!(reached(&results), [Some(true), Some(true)]);
    let results = found(0.2);
    assert_eq!(reached(&results), [Some(false), Some(true)]);
}

#[test]
fn cuts_and_small_ensembles_have_rows_of_their_own() {
    let settings = Settings {
        other_ranks: &[8],
        cut_to: &[4],
        ensemble_rank: Some(2),
        ..settings()
    };
    let cut = |place: &Place, spec: &RunSpec, seed: u64| {
        for cut in &spec.cut_to {
            let record = CutRecord {
                gauge: cut.line.gauge.name().into(),
                order: cut.line.order.name().into(),
                share: 0.5,
                ranks: 40,
                scalars: 1000 + seed as usize,
                predicted_nll_change: 0.0,
                predicted_kl: 0.0,
            };
            for samples in [0, 8] {
                let values = answers(&labels(), samples.max(1), |_, image| {
                    0.8 + 0.002 * (image % 7) as f32
                });
                for set in ["test", "validation"] {
                    let stored = Stored::cut_to(set, *cut, samples);
                    place
                        .write(&stored, &values, samples.max(1), CLASSES)
                        .unwrap();
                    place.write_note(&stored, &record).unwrap();
                }
            }
        }
    };
    // The members of the small ensemble are sure of different images.
    let results = study_in(
        &settings,
        |spec| !spec.asks.is_empty() && !spec.without_classes,
        &["test", "validation"],
        |made| match made.run {
            "lora-r2" if (made.image + made.seed as usize).is_multiple_of(2) => 0.9,
            "lora-r2" => 0.2,
            _ => 0.7,
        },
        cut,
    );
    let row = |name: &str| results.rows.iter().find(|row| row.name == name).unwrap();
    let plain = "lora-r8/cut-evidence-evidence-to-rank-4.mean";
    let sampled = "bayeslora-r8-kappa-0.5/cut-evidence-evidence-to-rank-4.samples-8";
    for name in [
        plain,
        sampled,
        "lora-r8/cut-svd-singular-value-to-rank-4.mean",
    ] {
        let (found, tempered) = (row(name), row(&format!("{name}+temperature")));
        assert!(
            found.title.contains("rank 8 cut to rank 4 by"),
            "{}",
            found.title
        );
        assert_eq!((found.rank.mean, found.adapter_parameters), (40.0, 1001.0));
        assert!(found.training.is_empty() && !found.headline);
        assert!(tempered.scores["nll"].mean < found.scores["nll"].mean);
        assert!(found.scores["nll"].mean < row("lora-r8/mean").scores["nll"].mean);
    }
    // As large as LoRA of that rank, so it is held against it.
    let against = |baseline: &str| {
        let mut all = results.comparisons.iter();
        all.any(|one| one.row == sampled && one.baseline == baseline)
    };
    assert!(against("lora-r4/mean") && against(plain) && !against("lora-r8/mean"));
    let small = row("ensemble-2-of-lora-r2");
    assert!(small.scores["nll"].mean < row("lora-r2/mean").scores["nll"].mean);
    assert_eq!(
        (small.rank.mean, small.adapter_parameters),
        (16.0, 32.0),
        "two of each"
    );
    assert!(!small.headline && row("ensemble-2").headline);
    for name in ["ensemble-2-of-lora-r2", "ensemble-2"] {
        let tempered = row(&format!("{name}+temperature"));
        assert!(tempered.scores["nll"].mean < row(name).scores["nll"].mean);
    }
}

#[test]
fn posteriors_have_rows_and_those_of_the_head_a_temperature() {
    const PLAIN: [LaplaceConfig; 2] = [
        LaplaceConfig::new(LaplaceStructure::LastLayerKron),
        LaplaceConfig::new(LaplaceStructure::Gates),
    ];
    const GATED: [LaplaceConfig; 1] = [LaplaceConfig::new(LaplaceStructure::LastLayerFull)];
    let settings = Settings {
        laplace: &PLAIN,
        gated_laplace: &GATED,
        ..settings()
    };
    let fitted = |place: &Place, spec: &RunSpec, _: u64| {
        for fit in spec.posteriors(&settings) {
            let values = answers(&labels(), 1, |_, image| 0.7 + 0.002 * (image % 7) as f32);
            for set in fit.sets() {
                let stored = Stored::laplace(set, fit);
                place.write(&stored, &values, 1, CLASSES).unwrap();
                place.write_note(&stored, &json!({ "delta": 2.5 })).unwrap();
            }
        }
    };
    let sets = ["test", "validation"];
    let results = study_in(&settings, |spec| spec.is_headline, &sets, |_| 0.6, fitted);
    let rows: Vec<_> = results
        .rows
        .iter()
        .filter(|row| row.family == "laplace")
        .map(|row| (row.name.as_str(), row.scores["prior_precision"].mean))
        .collect();
    let expected = [
        "lora-r4/laplace-last-layer-kron",
        "lora-r4/laplace-last-layer-kron+temperature",
        "lora-r4/laplace-gates",
        "bayeslora-r4-kappa-0.5/laplace-last-layer-full.samples-8",
        "bayeslora-r4-kappa-0.5/laplace-last-layer-full.samples-8+temperature",
    ];
    assert_eq!(rows, expected.map(|name| (name, 2.5)));
    let nll = |name: &str| {
        results
            .rows
            .iter()
            .find(|row| row.name == name)
            .unwrap()
            .scores["nll"]
            .mean
    };
    for name in [expected[0], expected[3]] {
        assert!(nll(&format!("{name}+temperature")) < nll(name));
    }
    // With a temperature BayesLoRA is held against those that have one, and without against all.
    let ours = "bayeslora-r4-kappa-0.5/samples-8";
    let baselines = |row: &str| -> Vec<String> {
        let of = results
            .comparisons
            .iter()
            .filter(|one| one.row == row && one.measure == "nll");
        of.map(|one| one.baseline.clone()).collect()
    };
    let tempered = baselines(&format!("{ours}+temperature"));
    assert!(tempered.iter().all(|name| name.ends_with("+temperature")));
    assert!(tempered.iter().any(|name| name == expected[1]));
    assert!(tempered.iter().any(|name| name == "ensemble-2+temperature"));
    assert!(baselines(ours).iter().any(|name| name == expected[2]));
}

fn chosen() -> Chosen {
    Chosen {
        kl_multiplicity: KlMultiplicity::Value(0.5),
        default_multiplicity: KlMultiplicity::Value(0.5),
        weight_decay: Some(0.3),
        rank_per_layer: 8,
    }
}

#[test]
fn rows_of_the_long_study() {
    let settings = Scale::Long.settings();
    let all = runs(&settings, &chosen());
    let named = |name: &str| all.iter().find(|spec| spec.name == name).unwrap();
    for name in ["lora-r8", "bayeslora-r8-kappa-0.5"] {
        let stopping = named(&format!("{name}-early-stopping"));
        assert_eq!(stopping.config.patience, Some(5));
        let whole = named(name);
        let patient = TrainConfig {
            patience: None,
            ..stopping.config.clone()
        };
        assert_eq!(patient, whole.config);
        assert_eq!(stopping.seeds, settings.seeds);
    }
    let decayed = named("lora-r8-decay-0.3");
    let usual = TrainConfig {
        weight_decay: named("lora-r8").config.weight_decay,
        ..decayed.config.clone()
    };
    assert_eq!(
        (decayed.config.weight_decay, decayed.seeds),
        (0.3, settings.seeds)
    );
    assert_eq!(usual, named("lora-r8").config);
    // What was trained before has the place and the options that it had.
    let places = all.iter().filter(|spec| !spec.asks.is_empty());
    let mut names: Vec<_> = places.map(|spec| &spec.name).collect();
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count, "a place each");
    let text = toml::to_string(&named("lora-r8").config).unwrap();
    assert!(!text.contains("patience"), "{text}");
    for (name, method) in [("lora-r", Method::Lora), ("bayeslora-r", Method::BayesLora)] {
        let auto = all
            .iter()
            .filter(|spec| spec.config.auto_rank && spec.config.method == method);
        let auto: Vec<_> = auto.collect();
        let ranks: Vec<_> = auto.iter().map(|spec| spec.config.rank).collect();
        assert_eq!(ranks, [8, 16, 32]);
        for spec in auto {
            let start = format!("{name}{}", spec.config.rank);
            assert!(spec.name.starts_with(&start) && spec.name.ends_with("-auto"));
            let by_hand = TrainConfig {
                auto_rank: false,
                ..spec.config.clone()
            };
            let place = spec.name.strip_suffix("-auto").unwrap();
            assert_eq!(by_hand, named(place).config);
        }
    }
    for spec in &all {
        let gated = spec.config.method == Method::BayesLora;
        let wide = [16, 32].contains(&spec.config.rank) && !spec.config.auto_rank;
        let gauges = if gated {
            &["evidence"][..]
        } else {
            &["evidence", "svd"]
        };
        let expected: Vec<_> = [8, 4]
            .into_iter()
            .flat_map(|rank| gauges.iter().map(move |gauge| (*gauge, rank)))
            .filter(|_| wide)
            .collect();
        let cuts = spec
            .cut_to
            .iter()
            .map(|cut| (cut.line.gauge.name(), cut.rank));
        assert_eq!(cuts.collect::<Vec<_>>(), expected, "{}", spec.name);
    }
    let ensembles = all.iter().filter(|spec| spec.ensemble);
    let ensembles: Vec<_> = ensembles
        .map(|spec| (spec.name.as_str(), spec.seeds))
        .collect();
    assert_eq!(ensembles, [("lora-r8", 5), ("lora-r2", 5)]);
    // Posteriors of the head on gated runs draw gates; nothing is trained for them.
    let posteriors = all.iter().filter(|spec| spec.laplace > 0);
    let posteriors: Vec<_> = posteriors
        .map(|spec| {
            (
                spec.name.as_str(),
                spec.posteriors(&settings).len(),
                spec.asks.len(),
            )
        })
        .collect();
    assert_eq!(
        posteriors,
        [("lora-r8", 7, 0), ("bayeslora-r8-kappa-0.5", 1, 0)]
    );
    let gated = named("bayeslora-r8-kappa-0.5").posteriors(&settings)[0];
    assert_eq!(gated.way(), "laplace-last-layer-full.samples-8");
    // The default is the run that there is.
    let as_usual = Chosen {
        weight_decay: Some(0.01),
        ..chosen()
    };
    let all = runs(&settings, &as_usual);
    assert!(all.iter().all(|spec| !spec.name.contains("decay")));
    let tried = decay_candidates(&settings);
    let names: Vec<_> = tried.iter().map(|spec| spec.name.as_str()).collect();
    let expected = [
        "lora-r8-decay-0",
        "lora-r8",
        "lora-r8-decay-0.1",
        "lora-r8-decay-0.3",
        "lora-r8-decay-1",
    ];
    assert_eq!(names, expected);
    let cheap = |spec: &RunSpec| {
        let of_validation = |ask: &Ask| ask.of == Images::Validation && ask.samples == 0;
        spec.seeds == 1 && spec.asks.iter().all(of_validation)
    };
    assert!(tried.iter().all(cheap));
    for scale in [Scale::Desk, Scale::Unfamiliar, Scale::Smoke, Scale::Paper] {
        let settings = scale.settings();
        let none = Chosen {
            weight_decay: None,
            ..chosen()
        };
        let all = runs(&settings, &none);
        let usual = |spec: &RunSpec| {
            spec.config.patience.is_none() && !spec.config.auto_rank && spec.cut_to.is_empty()
        };
        assert!(all.iter().all(usual));
        assert!(decay_candidates(&settings).is_empty());
    }
}

#[test]
fn the_small_scale_has_a_study_for_each_number_of_images() {
    let parts = Scale::Small.parts();
    let sizes: Vec<_> = parts
        .iter()
        .map(|(folder, settings)| (folder.as_deref().unwrap(), settings.images.unwrap()))
        .collect();
    assert_eq!(sizes, [("n-200", 240), ("n-500", 600), ("n-2000", 2400)]);
    for (_, settings) in &parts {
        // A fifth as many validation images.
        let train = settings.images.unwrap() as f64 * (1.0 - settings.validation);
        assert!((settings.images.unwrap() as f64 / train - 1.2).abs() < 1e-9);
        assert_eq!(settings.kappa_by, KappaBy::TemperedNll);
        let none = Chosen {
            weight_decay: None,
            ..chosen()
        };
        let names = runs(settings, &none);
        let names: Vec<_> = names
            .iter()
            .map(|spec| (spec.name.as_str(), spec.laplace > 0))
            .collect();
        let gated = "bayeslora-r8-kappa-0.5";
        let mut expected = vec![
            ("lora-r8", false),
            (gated, false),
            ("lora-r0", false),
            ("lora-r8-early-stopping", false),
            ("bayeslora-r8-kappa-0.5-early-stopping", false),
        ];
        // Ranks are sought where there are enough images.
        let many = settings.images == Some(2_400);
        if many {
            expected.extend([
                ("bayeslora-r8-kappa-0.5-auto", false),
                ("lora-r8-auto", false),
                ("bayeslora-r16-kappa-0.5-auto", false),
                ("lora-r16-auto", false),
                ("bayeslora-r32-kappa-0.5-auto", false),
                ("lora-r32-auto", false),
            ]);
        }
        expected.extend([("lora-r8", true), (gated, true)]);
        assert_eq!(names, expected);
        assert_eq!(settings.cut_seeds, if many { 5 } else { 0 });
        let decays = decay_candidates(settings);
        assert!(decays.iter().any(|spec| spec.name == "lora-r8") && decays.len() == 4);
        for spec in runs(settings, &none) {
            let known = |ask: &Ask| matches!(ask.of, Images::Validation | Images::Test);
            assert!(spec.asks.iter().all(known), "{}", spec.name);
        }
    }
    let single = Scale::Long.parts();
    assert_eq!((single.len(), &single[0].0), (1, &None));
}

/// The runs of the claim about two classes, and no others but the headline.
#[test]
fn the_unfamiliar_scale_has_what_tells_unfamiliar_images() {
    let settings = Scale::Unfamiliar.settings();
    let none = Chosen {
        weight_decay: None,
        ..chosen()
    };
    let all = runs(&settings, &none);
    let names = all.iter().filter(|spec| !spec.asks.is_empty());
    let names: Vec<&str> = names.map(|spec| spec.name.as_str()).collect();
    let gated = "bayeslora-r8-kappa-0.5";
    let expected = [
        "lora-r8",
        gated,
        "lora-without-two",
        "bayeslora-without-two",
    ];
    assert_eq!(names, expected);
    for spec in &all {
        let looks = (!spec.asks.is_empty()).then_some(settings.unfamiliar_images);
        assert_eq!(spec.looks_at(settings.seeds), looks, "{}", spec.name);
        assert_eq!(spec.looks_at(settings.seeds + 1), None);
        assert!(spec.posteriors(&settings).is_empty() && spec.cuts == 0);
    }
    // Scales that ask about no other images look at none.
    for (_, settings) in Scale::Small.parts() {
        let all = runs(&settings, &chosen());
        assert!(all.iter().all(|spec| spec.looks_at(1).is_none()));
    }
}

#[test]
fn the_adapter_of_a_run_is_that_of_the_epoch_it_keeps() {
    let config = TrainConfig {
        epochs: 9,
        patience: Some(2),
        ..TrainConfig::default()
    };
    let epochs: Vec<_> = [1, 2, 2, 2]
        .into_iter()
        .enumerate()
        .map(|(place, kept)| json!({ "epoch": place + 1, "kept_epoch": kept, "rank": 10 - place }))
        .collect();
    assert_eq!(final_epoch(&epochs).unwrap()["rank"], 9);
    assert!(is_trained(&config, &epochs) && !is_trained(&config, &epochs[..3]));
    let plain: Vec<_> = (1..=4).map(|epoch| json!({ "epoch": epoch })).collect();
    assert_eq!(final_epoch(&plain).unwrap()["epoch"], 4);
    let ever = TrainConfig {
        epochs: 4,
        patience: None,
        ..config
    };
    assert!(is_trained(&ever, &plain) && !is_trained(&ever, &plain[..3]));
    assert!(final_epoch(&[]).is_none() && !is_trained(&ever, &[]));
}

#[test]
fn an_ensemble_averages_probabilities() {
    let labels = [0, 1];
    let member = |p: f32| Answers {
        log_probs: vec![p.ln(), (1.0 - p).ln(), (1.0 - p).ln(), p.ln()],
        mutual_information: vec![0.0; 2],
        labels: labels.to_vec(),
        classes: 2,
    };
    let together = Answers::new(&ensemble(&[member(0.9), member(0.5)]), &labels).unwrap();
    assert!((together.log_probs[0].exp() - 0.7).abs() < 1e-6);
    assert!(together.mutual_information[0] > 0.05);
}
