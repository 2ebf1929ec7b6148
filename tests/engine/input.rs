//! Where the images are, on the GPU, in host memory or in files, changes no bit of what is computed.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use bayeslora::low_level::data::{self, Dataset, OpenOptions};
use bayeslora::low_level::gpu::{Gpu, GpuOptions};
use bayeslora::low_level::predict::{PredictError, Samples, Source};
use bayeslora::low_level::train::{
    Augment, EpochOutcome, EpochReport, Progress, TrainConfig, TrainError, Trainer,
};
use image::RgbImage;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use crate::common;
use crate::properties::{GPU, tiny_backbone};

/// Odd, so that an image does not end with a word of the GPU.
const SIDE: usize = 33;
const BATCH: usize = 8;

/// Two classes of 22 and 21 training images in PNG files, and a few to test.
fn write_folder(root: &Path) {
    let mut random = Pcg64::seed_from_u64(1);
    for (part, counts) in [("train", [22, 21]), ("test", [3, 4])] {
        for (class, count) in ["ants", "bees"].iter().zip(counts) {
            let directory = root.join(part).join(class);
            fs::create_dir_all(&directory).unwrap();
            for number in 0..count {
                let mut pixels = vec![0; SIDE * SIDE * 3];
                random.fill(&mut pixels[..]);
                let image = RgbImage::from_raw(SIDE as u32, SIDE as u32, pixels).unwrap();
                image
                    .save(directory.join(format!("{number:02}.png")))
                    .unwrap();
            }
        }
    }
}

fn open(root: &Path, host_memory: u64) -> (Dataset, Dataset) {
    let options = OpenOptions {
        side: SIDE,
        host_memory: Some(host_memory),
        ..OpenOptions::default()
    };
    let splits = data::open(root.to_str().unwrap(), &options).unwrap();
    assert_eq!(splits.train.is_in_memory(), host_memory > 0);
    (splits.train, splits.test)
}

fn config(prefix_cache: u64, resident_images: u64) -> TrainConfig {
    TrainConfig {
        resolution: 32,
        epochs: 2,
        batch_size: Some(BATCH),
        rank: 3,
        prefix_cache,
        resident_images,
        augment: match prefix_cache {
            0 => Augment::Standard,
            _ => Augment::Flip,
        },
        ..TrainConfig::default()
    }
}

fn go_on(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn next(trainer: &mut Trainer) -> Result<EpochReport, TrainError> {
    match trainer.next_epoch(&mut go_on)? {
        EpochOutcome::Done(report) => Ok(*report),
        _ => panic!("an epoch is left"),
    }
}

fn trainer(gpu: &Gpu, (train, test): (Dataset, Dataset), config: TrainConfig) -> Trainer {
    Trainer::new(gpu, &tiny_backbone(), config, train, Some(test), &mut go_on).unwrap()
}

/// The bits of a run: losses and validation scores of its epochs, the adapter, and a prediction.
fn bits(gpu: &Gpu, root: &Path, host_memory: u64, config: TrainConfig) -> (Vec<u64>, Vec<u32>) {
    let resident = config.resident_images > 0;
    let cached = config.prefix_cache > 0;
    let mut trainer = trainer(gpu, open(root, host_memory), config);
    assert_eq!(trainer.training_set().is_resident(), resident);
    assert_eq!(trainer.training_set().is_cached(), cached);
    let reports = [next(&mut trainer).unwrap(), next(&mut trainer).unwrap()];
    let scores = reports
        .iter()
        .flat_map(|report| [report.loss, report.nll.unwrap()]);
    let scores = scores.map(f64::to_bits).collect();
    let mut end: Vec<u32> = Vec::new();
    for tensor in trainer.checkpoint().unwrap().tensors.tensors.values() {
        end.extend(tensor.data.iter().map(|value| value.to_bits()));
    }
    let prediction = trainer
        .predictor()
        .predict(open(root, host_memory).1, Samples::new(3, 2), true)
        .unwrap();
    for values in [prediction.mean, prediction.covariance_trace.unwrap()] {
        end.extend(values.iter().map(|value| value.to_bits()));
    }
    (scores, end)
}

#[test]
fn the_place_of_the_images_changes_no_bit() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    write_folder(root);
    let expected = bits(&GPU, root, 1 << 20, config(0, 0));
    for (host_memory, resident) in [(1 << 20, 1 << 20), (0, 0), (0, 1 << 20)] {
        let found = bits(&GPU, root, host_memory, config(0, resident));
        assert!(found == expected, "host {host_memory}, GPU {resident}");
    }
    let expected = bits(&GPU, root, 1 << 20, config(1 << 20, 0));
    for (host_memory, resident) in [(0, 0), (1 << 20, 1 << 20), (0, 1 << 20)] {
        let found = bits(&GPU, root, host_memory, config(1 << 20, resident));
        assert!(
            found == expected,
            "cached features, host {host_memory}, GPU {resident}"
        );
    }
}

