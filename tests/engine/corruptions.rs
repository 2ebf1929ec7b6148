//! The 15 corruptions against their f64 twins, and what must hold of them.

use std::sync::LazyLock;

use bayeslora::low_level::data::{
    self, Corruption, CorruptionError, Dataset, OpenOptions, SEVERITIES, corrupt,
};
use bayeslora::low_level::gpu::{Gpu, GpuOptions};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use crate::common;
use crate::reference::corruption::{self as twin, Draws, Picture};

/// Above 2^32, so that both words of the key count.
const SEED: u64 = 0x1234_5678_9abc_def0;

/// Of a level out of 255. Values and coordinates carry some ten roundings of 2^-24 each, and
/// neighbouring pixels differ by up to 255 levels.
const TOLERANCE: f64 = 1e-3;

static GPU: LazyLock<Gpu> = LazyLock::new(|| {
    common::gpu(GpuOptions {
        poison: true,
        ..GpuOptions::default()
    })
});

/// WebGPU's default limits, no feature, naga's checks.
static BARE: LazyLock<Gpu> = LazyLock::new(|| {
    common::gpu(GpuOptions {
        poison: true,
        extras: false,
        runtime_checks: true,
        ..GpuOptions::default()
    })
});

fn run(gpu: &Gpu, set: &Dataset, corruption: Corruption, severity: usize) -> Vec<u8> {
    let corrupted = corrupt(gpu, set, corruption, severity, SEED, &mut |_| ()).unwrap();
    assert_eq!(corrupted.side, set.side);
    assert_eq!(corrupted.labels, set.labels);
    assert_eq!(corrupted.classes, set.classes);
    pixels(&corrupted)
}

fn pixels(set: &Dataset) -> Vec<u8> {
    let all: Vec<usize> = (0..set.len()).collect();
    set.read(&all).unwrap()
}

/// Noise, a slope with noise, black, black beside white, dim noise, and so on.
fn made(side: usize, images: usize) -> Dataset {
    let mut random = Pcg64::seed_from_u64(side as u64);
    let mut pixels = Vec::new();
    for image in 0..images {
        for i in 0..side * side * 3 {
            let (noise, column) = (random.random_range(0..=255u32), i / 3 % side);
            pixels.push(match image % 5 {
                0 => noise as u8,
                1 => (200 * column / side + noise as usize / 5) as u8,
                2 => 0,
                3 => [0, 255][usize::from(2 * column > side)],
                _ => (noise / 10) as u8,
            });
        }
    }
    let classes = ["ants".to_owned(), "bees".to_owned()];
    let labels = (0..images as u32).map(|image| image % 2).collect();
    Dataset::new(side, pixels, labels, classes.into())
}

fn natural(images: usize) -> Dataset {
    let options = OpenOptions {
        limit_test: Some(images),
        ..OpenOptions::default()
    };
    data::open_test("sample", &options).unwrap()
}

/// How many of so many values may be another level than the twin says: where it rounds or compares on the
/// way, the last bits of f32 may fall on the other side. In JPEG that moves a whole block.
fn rounded_on_the_way(corruption: Corruption, values: usize) -> usize {
    match corruption {
        Corruption::GlassBlur | Corruption::Snow => values / 500,
        Corruption::JpegCompression => (values / 500).max(3 * 64),
        _ => 0,
    }
}

