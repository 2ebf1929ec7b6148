//! NaN, infinity, labels and checkpoints that no run leaves.

use std::ops::ControlFlow;

use bayeslora::low_level::data::Dataset;
use bayeslora::low_level::formats::Checkpoint;
use bayeslora::low_level::model::exchange;
use bayeslora::low_level::predict::{PredictError, Predictor, Samples};
use bayeslora::low_level::train::{
    EpochOutcome, Method, Progress, SetError, TrainConfig, TrainError, Trainer,
};

use super::subject::{classes, config, go_on, images, trainer};
use crate::properties::{GPU, tiny_backbone};

#[test]
fn divergence_stops_near_its_step() {
    let config = TrainConfig {
        lr: 1e3,
        method: Method::Lora,
        ..config()
    };
    let mut trainer = trainer(&GPU, config, images(200)).unwrap();
    let mut seen = 0;
    let mut observe = |progress| {
        if let Progress::Training { step, .. } = progress {
            seen = step as u64;
        }
        ControlFlow::Continue(())
    };
    let error = trainer
        .next_epoch(&mut observe)
        .err()
        .expect("such a rate diverges");
    let (TrainError::Diverged { step, .. } | TrainError::NotFinite { step, .. }) = error else {
        panic!("{error}")
    };
    assert!(
        seen < 100 && seen <= step + 16,
        "step {step} told at {seen}"
    );
    assert!(
        error.to_string().contains("lower `lr` (now 1000)"),
        "{error}"
    );
}

fn after_an_epoch() -> (Trainer, Checkpoint) {
    let mut trainer = trainer(&GPU, config(), images(4)).unwrap();
    let outcome = trainer.next_epoch(&mut go_on).unwrap();
    assert!(matches!(outcome, EpochOutcome::Done(_)));
    let checkpoint = trainer.checkpoint().unwrap();
    (trainer, checkpoint)
}

#[test]
fn a_checkpoint_with_numbers_that_no_training_leaves_is_refused() {
    let (mut trainer, sound) = after_an_epoch();
    let name = |part: &str| format!("{part}.layer4.1.conv2.lora_A");
    for (part, value) in [
        ("parameters", f32::NAN),
        ("first_moment", f32::NEG_INFINITY),
        ("second_moment", f32::INFINITY),
        ("second_moment", -1e-12),
    ] {
        let mut damaged = sound.clone();
        damaged.tensors.tensors.get_mut(&name(part)).unwrap().data[3] = value;
        let error = trainer.restore(&damaged).expect_err("refused");
        assert!(matches!(error, TrainError::Damaged(_)), "{error}");
        let text = error.to_string();
        assert!(
            text.contains(&format!("element 3 of `{}` is {value}", name(part))),
            "{text}"
        );
    }
    trainer.restore(&sound).unwrap();
}

#[test]
fn a_checkpoint_of_another_run_is_refused() {
    let (_, sound) = after_an_epoch();
    let with = |change: &dyn Fn(&mut TrainConfig), count: usize| {
        let mut config = config();
        change(&mut config);
        let mut trainer = trainer(&GPU, config, images(count)).unwrap();
        trainer.restore(&sound).map(drop)
    };
    with(&|_| (), 4).unwrap();
    let refused = |result: Result<(), TrainError>, parts: &str| {
        let error = result.expect_err(parts);
        assert!(matches!(error, TrainError::Checkpoint(_)), "{error}");
        assert!(error.to_string().contains(parts), "{error}");
    };
    refused(with(&|config| config.seed = 2, 4), "seed is 1, not 2");
    refused(
        with(&|config| config.epochs = 3, 4),
        "its epochs is 2, the run's 3",
    );
    refused(
        with(&|config| config.method = Method::Lora, 4),
        "its method is \"bayeslora\"",
    );
    refused(
        with(&|config| config.rank = 3, 4),
        "its rank is 2, the run's 3",
    );
    refused(
        with(&|_| (), 6),
        "4 steps in 1 epochs, and an epoch has 6 steps",
    );
    refused(
        with(&|config| config.batch_size = Some(2), 8),
        "its batch size is 1, the run's 2",
    );

    // An older one says less of itself.
    let mut old = sound.clone();
    old.extra = serde_json::Value::Null;
    old.epoch = 84;
    let error = trainer(&GPU, config(), images(4)).unwrap().restore(&old);
    refused(error.map(drop), "after epoch 84, and the run has 2");
}

#[test]
fn labels_and_sets_are_checked_at_the_door() {
    let wrong = Dataset::new(16, vec![0; 2 * 768], vec![0, 2], classes());
    let error = trainer(&GPU, config(), wrong.clone())
        .err()
        .expect("label 2 of 2 classes");
    assert!(
        matches!(
            error,
            TrainError::Set(SetError::Label {
                image: 1,
                label: 2,
                ..
            })
        ),
        "{error}"
    );
    let error = Trainer::new(
        &GPU,
        &tiny_backbone(),
        config(),
        images(4),
        Some(wrong),
        &mut go_on,
    );
    let error = error.err().expect("in the validation set");
    assert!(
        matches!(
            error,
            TrainError::Set(SetError::Label {
                set: "validation",
                ..
            })
        ),
        "{error}"
    );
    let error = trainer(&GPU, config(), images(0)).err().expect("no images");
    assert!(
        matches!(error, TrainError::Set(SetError::Empty { set: "training" })),
        "{error}"
    );

    let (trainer, _) = after_an_epoch();
    let predictor = Predictor::new(&GPU, &tiny_backbone(), &trainer.adapter().unwrap()).unwrap();
    let error = predictor
        .predict(images(0), Samples::new(2, 1), false)
        .expect_err("no images");
    assert!(matches!(error, PredictError::Empty), "{error}");
}

#[test]
fn an_adapter_with_impossible_numbers_is_refused() {
    let (trainer, _) = after_an_epoch();
    let sound = trainer.adapter().unwrap();
    let resnet = &tiny_backbone().resnet;
    exchange::from_file(resnet, &sound).unwrap();
    for alpha in [0.0, -1.0, f32::INFINITY, f32::NAN] {
        let mut adapter = sound.clone();
        adapter.lora_alpha = alpha;
        let error = exchange::from_file(resnet, &adapter).expect_err("a scale");
        assert!(error.to_string().contains("a scale of"), "{error}");
    }
    for resolution in [0, 31, 1 << 20, usize::MAX] {
        let mut adapter = sound.clone();
        adapter.resolution = resolution;
        let error = exchange::from_file(resnet, &adapter).expect_err("a resolution");
        assert!(error.to_string().contains("32 to 4096"), "{error}");
    }
}
