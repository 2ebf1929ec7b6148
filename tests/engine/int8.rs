//! A backbone of 8 bits: the same answers as in f32 with the rounded weights, in a quarter of the memory, and never taken for
//! another.

use std::ops::ControlFlow;
use std::sync::Arc;

use bayeslora::low_level::data::Dataset;
use bayeslora::low_level::formats::Adapter;
use bayeslora::low_level::model::{Backbone, BackboneBits, FrozenNetwork, KernelChoice};
use bayeslora::low_level::predict::{Ensemble, PredictError, Predictor, Samples, fitted};
use bayeslora::low_level::train::{Progress, TrainConfig, TrainError, Trainer, prepare};

use crate::common::relative_error;
use crate::properties::{GPU, kernels, tiny_backbone};

const SIDE: usize = 32;

fn images() -> Dataset {
    let pixels = (0..12 * SIDE * SIDE * 3).map(|i| (i * 7 % 251 + i / 3072 % 3) as u8);
    let labels = (0..12).map(|index| index % 3).collect();
    let classes = ["one", "two", "three"].map(str::to_owned);
    Dataset::new(SIDE, pixels.collect(), labels, Arc::from(classes))
}

fn config(bits: BackboneBits) -> TrainConfig {
    TrainConfig {
        resolution: SIDE,
        epochs: 2,
        batch_size: Some(4),
        rank: 3,
        lr: 0.01,
        targets: vec!["layer2".into(), "layer4".into()],
        threshold: 100.0,
        // Features would be rounded to f16.
        prefix_cache: 0,
        backbone_bits: bits,
        ..TrainConfig::default()
    }
}