fn check(set: &Dataset, corruption: Corruption, severity: usize) {
    let name = format!(
        "{corruption} {severity}, {} images of {}",
        set.len(),
        set.side
    );
    let found = run(&GPU, set, corruption, severity);
    // A GPU's driver may fuse other multiplications and additions on a device with other features: on an NVIDIA H200 the two
    // differed for JPEG at severity 5. On software adapters they were never seen to.
    let bare = run(&BARE, set, corruption, severity);
    let differing = found.iter().zip(&bare).filter(|(a, b)| a != b).count();
    let allowed = match GPU.is_software() {
        true => 0,
        false => rounded_on_the_way(corruption, found.len()),
    };
    assert!(
        found.len() == bare.len() && differing <= allowed,
        "{name}: {differing} values differ between devices"
    );
    let mut wrong = 0;
    for (image, found) in found.chunks(set.image_bytes()).enumerate() {
        let picture = Picture::new(set.side, &set.image(image).unwrap());
        let draws = Draws {
            seed: SEED,
            image: image as u32,
            corruption: corruption as u32,
        };
        let expected = twin::corrupt(corruption.name(), &picture, severity, draws);
        wrong += found
            .iter()
            .zip(&expected)
            .filter(|(found, level)| {
                let allowed = (**level - TOLERANCE).floor()..=(**level + TOLERANCE).floor();
                !allowed.contains(&f64::from(**found))
            })
            .count();
    }
    assert!(
        wrong <= rounded_on_the_way(corruption, found.len()),
        "{name}: {wrong} of {} values",
        found.len()
    );
}

fn against_the_twin(corruption: Corruption) {
    for severity in SEVERITIES {
        for (side, images) in [(31, 5), (33, 1), (48, 2)] {
            check(&made(side, images), corruption, severity);
        }
        check(&natural(3), corruption, severity);
    }
}

macro_rules! twins {
    ($($name:ident: $corruption:ident),* $(,)?) => {
        $(#[test] fn $name() { against_the_twin(Corruption::$corruption); })*

        #[test]
        fn every_corruption_has_its_twin() {
            let names = [$((stringify!($name), Corruption::$corruption)),*];
            assert_eq!(names.map(|(_, corruption)| corruption), Corruption::ALL);
            for (name, corruption) in names {
                assert_eq!(name, corruption.to_string());
                assert_eq!(name.parse::<Corruption>().unwrap(), corruption);
            }
            let error = "mist".parse::<Corruption>().unwrap_err().to_string();
            assert!(error.contains("mist") && error.contains("zoom_blur"), "{error}");
        }
    };
}

twins! {
    gaussian_noise: GaussianNoise,
    shot_noise: ShotNoise,
    impulse_noise: ImpulseNoise,
    defocus_blur: DefocusBlur,
    glass_blur: GlassBlur,
    motion_blur: MotionBlur,
    zoom_blur: ZoomBlur,
    snow: Snow,
    frost: Frost,
    fog: Fog,
    brightness: Brightness,
    contrast: Contrast,
    elastic_transform: ElasticTransform,
    pixelate: Pixelate,
    jpeg_compression: JpegCompression,
}

fn mean_square(a: &[u8], b: &[u8]) -> f64 {
    let squares = a
        .iter()
        .zip(b)
        .map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2));
    squares.sum::<f64>() / a.len() as f64
}

#[test]
fn severities_grow() {
    use Corruption::*;
    let set = natural(100);
    let before = pixels(&set);
    for corruption in Corruption::ALL {
        let changes: Vec<f64> = SEVERITIES
            .map(|severity| mean_square(&before, &run(&GPU, &set, corruption, severity)))
            .collect();
        println!("{corruption:18} {changes:.1?}");
        assert!(changes[0] > 1.0, "{corruption}: {changes:?}");
        match corruption {
            // More blur of pixels shuffled alike takes away from the change; a second pass adds.
            GlassBlur => assert!(changes[3] > changes[1] && changes[4] > changes[2]),
            // From the fourth on the image is darkened as much as the ice lightens it.
            Frost => assert!(changes[..3].is_sorted()),
            // The published affine maps shrink, and moved edges are most of the change.
            ElasticTransform => assert!(changes.iter().rev().is_sorted()),
            _ => assert!(changes.is_sorted(), "{corruption}: {changes:?}"),
        }
    }
}

/// Images of 200 pixels are corrupted six at a time.
#[test]
fn batches_change_nothing() {
    let (all, few) = (made(200, 8), made(200, 3));
    for corruption in Corruption::ALL {
        let mut done = Vec::new();
        let corrupted = corrupt(&GPU, &all, corruption, 4, 7, &mut |n| done.push(n)).unwrap();
        assert_eq!(done, [6, 8]);
        let alone = corrupt(&GPU, &few, corruption, 4, 7, &mut |_| ()).unwrap();
        let bytes = few.len() * few.image_bytes();
        assert!(
            pixels(&corrupted)[..bytes] == pixels(&alone),
            "{corruption}"
        );
    }
}

