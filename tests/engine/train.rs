//! The trainer: determinism, resuming, interruption, pruning, what the defaults derive.

use std::ops::ControlFlow;
use std::sync::Arc;

use bayeslora::low_level::data::Dataset;
use bayeslora::low_level::formats::{Adapter, FormatError, GateDistribution, RunDir};
use bayeslora::low_level::gpu::{Gpu, GpuError, GpuOptions};
use bayeslora::low_level::model::PLAIN_VIEW;
use bayeslora::low_level::predict::{Predictor, Samples, Source};
use bayeslora::low_level::train::kl::KlMultiplicity;
use bayeslora::low_level::train::{
    Augment, ClassWeights, EpochOutcome, EpochReport, Method, Progress, PruneGauge, Sampler,
    SetError, Span, TrainConfig, TrainError, Trainer,
};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use crate::common;
use crate::properties::{GPU, tiny_backbone};

const CLASSES: usize = 3;

/// Images whose mean colour gives the class away, with noise.
fn dataset(images: usize, side: usize, seed: u64) -> Dataset {
    let mut random = Pcg64::seed_from_u64(seed);
    let labels: Vec<u32> = (0..images).map(|index| (index % CLASSES) as u32).collect();
    let pixels = labels.iter().flat_map(|label| {
        let tint = |c: usize| if c as u32 == *label { 160 } else { 60 };
        let values: Vec<u8> = (0..side * side * 3)
            .map(|i| tint(i % 3) + random.random_range(0..90))
            .collect();
        values
    });
    let classes = Arc::from(["red".to_owned(), "green".to_owned(), "blue".to_owned()]);
    Dataset::new(side, pixels.collect(), labels.clone(), classes)
}

pub fn config() -> TrainConfig {
    TrainConfig {
        resolution: 32,
        epochs: 3,
        batch_size: Some(8),
        rank: 5,
        lr: 0.01,
        lr_log_alpha: Some(1.0),
        kl_multiplicity: Some(KlMultiplicity::Value(0.1)),
        prune_from: Some(Span::Epochs(1.0)),
        prune_every: Some(Span::Epochs(1.0)),
        threshold: -1.0,
        min_rank: 2,
        ..TrainConfig::default()
    }
}

fn dropout(p: f64) -> TrainConfig {
    TrainConfig {
        method: Method::McDropout,
        dropout: Some(p),
        sample_warmup: Span::Epochs(0.0),
        ..config()
    }
}

fn automatic(method: Method) -> TrainConfig {
    TrainConfig {
        method,
        auto_rank: true,
        min_rank: 0,
        threshold: TrainConfig::default().threshold,
        ..config()
    }
}