#[test]
fn images_in_several_buffers_change_no_bit() {
    // The largest tensor of a batch just fits, and 40 of the 43 images.
    let limits = wgpu::Limits {
        max_storage_buffer_binding_size: 32 * 32 * 16 * BATCH as u64,
        ..Default::default()
    };
    let gpu = common::gpu(GpuOptions {
        extras: false,
        limits: Some(limits),
        ..Default::default()
    });
    let directory = tempfile::tempdir().unwrap();
    write_folder(directory.path());
    let root = directory.path();
    let trainer = trainer(&gpu, open(root, 1 << 20), config(0, 1 << 20));
    let dispatches = trainer.step().plan().dispatches().iter();
    let prepare = dispatches.filter(|dispatch| dispatch.label == "prepare images");
    assert_eq!(prepare.count(), 2);
    let expected = bits(&gpu, root, 1 << 20, config(0, 0));
    assert!(expected == bits(&gpu, root, 0, config(0, 1 << 20)));
}

#[test]
fn features_in_several_buffers_change_no_bit() {
    // The largest tensor of a batch just fits.
    let largest = 32 * 32 * 16 * BATCH;
    let limits = wgpu::Limits {
        max_storage_buffer_binding_size: largest as u64,
        ..Default::default()
    };
    let gpu = common::gpu(GpuOptions {
        extras: false,
        limits: Some(limits),
        ..Default::default()
    });
    let directory = tempfile::tempdir().unwrap();
    write_folder(directory.path());
    let root = directory.path();
    let trainer = trainer(&gpu, open(root, 1 << 20), config(1 << 20, 1 << 20));
    let cut = trainer.predictor().cut();
    let bytes = 2 * trainer.network().resnet.cut_map(cut, 32).floats();
    // Of 43 images under two views.
    let pieces = (43usize * 2).div_ceil(largest / bytes);
    assert!(pieces > 1, "{pieces} of {bytes} bytes a row");
    let dispatches = trainer.step().plan().dispatches().iter();
    let unpack = dispatches.filter(|dispatch| dispatch.label == "unpack features");
    assert_eq!(unpack.count(), pieces);
    let expected = bits(&gpu, root, 1 << 20, config(1 << 20, 0));
    assert!(expected == bits(&gpu, root, 0, config(1 << 20, 1 << 20)));
}