#[test]
fn seeds_and_images_draw_anew() {
    use Corruption::*;
    let one = natural(1);
    let twice = one.subset(&[0, 0]);
    for corruption in Corruption::ALL {
        let drawn = !matches!(
            corruption,
            DefocusBlur | ZoomBlur | Brightness | Contrast | Pixelate | JpegCompression
        );
        let with = |seed| {
            let corrupted = corrupt(&GPU, &twice, corruption, 5, seed, &mut |_| ()).unwrap();
            pixels(&corrupted)
        };
        let (first, again, other) = (with(1), with(1), with(2));
        assert!(first == again, "{corruption}");
        assert_eq!(first != other, drawn, "{corruption}");
        assert_ne!(with(1 << 32) == first, drawn, "{corruption}");
        let (left, right) = first.split_at(one.image_bytes());
        assert_eq!(left != right, drawn, "{corruption}");
    }
}

/// The published means and deviations, by the law of large numbers.
#[test]
fn noise_has_its_moments() {
    let (side, level) = (200, 102.0);
    let classes = ["ants".to_owned()];
    let grey = vec![level as u8; side * side * 3];
    let set = Dataset::new(side, grey, vec![0], classes.into());
    let moments = |corruption, severity| {
        let values = run(&GPU, &set, corruption, severity);
        let count = values.len() as f64;
        let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / count;
        let square = values.iter().map(|v| (f64::from(*v) - mean).powi(2));
        // Rounded down, and the variance of rounding.
        (mean + 0.5, square.sum::<f64>() / count - 1.0 / 12.0)
    };
    for (severity, deviation) in SEVERITIES.zip([0.04, 0.06, 0.08, 0.09, 0.10]) {
        let (mean, variance) = moments(Corruption::GaussianNoise, severity);
        let expected = (255.0f64 * deviation).powi(2);
        assert!((mean - level).abs() < 0.4, "{mean}");
        assert!((variance / expected - 1.0).abs() < 0.02, "{variance}");
    }
    for (severity, counts) in SEVERITIES.zip([500.0, 250.0, 100.0, 75.0, 50.0]) {
        let (mean, variance) = moments(Corruption::ShotNoise, severity);
        let expected = 255.0 * level / counts;
        assert!((mean - level).abs() < 0.7, "{mean}");
        // Counts are nearly whole levels apart: rounding down adds up to a level across them.
        assert!((variance / expected - 1.0).abs() < 0.06, "{variance}");
    }
    for (severity, amount) in SEVERITIES.zip([0.01, 0.02, 0.03, 0.05, 0.07]) {
        let values = run(&GPU, &set, Corruption::ImpulseNoise, severity);
        for extreme in [0, 255] {
            let count = values.iter().filter(|value| **value == extreme).count();
            let share = count as f64 / values.len() as f64;
            assert!((share / (amount / 2.0) - 1.0).abs() < 0.15, "{share}");
        }
    }
}

#[test]
fn tiny_images_and_empty_sets_pass() {
    for corruption in Corruption::ALL {
        for side in [1, 2, 5] {
            let set = made(side, 4);
            assert_eq!(run(&GPU, &set, corruption, 5).len(), 4 * side * side * 3);
        }
        assert!(run(&GPU, &made(32, 0), corruption, 1).is_empty());
    }
}

#[test]
fn severities_are_one_to_five() {
    for severity in [0, 6] {
        let error = corrupt(&GPU, &made(5, 1), Corruption::Fog, severity, 1, &mut |_| ());
        let error = error.expect_err("no such severity");
        assert!(matches!(error, CorruptionError::Severity { .. }));
        assert_eq!(
            error.to_string(),
            format!("severity {severity}; expected 1 to 5")
        );
    }
}
