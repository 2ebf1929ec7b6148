//! One handle stops whatever waits for the device, from any thread, and leaves what can be gone on from.

use std::ops::ControlFlow;
use std::thread;
use std::time::{Duration, Instant};

use bayeslora::low_level::formats::{FormatError, RunDir};
use bayeslora::low_level::gpu::{Gpu, GpuError, GpuOptions, StopHandle};
use bayeslora::low_level::predict::{PredictError, Predictor, Samples, Source};
use bayeslora::low_level::train::{
    EpochOutcome, EpochReport, Progress, TrainConfig, TrainError, Trainer,
};

use super::subject::{ADAPTER, SIDE, config, go_on, images, trainer};
use crate::common;
use crate::properties::{GPU, tiny_backbone};

fn epoch(trainer: &mut Trainer) -> f64 {
    match trainer.next_epoch(&mut go_on).unwrap() {
        EpochOutcome::Done(report) => report.loss,
        _ => panic!("an epoch is left"),
    }
}

#[test]
fn a_stopped_epoch_is_trained_again_to_the_same_bits() {
    let mut whole = trainer(&GPU, config());
    let expected = [epoch(&mut whole), epoch(&mut whole)];

    let stop = StopHandle::new();
    let mut trainer = trainer(&GPU.stopped_by(&stop), config());
    assert_eq!(epoch(&mut trainer), expected[0]);
    let checkpoint = trainer.checkpoint().unwrap();
    let mut observe = |progress| {
        if matches!(progress, Progress::Training { step: 3, .. }) {
            stop.stop();
        }
        ControlFlow::Continue(())
    };
    let outcome = trainer.next_epoch(&mut observe).unwrap();
    assert!(matches!(outcome, EpochOutcome::Interrupted));
    // Even when work may go on again: the parameters are those of no epoch.
    stop.reset();
    let refused = trainer.next_epoch(&mut go_on).err();
    assert!(matches!(refused, Some(TrainError::BetweenEpochs)));
    let refused = trainer.checkpoint().err();
    assert!(matches!(refused, Some(TrainError::BetweenEpochs)));
    trainer.restore(&checkpoint).unwrap();
    assert_eq!(epoch(&mut trainer), expected[1]);
    assert_eq!(
        trainer.adapter().unwrap().layers,
        whole.adapter().unwrap().layers
    );
}

#[test]
fn a_stopped_run_goes_on_from_its_directory() {
    let mut whole = trainer(&GPU, config());
    let mut seen = 0;
    let counted = whole.train(&mut go_on, |trainer, report| -> Result<(), TrainError> {
        seen += 1;
        assert_eq!([report.epoch, trainer.epochs_done()], [seen; 2]);
        Ok(())
    });
    assert!(counted.unwrap());
    assert_eq!(seen, 2);

    let folder = tempfile::tempdir().unwrap();
    let mut stopped = trainer(&GPU, config());
    let checkpoint = stopped.checkpoint().unwrap();
    let run = RunDir::create(
        folder.path().join("run"),
        "",
        |run| -> Result<(), FormatError> { run.write_checkpoint(&checkpoint) },
    );
    let run = run.unwrap();
    let mut observe = |progress| match progress {
        Progress::Training {
            epoch: 2, step: 3, ..
        } => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    let mut told = Vec::new();
    let mut tell = |_: &Trainer, report: &EpochReport| -> Result<(), TrainError> {
        told.push(report.epoch);
        Ok(())
    };
    assert!(!stopped.train_in(&run, &mut observe, &mut tell).unwrap());
    let mut resumed = trainer(&GPU, config());
    assert_eq!(resumed.resume(&run, false).unwrap().epoch, 1);
    assert!(resumed.train_in(&run, &mut go_on, &mut tell).unwrap());
    assert_eq!(told, [1, 2]);
    assert_eq!(run.read_metrics().unwrap().len(), 2);
    let kept = run.read_adapter(SIDE).unwrap();
    assert_eq!(kept.layers, whole.adapter().unwrap().layers);

    // A directory that is gone: the epoch is said to be lost, and training ends.
    std::fs::remove_dir_all(run.path()).unwrap();
    let mut homeless = trainer(&GPU, config());
    let tell =
        |_: &Trainer, _: &EpochReport| -> Result<(), TrainError> { panic!("nothing is kept") };
    let lost = homeless.train_in(&run, &mut go_on, tell).err();
    assert!(
        matches!(lost, Some(TrainError::Unkept { epoch: 1, .. })),
        "{lost:?}"
    );
}

#[test]
fn a_failed_epoch_is_not_gone_on_from() {
    let wild = TrainConfig {
        lr: 1e3,
        ..config()
    };
    let mut trainer = trainer(&GPU, wild);
    let checkpoint = trainer.checkpoint().unwrap();
    let failed = trainer.next_epoch(&mut go_on).err();
    assert!(
        matches!(
            failed,
            Some(TrainError::Diverged { .. } | TrainError::NotFinite { .. })
        ),
        "{failed:?}"
    );
    let refused = trainer.next_epoch(&mut go_on).err();
    assert!(matches!(refused, Some(TrainError::BetweenEpochs)));
    trainer.restore(&checkpoint).unwrap();
    assert!(trainer.checkpoint().is_ok());
}

/// Short submissions are waited for where they are made, too.
#[test]
fn caching_and_prediction_end_where_they_are_asked_to() {
    for submission in [None, Some(Duration::from_millis(2))] {
        let options = GpuOptions {
            submission,
            ..Default::default()
        };
        ends_where_it_is_asked_to(&common::gpu(options));
    }
}

fn ends_where_it_is_asked_to(device: &Gpu) {
    let stop = StopHandle::new();
    let gpu = device.stopped_by(&stop);
    let predictor = Predictor::new(&gpu, &tiny_backbone(), &ADAPTER).unwrap();
    let source = Source::images(images(400), 32);
    let samples = Samples::new(16, 1);
    let asked = thread::scope(|scope| {
        let work = scope.spawn(|| {
            let started = Instant::now();
            while started.elapsed() < Duration::from_secs(60) {
                if let Err(error) = predictor.log_probs(&source, samples, &mut |_| ()) {
                    return Some(error);
                }
            }
            None
        });
        thread::sleep(Duration::from_millis(200));
        stop.stop();
        work.join().unwrap()
    });
    let error = asked.expect("the handle was not heard");
    assert!(error.is_stop() && matches!(error, PredictError::Gpu(GpuError::Stopped)));
    let mut told = 0;
    let mut observe = |progress| {
        told += usize::from(matches!(progress, Progress::Caching { .. }));
        ControlFlow::Continue(())
    };
    let cached = TrainConfig {
        prefix_cache: 1 << 30,
        resident_images: 0,
        ..config()
    };
    let set = images(24);
    let result = Trainer::new(&gpu, &tiny_backbone(), cached, set, None, &mut observe);
    assert!(result.err().expect("stopped").is_stop());
    stop.reset();
    predictor
        .log_probs(&source, Samples::MEAN, &mut |_| ())
        .unwrap();
    // Other clones of the device heard nothing of it.
    device.wait().unwrap();
}