#[test]
fn features_lie_where_there_is_room_for_them() {
    let directory = tempfile::tempdir().unwrap();
    write_folder(directory.path());
    let start = |host: u64, gpu: u64| {
        let sets = open(directory.path(), 1 << 20);
        trainer(&GPU, sets, config(host, gpu))
    };
    let trainer = start(0, 0);
    let cut = trainer.predictor().cut();
    let map = trainer.network().resnet.cut_map(cut, 32);
    // Training images under two views, those for validation under one.
    let [train, validation] = [43 * 2, 7].map(|rows| 2 * (map.floats() * rows) as u64);
    let images = (43 * SIDE * SIDE * 3) as u64;
    let place = |set: &Source| (set.is_cached(), set.is_resident());
    let (on_gpu, on_host, uploaded) = ((true, true), (true, false), (false, false));
    for (host, gpu, expected) in [
        (1, train + validation, [on_gpu, on_gpu]),
        (validation, train + validation - 1, [on_gpu, on_host]),
        (validation - 1, train, [on_gpu, uploaded]),
        (train + validation, validation - 1, [on_host, on_host]),
        (train, validation, [on_host, on_gpu]),
        (train - 1, images, [(false, true), on_host]),
        // Nothing is cached, whatever room there is.
        (0, 1 << 30, [(false, true), (false, true)]),
    ] {
        let trainer = start(host, gpu);
        let sets = [Some(trainer.training_set()), trainer.validation_set()];
        let found = sets.map(|set| place(set.unwrap()));
        assert_eq!(found, expected, "host {host}, GPU {gpu}");
    }
}

#[test]
fn beyond_the_budget_images_are_uploaded_with_each_batch() {
    let directory = tempfile::tempdir().unwrap();
    write_folder(directory.path());
    let bytes = (43 * SIDE * SIDE * 3) as u64;
    for (budget, resident) in [(bytes - 1, false), (bytes, true)] {
        let sets = open(directory.path(), 1 << 20);
        let trainer = trainer(&GPU, sets, config(0, budget));
        assert_eq!(trainer.training_set().is_resident(), resident);
    }
}

#[test]
fn an_epoch_says_how_busy_the_gpu_was() {
    let directory = tempfile::tempdir().unwrap();
    write_folder(directory.path());
    for host_memory in [0, 1 << 20] {
        let mut trainer = trainer(&GPU, open(directory.path(), host_memory), config(0, 0));
        let report = next(&mut trainer).unwrap();
        println!("{} {}", report.utilisation, report.input_wait_seconds);
        assert!(report.utilisation > 0.0 && report.utilisation < 1.0);
        assert!(report.input_wait_seconds >= 0.0 && report.input_wait_seconds < report.seconds);
    }
}

#[test]
fn a_file_that_goes_bad_while_training_is_named() {
    let directory = tempfile::tempdir().unwrap();
    write_folder(directory.path());
    let sets = open(directory.path(), 0);
    let source = Source::images(sets.1.clone(), 32);
    let mut trainer = trainer(&GPU, sets, config(0, 0));
    next(&mut trainer).unwrap();
    fs::write(directory.path().join("train/ants/03.png"), "no more").unwrap();
    let error = next(&mut trainer).expect_err("a file went bad");
    assert!(matches!(error, TrainError::Predict(PredictError::Data(_))));
    assert!(error.to_string().contains("03.png"), "{error}");
    // Evaluating reads other files.
    assert!(
        trainer
            .predictor()
            .log_probs(&source, Samples::MEAN, &mut |_| ())
            .is_ok()
    );
}

/// More images than one upload takes.
#[test]
fn resident_images_are_predicted_as_uploaded_ones() {
    let mut random = Pcg64::seed_from_u64(2);
    let mut pixels = vec![0; 700 * 5 * 5 * 3];
    random.fill(&mut pixels[..]);
    let classes = ["ants".to_owned(), "bees".to_owned()];
    let set = Dataset::new(5, pixels, vec![0; 700], classes.into());
    let directory = tempfile::tempdir().unwrap();
    write_folder(directory.path());
    let trainer = trainer(&GPU, open(directory.path(), 1 << 20), config(0, 0));
    let (predictor, network) = (trainer.predictor(), trainer.network());
    let mut budget = config(0, 1 << 20).budget();
    let resident = Source::within(
        &mut budget,
        network,
        predictor.cut(),
        set.clone(),
        32,
        &[],
        |_| (),
    );
    let [resident, uploaded] = [resident.unwrap(), Source::images(set, 32)];
    assert!(resident.is_resident() && budget.resident < 1 << 20);
    let answer = |source| {
        predictor
            .log_probs(source, Samples::new(2, 1), &mut |_| ())
            .unwrap()
    };
    assert!(answer(&resident) == answer(&uploaded));
}