pub fn go_on(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

pub fn trainer(gpu: &Gpu, config: TrainConfig) -> Result<Trainer, TrainError> {
    let (train, validation) = (dataset(43, 16, 1), dataset(12, 16, 2));
    Trainer::new(
        gpu,
        &tiny_backbone(),
        config,
        train,
        Some(validation),
        &mut go_on,
    )
}

fn epochs(trainer: &mut Trainer, count: usize) -> Vec<EpochReport> {
    let mut reports = Vec::new();
    for _ in 0..count {
        match trainer.next_epoch(&mut go_on).unwrap() {
            EpochOutcome::Done(report) => reports.push(*report),
            _ => panic!("an epoch is left"),
        }
    }
    reports
}

#[test]
fn it_learns_prunes_and_leaves_the_backbone_alone() {
    let mut trainer = trainer(&GPU, config()).unwrap();
    let reports = epochs(&mut trainer, 3);
    assert!(matches!(
        trainer.next_epoch(&mut go_on).unwrap(),
        EpochOutcome::Finished
    ));
    assert!(trainer.network().is_unchanged().unwrap());
    let losses: Vec<_> = reports.iter().map(|report| report.cross_entropy).collect();
    // Log 3 is what guessing costs.
    assert!(losses[1] < 0.9 * 3f64.ln(), "{losses:?}");
    let first = reports
        .iter()
        .find_map(|report| report.prune.as_ref())
        .expect("a prune");
    assert!(first.ranks_after < first.ranks_before);
    let (before, after) = (first.before.unwrap(), first.after.unwrap());
    assert!(before.nll.is_finite() && after.nll.is_finite());
    assert!(first.max_log_prob_change.unwrap() >= 0.0);
    // Not after the last epoch, which no training would follow.
    assert!(reports[2].prune.is_none());
    let last = &reports[2];
    assert_eq!(last.rank, last.ranks.values().sum::<usize>());
    assert!(last.soft_rank > 0.0 && last.soft_rank <= last.rank as f64);
    let adapter = trainer.adapter().unwrap();
    let ranks: usize = adapter
        .layers
        .iter()
        .map(|layer| layer.rank_ids.len())
        .sum();
    assert_eq!(ranks, last.rank);
    // s is what it was, whatever has gone.
    assert_eq!(adapter.scale(), 2.0);
}

#[test]
fn a_resumed_run_is_the_run() {
    for config in [
        config(),
        TrainConfig {
            method: Method::Lora,
            augment: Augment::Standard,
            ..config()
        },
        dropout(0.3),
        TrainConfig {
            method: Method::WeightNoise,
            ..config()
        },
        TrainConfig {
            prune_gauge: Some(PruneGauge::Svd),
            ..config()
        },
        automatic(Method::Lora),
        TrainConfig {
            sampler: Sampler::Balanced,
            ..config()
        },
    ] {
        let mut whole = trainer(&GPU, config.clone()).unwrap();
        let expected = epochs(&mut whole, 3);

        let mut first = trainer(&GPU, config.clone()).unwrap();
        epochs(&mut first, 2);
        let directory = tempfile::tempdir().unwrap();
        let nothing = |_: &RunDir| Ok::<_, FormatError>(());
        let run = RunDir::create(directory.path(), "", nothing).unwrap();
        run.write_checkpoint(&first.checkpoint().unwrap()).unwrap();
        // Another device: nothing but the file may carry over.
        let fresh = common::gpu(GpuOptions::default());
        let mut second = trainer(&fresh, config.clone()).unwrap();
        let (checkpoint, _) = run.read_checkpoint().unwrap();
        assert_eq!(
            second.restore(&checkpoint).unwrap(),
            None,
            "the kernels are the same"
        );
        assert_eq!(second.epochs_done(), 2);
        let found = epochs(&mut second, 1);

        assert_eq!(found[0].loss.to_bits(), expected[2].loss.to_bits());
        assert_eq!(found[0].nll, expected[2].nll);
        assert_eq!(second.adapter().unwrap(), whole.adapter().unwrap());
        let end = |trainer: &Trainer| trainer.checkpoint().unwrap().tensors.tensors;
        assert_eq!(end(&second), end(&whole));
    }
}

/// Labels that have nothing to do with the images, so that training soon makes the answers worse.
fn overfitting(config: TrainConfig) -> Trainer {
    let mut validation = dataset(30, 16, 2);
    for (image, label) in validation.labels.iter_mut().enumerate() {
        *label = (image * image / 7 % CLASSES) as u32;
    }
    let train = dataset(43, 16, 1);
    let backbone = tiny_backbone();
    Trainer::new(&GPU, &backbone, config, train, Some(validation), &mut go_on).unwrap()
}

#[test]
fn early_stopping_keeps_the_epoch_with_the_lowest_tempered_nll() {
    let mut early = 0;
    for method in [Method::Lora, Method::BayesLora] {
        let patient = TrainConfig {
            method,
            epochs: 8,
            patience: Some(3),
            ..config()
        };
        let ever = TrainConfig {
            patience: None,
            ..patient.clone()
        };
        let (mut stopping, mut whole) = (overfitting(patient.clone()), overfitting(ever));
        let validation = whole.validation_set().unwrap().clone();
        let labels = &validation.dataset.labels;
        let mut seen: Vec<(f64, Adapter)> = Vec::new();
        let mut checkpoint = None;
        while let EpochOutcome::Done(report) = stopping.next_epoch(&mut go_on).unwrap() {
            // The training itself is the same.
            let expected = epochs(&mut whole, 1).remove(0);
            assert_eq!(report.loss.to_bits(), expected.loss.to_bits());
            assert_eq!(report.nll, expected.nll);
            assert_eq!((expected.tempered_nll, expected.kept_epoch), (None, None));
            let held_out = whole
                .evaluate(&validation, Samples::MEAN, &mut go_on)
                .unwrap();
            let fitted = held_out.fit_temperature(labels, Samples::MEAN).unwrap();
            assert_eq!(report.tempered_nll, Some(fitted.nll_after));
            seen.push((fitted.nll_after, whole.adapter().unwrap()));
            let lowest = (0..seen.len())
                .min_by(|a, b| seen[*a].0.total_cmp(&seen[*b].0))
                .unwrap();
            assert_eq!(report.kept_epoch, Some(lowest + 1));
            assert_eq!(stopping.kept_epoch(), Some((lowest + 1, seen[lowest].0)));
            assert_eq!(stopping.adapter().unwrap(), seen[lowest].1);
            let scores = |trainer: &Trainer| {
                let found = trainer.evaluate(&validation, Samples::new(2, 1), &mut go_on);
                (
                    found.as_ref().unwrap().log_probs.clone(),
                    found.unwrap().effective_rank,
                )
            };
            if lowest + 1 == seen.len() {
                assert_eq!(scores(&stopping), scores(&whole));
            } else {
                assert_ne!(scores(&stopping).0, scores(&whole).0);
                checkpoint.get_or_insert_with(|| stopping.checkpoint().unwrap());
            }
        }
        let (kept, _) = stopping.kept_epoch().unwrap();
        assert_eq!(seen.len(), (kept + 3).min(8));
        early += usize::from(seen.len() < 8);
        // From a checkpoint after the epoch that it keeps so far.
        let mut resumed = overfitting(patient);
        let checkpoint = checkpoint.expect("some epoch is not the best");
        resumed.restore(&checkpoint).unwrap();
        while let EpochOutcome::Done(_) = resumed.next_epoch(&mut go_on).unwrap() {}
        assert_eq!(resumed.epochs_done(), seen.len());
        assert_eq!(resumed.kept_epoch(), stopping.kept_epoch());
        assert_eq!(resumed.adapter().unwrap(), stopping.adapter().unwrap());
        let tensors = |trainer: &Trainer| trainer.checkpoint().unwrap().tensors.tensors;
        assert_eq!(tensors(&resumed), tensors(&stopping));
    }
    assert!(early > 0, "no run stopped before its end");
}

#[test]
fn early_stopping_needs_images_to_compare_on() {
    let patient = TrainConfig {
        patience: Some(3),
        ..config()
    };
    let error = Trainer::new(
        &GPU,
        &tiny_backbone(),
        patient.clone(),
        dataset(43, 16, 1),
        None,
        &mut go_on,
    );
    assert!(matches!(
        error,
        Err(TrainError::Set(SetError::Empty { set: "validation" }))
    ));
    for (config, option) in [
        (
            TrainConfig {
                validation: 0.0,
                ..patient.clone()
            },
            "validation",
        ),
        (
            TrainConfig {
                patience: Some(3),
                ..automatic(Method::BayesLora)
            },
            "patience",
        ),
        (
            TrainConfig {
                patience: Some(0),
                ..patient
            },
            "patience",
        ),
    ] {
        assert_eq!(config.check().unwrap_err().option, option);
    }
}

/// Turned ranks are cut by the alpha that images give them, and training goes on from there.
#[test]
fn a_prune_turns_first() {
    for gauge in [PruneGauge::Svd, PruneGauge::Evidence] {
        let turned = TrainConfig {
            prune_gauge: Some(gauge),
            // So few images are worth no rank.
            threshold: 0.0,
            min_rank: 1,
            ..config()
        };
        let mut trainer = trainer(&GPU, turned).unwrap();
        let mut reports = Vec::new();
        for _ in 0..3 {
            reports.extend(epochs(&mut trainer, 1));
            if reports.last().unwrap().prune.is_none() {
                continue;
            }
            // What is left of worthless ranks is not as noisy as the images would have it.
            let layers = trainer.adapter().unwrap().layers;
            let gates = layers
                .iter()
                .flat_map(|layer| layer.log_alpha.iter().flatten());
            assert!(gates.copied().fold(f32::MIN, f32::max) <= 0.0);
        }
        let event = reports.iter().find_map(|report| report.prune.as_ref());
        let event = event.expect("a prune");
        assert!(event.ranks_after < event.ranks_before);
        let adapter = trainer.adapter().unwrap();
        for layer in &adapter.layers {
            // Numbered anew by what they are worth, so that those left were the first.
            let ids: Vec<u32> = (0..layer.rank_ids.len() as u32).collect();
            assert_eq!(layer.rank_ids, ids, "{}", layer.name);
        }
        let losses: Vec<_> = reports.iter().map(|report| report.cross_entropy).collect();
        assert!(losses[2] < losses[0], "{losses:?}");
    }
}

/// Whatever a prune of `--rank auto` cuts, the held-out NLL notices no more than it is let.
#[test]
fn automatic_ranks_go_as_far_as_the_nll_lets_them() {
    for method in [Method::Lora, Method::BayesLora] {
        let mut trainer = trainer(&GPU, automatic(method)).unwrap();
        let reports = epochs(&mut trainer, 3);
        let events: Vec<_> = reports.iter().filter_map(|r| r.prune.as_ref()).collect();
        assert!(!events.is_empty(), "{method:?}");
        for event in events {
            assert!(event.ranks_after < event.ranks_before);
            let change = event.tempered_nll_change.unwrap();
            // Noisy ranks go whatever the NLL. The cut adapter is scored again from the GPU's own parameters: to rounding.
            let is_vouched_for = change.mean + change.standard_error <= 2.1e-3;
            assert!(is_vouched_for || method == Method::BayesLora, "{event:?}");
        }
        assert_eq!(
            reports[2].rank,
            trainer
                .adapter()
                .unwrap()
                .layers
                .iter()
                .map(|l| l.rank_ids.len())
                .sum::<usize>()
        );
    }
    let alone = Trainer::new(
        &GPU,
        &tiny_backbone(),
        automatic(Method::Lora),
        dataset(9, 16, 1),
        None,
        &mut go_on,
    );
    assert!(matches!(
        alone,
        Err(TrainError::Set(SetError::Empty { set: "validation" }))
    ));
}

#[test]
fn dropout_has_a_fixed_alpha_no_kl_and_no_prunes() {
    let p = 0.3;
    let mut trainer = trainer(&GPU, dropout(p)).unwrap();
    let reports = epochs(&mut trainer, 3);
    let adapter = trainer.adapter().unwrap();
    assert_eq!(adapter.method, "mc-dropout");
    assert_eq!(adapter.gates, GateDistribution::Bernoulli);
    let log_alpha = (p / (1.0 - p)).ln() as f32;
    for layer in &adapter.layers {
        assert_eq!(layer.log_alpha, Some(vec![log_alpha; 5]));
    }
    for report in reports {
        assert_eq!((report.kl, report.loss), (0.0, report.cross_entropy));
        assert!(report.prune.is_none());
        // As many as are kept on average.
        let kept = (1.0 - p) * report.rank as f64;
        assert!((report.soft_rank - kept).abs() < 1e-5 * kept);
    }
    // The gates are at work: without them training goes another way.
    let plain = TrainConfig {
        method: Method::Lora,
        dropout: None,
        ..dropout(p)
    };
    let mut plain = self::trainer(&GPU, plain).unwrap();
    epochs(&mut plain, 3);
    let b = |trainer: &Trainer| trainer.adapter().unwrap().layers[0].lora_b.clone();
    assert_ne!(b(&plain), b(&trainer));
}

#[test]
fn seeds_decide_everything() {
    let end = |seed: u64| {
        let mut trainer = trainer(&GPU, TrainConfig { seed, ..config() }).unwrap();
        epochs(&mut trainer, 1);
        trainer.adapter().unwrap().layers
    };
    assert_eq!(end(1), end(1));
    assert_ne!(end(1), end(2));
}

#[test]
fn an_interrupt_stops_between_steps() {
    let mut trainer = trainer(&GPU, config()).unwrap();
    let mut seen = 0;
    let mut observe = |progress| {
        if let Progress::Training { step, .. } = progress {
            seen = step;
            if step == 2 {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    };
    assert!(matches!(
        trainer.next_epoch(&mut observe).unwrap(),
        EpochOutcome::Interrupted
    ));
    assert_eq!((seen, trainer.epochs_done()), (2, 0));
}

#[test]
fn cached_features_train_as_images_do() {
    // f16 rounds the features: close, not equal.
    let run = |prefix_cache: u64| {
        let config = TrainConfig {
            method: Method::Lora,
            prefix_cache,
            ..config()
        };
        let mut trainer = trainer(&GPU, config).unwrap();
        assert_eq!(trainer.training_set().is_cached(), prefix_cache > 0);
        epochs(&mut trainer, 1)[0].cross_entropy
    };
    let (cached, images) = (run(1 << 20), run(0));
    assert!(
        (cached - images).abs() < 2e-3 * images,
        "{cached} and {images}"
    );
}

#[test]
fn a_saved_adapter_predicts_as_the_trainer_does() {
    for config in [config(), dropout(0.3)] {
        saved_and_trainer_agree(config);
    }
}

fn saved_and_trainer_agree(config: TrainConfig) {
    let mut trainer = trainer(&GPU, config).unwrap();
    epochs(&mut trainer, 2);
    let directory = tempfile::tempdir().unwrap();
    trainer
        .adapter()
        .unwrap()
        .save_peft(directory.path())
        .unwrap();
    let adapter = bayeslora::low_level::formats::Adapter::load_peft(directory.path()).unwrap();
    let predictor = Predictor::new(&GPU, &tiny_backbone(), &adapter).unwrap();
    let source = Source::images(dataset(7, 16, 3), 32);
    for samples in [Samples::MEAN, Samples::new(5, 9)] {
        let expected = trainer
            .predictor()
            .log_probs(&source, samples, &mut |_| ())
            .unwrap();
        let found = predictor.log_probs(&source, samples, &mut |_| ()).unwrap();
        assert_eq!(found, expected);
    }
    let prediction = predictor
        .predict(dataset(7, 16, 3), Samples::new(5, 9), true)
        .unwrap();
    for row in prediction.mean.chunks(CLASSES) {
        assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5);
    }
    let traces = prediction.covariance_trace.unwrap();
    assert!(traces.iter().all(|trace| *trace > 0.0));
    assert!(
        prediction
            .mutual_information
            .iter()
            .all(|information| *information >= 0.0)
    );
}

#[test]
fn samples_of_plain_lora_are_its_mean() {
    let lora = TrainConfig {
        method: Method::Lora,
        ..config()
    };
    let mut trainer = trainer(&GPU, lora).unwrap();
    epochs(&mut trainer, 2);
    let adapter = trainer.adapter().unwrap();
    let predictor = Predictor::new(&GPU, &tiny_backbone(), &adapter).unwrap();
    let source = Source::images(dataset(7, 16, 3), 32);
    let log_probs = |samples| predictor.log_probs(&source, samples, &mut |_| ()).unwrap();
    let mean = log_probs(Samples::MEAN);
    for sample in log_probs(Samples::new(3, 9)).chunks(mean.len()) {
        assert_eq!(sample, mean);
    }
}

#[test]
fn samples_and_images_in_chunks_change_nothing() {
    for config in [config(), dropout(0.3)] {
        chunks_change_nothing(config);
    }
}

fn chunks_change_nothing(config: TrainConfig) {
    let mut trainer = trainer(&GPU, config).unwrap();
    // B starts at zero, and with it every difference between samples.
    epochs(&mut trainer, 1);
    let predictor = trainer.predictor();
    let source = Source::images(dataset(9, 16, 4), 32);
    // 200 samples are more rows than one batch of a software adapter holds.
    let many = predictor
        .log_probs(&source, Samples::new(200, 5), &mut |_| ())
        .unwrap();
    let few = predictor
        .log_probs(&source, Samples::new(3, 5), &mut |_| ())
        .unwrap();
    assert_eq!(many[..few.len()], few);
    let (first, second) = few.split_at(few.len() / 3);
    assert_ne!(first, &second[..first.len()], "samples differ");
}

#[test]
fn a_batch_too_large_names_one_that_fits() {
    let limits = wgpu::Limits {
        max_storage_buffer_binding_size: 1 << 20,
        ..Default::default()
    };
    let options = GpuOptions {
        extras: false,
        limits: Some(limits),
        ..Default::default()
    };
    let gpu = common::gpu(options);
    let sets = || (dataset(600, 32, 1), None::<Dataset>);
    let config = TrainConfig {
        batch_size: Some(512),
        resolution: 64,
        prefix_cache: 0,
        ..config()
    };
    let (train, validation) = sets();
    let error = Trainer::new(
        &gpu,
        &tiny_backbone(),
        config.clone(),
        train,
        validation,
        &mut go_on,
    )
    .err()
    .expect("512 images do not fit");
    let TrainError::BatchTooLarge {
        batch: 512,
        fits,
        resident: _,
        reason,
    } = error
    else {
        panic!("{error}")
    };
    assert!(
        matches!(reason, GpuError::BufferTooLarge { .. }),
        "{reason}"
    );
    let config = TrainConfig {
        batch_size: Some(fits),
        ..config
    };
    let (train, validation) = sets();
    Trainer::new(
        &gpu,
        &tiny_backbone(),
        config,
        train,
        validation,
        &mut go_on,
    )
    .unwrap();
}

#[test]
fn a_diverging_run_says_so() {
    let config = TrainConfig {
        lr: 1e3,
        ..config()
    };
    let mut trainer = trainer(&GPU, config).unwrap();
    let mut outcome = Ok(EpochOutcome::Finished);
    for _ in 0..3 {
        outcome = trainer.next_epoch(&mut go_on);
        if outcome.is_err() {
            break;
        }
    }
    let error = outcome
        .err()
        .expect("a run with such a rate does not train");
    let diverged = matches!(
        error,
        TrainError::Diverged { .. } | TrainError::NotFinite { .. }
    );
    assert!(diverged, "{error}");
}

#[test]
fn defaults_follow_the_size_of_the_set() {
    let small = TrainConfig::default().resolve(1_800).unwrap();
    let large = TrainConfig::default().resolve(45_000).unwrap();
    assert_eq!((small.batch_size, large.batch_size), (32, 128));
    // log alpha can cross eight units in a third of the steps.
    for (config, images) in [(&small, 1_800), (&large, 45_000)] {
        let steps = (config.epochs * usize::div_ceil(images, config.batch_size)) as f64;
        assert!((config.lr_log_alpha * steps / 3.0 - 8.0).abs() < 1e-9);
        // kappa/N is the same whatever N, from 2,000 on.
        let kappa = config.kl_multiplicity.kappa(1_000);
        assert!((kappa / images.max(2_000) as f64 - 5e-4).abs() < 1e-12);
    }
    assert_eq!(small.lora_alpha, Some(16.0));
    // The scale of many ranks, to be cut, falls as 1 / sqrt(rank).
    for (rank, scale) in [(8, 2.0), (32, 1.0), (128, 0.5)] {
        let wide = TrainConfig {
            auto_rank: true,
            rank,
            ..Default::default()
        };
        assert_eq!(wide.resolve(1_800).unwrap().scale(), scale);
    }
    // The configuration that files hold has the same values.
    let whole = TrainConfig::from(small.clone());
    assert_eq!(whole.batch_size, Some(small.batch_size));
    assert_eq!(whole.lr_log_alpha, Some(small.lr_log_alpha));
    assert_eq!(whole.kl_multiplicity, Some(small.kl_multiplicity));
    assert_eq!(whole.clone().resolve(1_800).unwrap(), small);
    // What a config file holds comes back as it was.
    let text = toml::to_string(&whole).unwrap();
    assert_eq!(toml::from_str::<TrainConfig>(&text).unwrap(), whole);
}

#[test]
fn options_out_of_range_are_named() {
    let base = TrainConfig::default;
    for (config, option) in [
        (
            TrainConfig {
                epochs: 0,
                ..base()
            },
            "epochs",
        ),
        (TrainConfig { rank: 0, ..base() }, "rank"),
        (
            TrainConfig {
                batch_size: Some(0),
                ..base()
            },
            "batch-size",
        ),
        (
            TrainConfig {
                lr: f64::NAN,
                ..base()
            },
            "lr",
        ),
        (
            TrainConfig {
                validation: 1.0,
                ..base()
            },
            "validation",
        ),
        (
            TrainConfig {
                min_rank: 9,
                ..base()
            },
            "min-rank",
        ),
        (
            TrainConfig {
                resolution: 8,
                ..base()
            },
            "resolution",
        ),
        (
            TrainConfig {
                targets: Vec::new(),
                ..base()
            },
            "targets",
        ),
        (
            TrainConfig {
                prune_every: Some(Span::Fraction(0.0)),
                ..base()
            },
            "prune-every",
        ),
        (
            TrainConfig {
                sampler: Sampler::Balanced,
                class_weights: ClassWeights::Effective,
                ..base()
            },
            "class-weights",
        ),
    ] {
        assert_eq!(config.resolve(100).unwrap_err().option, option);
    }
}

#[test]
fn spans_are_epochs_or_fractions() {
    let parse = |text: &str| text.parse::<Span>();
    assert_eq!(parse("3"), Ok(Span::Epochs(3.0)));
    assert_eq!(parse("1"), Ok(Span::Epochs(1.0)));
    assert_eq!(parse("2.5"), Ok(Span::Epochs(2.5)));
    assert_eq!(parse("0.1"), Ok(Span::Fraction(0.1)));
    assert_eq!(parse("1.0"), Ok(Span::Fraction(1.0)));
    assert_eq!(parse("0"), Ok(Span::Epochs(0.0)));
    for wrong in ["", "-1", "nan", "three", "inf"] {
        assert!(
            parse(wrong).unwrap_err().contains("number of epochs"),
            "{wrong}"
        );
    }
    for span in [
        Span::Epochs(3.0),
        Span::Epochs(1.0),
        Span::Fraction(0.25),
        Span::Fraction(1.0),
    ] {
        assert_eq!(parse(&span.to_string()), Ok(span));
    }
}

#[test]
fn prunes_come_when_they_should() {
    let at = |config: &TrainConfig| -> Vec<usize> {
        (1..=config.epochs)
            .filter(|epoch| config.prunes_after(*epoch))
            .collect()
    };
    assert_eq!(at(&TrainConfig::default()), [3, 4]);
    let auto = TrainConfig {
        epochs: 12,
        auto_rank: true,
        ..TrainConfig::default()
    };
    assert_eq!(at(&auto), [1, 3, 5, 7, 9, 11]);
    let spans = |from, every| TrainConfig {
        epochs: 40,
        prune_from: Some(from),
        prune_every: Some(every),
        ..TrainConfig::default()
    };
    let paper = spans(Span::Epochs(12.0), Span::Epochs(4.0));
    assert_eq!(at(&paper), [12, 16, 20, 24, 28, 32, 36]);
    assert_eq!(
        at(&spans(Span::Fraction(0.5), Span::Fraction(0.25))),
        [20, 30]
    );
    assert_eq!(
        at(&TrainConfig {
            method: Method::Lora,
            ..paper
        }),
        [0usize; 0]
    );
}

#[test]
fn the_plain_view_is_always_cached() {
    for augment in [Augment::None, Augment::Flip] {
        assert!(augment.views().contains(&PLAIN_VIEW));
    }
    assert!(Augment::Standard.views().is_empty());
}
