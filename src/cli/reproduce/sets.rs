//! The images of a study.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use bayeslora::low_level::data::{self, Corruption, Dataset, OpenOptions, SEVERITIES, Splits};
use bayeslora::low_level::gpu::Gpu;
use bayeslora::low_level::study::Settings;
use rand::{Rng as _, SeedableRng as _};
use rand_pcg::Pcg64;

use super::options::{Named, Options};
use crate::cli::context::Bar;
use crate::cli::train_options::Inputs;

/// Classes that some runs are trained without.
const HELD_OUT: usize = 2;

/// What the study's runs read.
pub struct Sets {
    /// All classes, and the same without the last two.
    pub all: Part,
    pub without: Part,
    /// Test images of these two.
    pub held_out: Dataset,
    /// By name.
    pub unfamiliar: Vec<(String, Dataset)>,
}

/// A set to train on with its test set, of which every beginning is class-balanced.
pub struct Part {
    pub name: String,
    pub inputs: Inputs,
    pub train: Dataset,
    pub test: Dataset,
}

impl Sets {
    pub fn open(options: &Options, settings: &Settings) -> Result<Self> {
        let bar = Bar::default();
        let progress = |done, total| bar.show("reading images", done, total);
        let inputs = Inputs {
            data: options.data.clone(),
            backbone: options.backbone.clone(),
            limit_train: settings.images,
            ..Inputs::default()
        }
        .absolute()?;
        let Splits {
            train, test, name, ..
        } = inputs.open(settings.resolution, &progress)?;
        let test = test.interleaved();
        let names = train.classes[train.classes.len().saturating_sub(HELD_OUT)..].to_vec();
        let (_, known) = train.part_classes(&names)?;
        let (held_out, known_test) = test.part_classes(&names)?;
        let side = test.side;
        let mut unfamiliar = Vec::new();
        let asked = settings.unfamiliar_images > 0;
        for Named { name, data } in options.unfamiliar.iter().filter(|_| asked) {
            let options = OpenOptions {
                side,
                limit_test: Some(settings.unfamiliar_images),
                progress: Some(&progress),
                ..OpenOptions::default()
            };
            let set = data::open_test(data, &options);
            let set = set.with_context(|| format!("--unfamiliar {name}={data}"))?;
            unfamiliar.push((name.clone(), set));
        }
        if asked {
            unfamiliar.push(("noise".into(), noise(settings.unfamiliar_images, side)));
        }
        Ok(Self {
            without: Part {
                name: name.clone(),
                inputs: Inputs {
                    hold_out_classes: Some(names),
                    ..inputs.clone()
                },
                train: known,
                test: known_test,
            },
            all: Part {
                name,
                inputs,
                train,
                test,
            },
            held_out,
            unfamiliar,
        })
    }
}

/// Every channel of every pixel uniform in 0 to 255.
fn noise(images: usize, side: usize) -> Dataset {
    let mut pixels = vec![0; images * side * side * 3];
    Pcg64::seed_from_u64(1).fill_bytes(&mut pixels);
    Dataset::new(
        side,
        pixels,
        vec![0; images],
        Arc::from(["noise".to_owned()]),
    )
}

/// The first test images under every corruption at every severity, one after the other: the same images
/// in every cell.
pub fn corrupted(gpu: &Gpu, test: &Dataset, images: usize) -> Result<Dataset> {
    const SEED: u64 = 1;
    let indices: Vec<usize> = (0..images.min(test.len())).collect();
    let (clean, everything) = (test.subset(&indices), indices);
    let bar = Bar::default();
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for (done, corruption) in Corruption::ALL.into_iter().enumerate() {
        for severity in SEVERITIES {
            let worse = data::corrupt(gpu, &clean, corruption, severity, SEED, &mut |_| ())?;
            pixels.extend(worse.read(&everything)?);
            labels.extend(worse.labels);
        }
        bar.show("corrupting test images", done + 1, Corruption::ALL.len());
    }
    Ok(Dataset::new(
        test.side,
        pixels,
        labels,
        test.classes.clone(),
    ))
}