fn go_on(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn trainer(backbone: &Backbone, bits: BackboneBits) -> Trainer {
    Trainer::new(&GPU, backbone, config(bits), images(), None, &mut go_on).unwrap()
}

fn trained(backbone: &Backbone, bits: BackboneBits) -> Adapter {
    let mut trainer = trainer(backbone, bits);
    let keep = |_: &Trainer, _| -> Result<(), TrainError> { Ok(()) };
    trainer.train(&mut go_on, keep).unwrap();
    assert!(trainer.network().is_unchanged().unwrap());
    trainer.adapter().unwrap()
}

/// The rounded weights as any weights of 32 bits.
fn spelt_out(backbone: &Backbone) -> Backbone {
    let mut plain = backbone.in_bits(BackboneBits::Int8);
    for conv in &mut plain.convs {
        Arc::make_mut(conv).scales = None;
    }
    plain.sha256 = "rounded".into();
    plain
}

fn answers(backbone: &Backbone, adapter: &Adapter) -> Vec<f32> {
    let predictor = Predictor::new(&GPU, backbone, adapter).unwrap();
    let answer = predictor.predict(images(), Samples::new(4, 1), false);
    answer.unwrap().mean
}

#[test]
fn it_trains_and_answers_as_the_rounded_weights_do_in_f32() {
    let backbone = tiny_backbone();
    let eight = trained(&backbone, BackboneBits::Int8);
    let plain = trained(&spelt_out(&backbone), BackboneBits::F32);
    // On one adapter even the bits are the same where its compiler reorders nothing.
    for (one, other) in eight.layers.iter().zip(&plain.layers) {
        assert!(
            relative_error(&one.lora_a, &other.lora_a) < 1e-4,
            "{}",
            one.name
        );
        assert!(
            relative_error(&one.lora_b, &other.lora_b) < 1e-4,
            "{}",
            one.name
        );
    }
    let expected = answers(&spelt_out(&backbone), &plain);
    // Whether the backbone is handed over rounded or as in its file.
    for backbone in [backbone.clone(), backbone.in_bits(BackboneBits::Int8)] {
        assert!(relative_error(&expected, &answers(&backbone, &eight)) < 1e-4);
    }
    // And rounding does something here.
    let full = trained(&backbone, BackboneBits::F32);
    assert!(relative_error(&expected, &answers(&backbone, &full)) > 1e-3);
}

#[test]
fn weights_take_a_quarter_of_the_memory() {
    let embedded = Backbone::embedded().unwrap();
    let bytes = |bits: BackboneBits| {
        let trainer = trainer(&embedded, bits);
        assert!(trainer.network().is_unchanged().unwrap());
        trainer.network().bytes()
    };
    let (eight, full) = (bytes(BackboneBits::Int8), bytes(BackboneBits::F32));
    let ratio = eight as f64 / full as f64;
    println!("{eight} bytes for {full}: {ratio:.4}");
    // In textures the filters of f32 that lie in the Winograd domain are four times as large.
    let expected = match KernelChoice::for_gpu(&GPU).textured() {
        true => 0.215..0.225,
        false => 0.25..0.26,
    };
    assert!(expected.contains(&ratio));
}

#[test]
fn its_hash_tells_it_from_the_file() {
    let full = tiny_backbone();
    let eight = full.in_bits(BackboneBits::Int8);
    assert_eq!(eight.sha256, format!("int8:{}", full.sha256));
    assert_eq!(
        (full.bits(), eight.bits()),
        (BackboneBits::F32, BackboneBits::Int8)
    );
    for bits in [BackboneBits::Int8, BackboneBits::F32] {
        let again = eight.in_bits(bits);
        assert_eq!(
            (&again.sha256, again.bits()),
            (&eight.sha256, BackboneBits::Int8)
        );
    }
    for kernels in kernels() {
        let network = FrozenNetwork::new(&GPU, kernels, &eight);
        assert_eq!(network.bits, BackboneBits::Int8);
    }
    assert_eq!("8".parse(), Ok(BackboneBits::Int8));
    for text in ["4", "", "-8", "8.0", "f32", "18446744073709551624"] {
        let error = text.parse::<BackboneBits>().unwrap_err();
        assert!(error.contains("expected 8 or 32"), "{error}");
    }
}

#[test]
fn an_adapter_is_refused_over_other_bits() {
    let backbone = tiny_backbone();
    let rounded = backbone.in_bits(BackboneBits::Int8);
    // A trainer says what its backbone is, even if its options do not.
    let eight = trainer(&rounded, BackboneBits::F32);
    assert_eq!(eight.config().backbone_bits, BackboneBits::Int8);
    let (checkpoint, eight) = (eight.checkpoint().unwrap(), eight.adapter().unwrap());
    let mut full = trainer(&backbone, BackboneBits::F32);
    let error = full.restore(&checkpoint).unwrap_err().to_string();
    assert!(
        error.contains("its backbone bits is 8, the run's 32"),
        "{error}"
    );
    let full = full.adapter().unwrap();
    assert_eq!(eight.backbone_sha256, rounded.sha256);
    assert_eq!(full.backbone_sha256, backbone.sha256);
    for (backbone, adapter, trained) in [(&backbone, &eight, "8"), (&rounded, &full, "32")] {
        let error = fitted(backbone, adapter).unwrap_err();
        assert!(
            matches!(error, PredictError::BackboneBits { .. }),
            "{error}"
        );
        let expected = format!("with weights of {trained} bits");
        assert!(error.to_string().contains(&expected), "{error}");
    }
    // Rounded weights are not to be had back.
    assert!(Predictor::new(&GPU, &rounded, &full).is_err());
    let mixed = [eight.clone(), full];
    assert!(Ensemble::new(&GPU, &backbone, &mixed).is_err());
    Ensemble::new(&GPU, &backbone, &[eight.clone(), eight.clone()]).unwrap();
    // What lies on the device is what counts.
    let network = Arc::new(FrozenNetwork::new(&GPU, kernels()[0], &rounded));
    assert!(Predictor::on(network.clone(), &backbone, &mixed[1]).is_err());
    Predictor::on(network, &rounded, &eight).unwrap();
    // Another backbone stays another one.
    let mut other = backbone.clone();
    other.sha256 = "other".into();
    let error = Predictor::new(&GPU, &other, &eight).err().unwrap();
    assert!(matches!(error, PredictError::Backbone { .. }), "{error}");
}

#[test]
fn what_was_prepared_keeps_its_bits() {
    let backbone = tiny_backbone();
    let (full, eight) = (config(BackboneBits::F32), config(BackboneBits::Int8));
    let prepared = |config| prepare(&GPU, &backbone, config, images(), None, &mut go_on).unwrap();
    let rounded = backbone.in_bits(BackboneBits::Int8);
    for (backbone, config) in [(&backbone, &eight), (&rounded, &full)] {
        let error = Trainer::over(prepared(&full), backbone, config.clone());
        let error = error.err().unwrap().to_string();
        assert!(
            error.contains("`backbone-bits` is 8, expected 32"),
            "{error}"
        );
    }
    let trainer = Trainer::over(prepared(&eight), &backbone, full).unwrap();
    assert_eq!(trainer.config().backbone_bits, BackboneBits::Int8);
    assert_eq!(trainer.adapter().unwrap().backbone_sha256, rounded.sha256);
}

#[test]
fn merged_weights_are_in_f32() {
    let eight = tiny_backbone().in_bits(BackboneBits::Int8);
    let merged = {
        let trainer = trainer(&eight, BackboneBits::Int8);
        let predictor = trainer.predictor();
        let layout = predictor.layout();
        let state = layout.unpack(&predictor.parameters().unwrap());
        eight.merged(layout, &state, 2.0)
    };
    assert_eq!(merged.bits(), BackboneBits::F32);
    assert_eq!(merged.convs[0].weight, eight.convs[0].weight);
}
