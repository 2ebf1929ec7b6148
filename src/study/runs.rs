//! The runs of a study, in the order to do them.

use super::decay::with_decay;
use super::kappa::candidates;
use super::{CutTo, Settings, cuts_to};
use crate::train::kl::KlMultiplicity;
use crate::train::{KAPPA_PER_IMAGE, Method, TrainConfig};

/// A configuration to train with several seeds.
#[derive(Clone, Debug)]
pub struct RunSpec {
    /// Its directory, as in `lora-r8`.
    pub name: String,
    /// As tables name it.
    pub title: String,
    /// All but the seed.
    pub config: TrainConfig,
    /// 1 to this.
    pub seeds: u64,
    /// What the study's claims are about.
    pub is_headline: bool,
    /// Trained without two classes, to be asked about them.
    pub without_classes: bool,
    /// Whether all seeds together are a row too.
    pub ensemble: bool,
    /// What to predict with it; nothing where another entry has asked it already.
    pub asks: Vec<Ask>,
    /// How many of the seeds are cut further in every basis and order.
    pub cuts: u64,
    /// Cuts of every seed that have rows of their own.
    pub cut_to: Vec<CutTo>,
    /// How many of the seeds get Laplace posteriors.
    pub laplace: u64,
}

/// Which images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Images {
    Validation,
    Test,
    /// Those of the two classes that the run has not seen.
    HeldOutClasses,
    /// Each of the sets that are unlike the training images.
    Unfamiliar,
    /// Test images under every corruption at every severity.
    Corrupted,
}

/// Something to predict.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    pub of: Images,
    /// Of its images, from the first.
    pub images: Option<usize>,
    /// Gate samples; 0 for the mean weights.
    pub samples: usize,
    /// How many of the seeds.
    pub seeds: u64,
}

/// What the first runs have decided for the others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chosen {
    pub kl_multiplicity: KlMultiplicity,
    /// What `train` takes unasked.
    pub default_multiplicity: KlMultiplicity,
    /// Of plain LoRA, where the scale compares several.
    pub weight_decay: Option<f64>,
    /// Ranks that were left, a layer.
    pub rank_per_layer: usize,
}

/// Gate samples of a predictive.
pub const SAMPLES: usize = 8;
/// The most of the curve over their number.
pub(super) const MOST_SAMPLES: usize = 64;

/// The runs that kappa is chosen by: one seed, validation images alone.
pub fn candidates_of(settings: &Settings, train_images: usize) -> Vec<RunSpec> {
    // Whatever the default for few images is, a study of as many tries the same values.
    let kappa = KAPPA_PER_IMAGE * train_images as f64;
    let values = candidates(kappa, settings.kappa_factors).into_iter();
    values
        .map(|value| RunSpec {
            title: format!("BayesLoRA, rank {}, kappa {value} n", settings.rank),
            seeds: 1,
            asks: both(Images::Validation, None, 1),
            ..bayeslora(settings, settings.rank, value)
        })
        .collect()
}

/// All other runs.
pub fn runs(settings: &Settings, chosen: &Chosen) -> Vec<RunSpec> {
    let kappa = chosen.kl_multiplicity;
    let (many, few) = (settings.headline_seeds, settings.seeds);
    let plain = || lora(settings, settings.rank);
    let gated = || bayeslora(settings, settings.rank, kappa);
    let test = Some(settings.test_images);
    let mut runs = vec![
        RunSpec {
            is_headline: true,
            ensemble: true,
            seeds: many,
            cuts: settings.cut_seeds,
            asks: [
                mean(Images::Validation, None, many),
                mean(Images::Test, settings.headline_images, many),
            ]
            .into_iter()
            .chain(shifts(settings, 0))
            .collect(),
            ..plain()
        },
        RunSpec {
            is_headline: true,
            seeds: many,
            cuts: settings.cut_seeds,
            asks: both(Images::Validation, None, many)
                .into_iter()
                .chain(both(Images::Test, settings.headline_images, many))
                .chain(shifts(settings, SAMPLES))
                .chain([Ask {
                    of: Images::Test,
                    images: Some(settings.curve_images),
                    samples: MOST_SAMPLES,
                    seeds: few,
                }])
                .collect(),
            ..gated()
        },
    ];
    let other = |spec: RunSpec, gates: bool| {
        let ask = match gates {
            true => both,
            false => |of, images, seeds| vec![mean(of, images, seeds)],
        };
        RunSpec {
            asks: [
                ask(Images::Validation, None, few),
                ask(Images::Test, test, few),
            ]
            .concat(),
            ..spec
        }
    };
    if settings.head_alone {
        let title = "Head alone".into();
        runs.push(other(
            RunSpec {
                title,
                ..lora(settings, 0)
            },
            false,
        ));
    }
    if settings.breadth && chosen.default_multiplicity != kappa {
        let unasked = bayeslora(settings, settings.rank, chosen.default_multiplicity);
        let title = format!("{}, default kappa", unasked.title);
        runs.push(other(RunSpec { title, ..unasked }, true));
    }
    if let Some(patience) = settings.patience {
        runs.push(other(stopping(plain(), patience), false));
        runs.push(other(stopping(gated(), patience), true));
    }
    if let Some(decay) = chosen.weight_decay
        && decay != plain().config.weight_decay
    {
        runs.push(other(with_decay(settings, decay), false));
    }
    for rank in settings.other_ranks {
        for wide in [bayeslora(settings, *rank, kappa), lora(settings, *rank)] {
            let gated = wide.config.method.gates().is_some();
            let cut_to = cuts_to(gated, settings.cut_to);
            runs.push(other(RunSpec { cut_to, ..wide }, gated));
        }
    }
    for rank in settings.auto_ranks {
        runs.push(other(automatic(bayeslora(settings, *rank, kappa)), true));
        runs.push(other(automatic(lora(settings, *rank)), false));
    }
    let without = [
        RunSpec {
            name: "lora-without-two".into(),
            title: format!("{}, without two classes", plain().title),
            without_classes: true,
            asks: vec![
                mean(Images::Test, test, few),
                mean(Images::HeldOutClasses, test, few),
            ],
            ..plain()
        },
        RunSpec {
            name: "bayeslora-without-two".into(),
            title: format!("{}, without two classes", gated().title),
            without_classes: true,
            asks: [
                both(Images::Test, test, few),
                both(Images::HeldOutClasses, test, few),
            ]
            .concat(),
            ..gated()
        },
    ];
    if settings.without_classes {
        runs.extend(without);
    }
    // Nothing is trained or asked: posteriors are fitted to the first runs.
    runs.push(RunSpec {
        title: "Laplace around LoRA".into(),
        laplace: few,
        ..plain()
    });
    if !settings.gated_laplace.is_empty() {
        runs.push(RunSpec {
            title: "Last-layer Laplace on BayesLoRA".into(),
            laplace: few,
            ..gated()
        });
    }
    let noise = RunSpec {
        name: format!("weight-noise-r{}", settings.rank),
        title: "Weight noise".into(),
        config: TrainConfig {
            method: Method::WeightNoise,
            kl_multiplicity: Some(kappa),
            ..config(settings, settings.rank)
        },
        ..plain()
    };
    let dropout = RunSpec {
        name: format!("mc-dropout-r{}", settings.rank),
        title: "MC dropout of ranks".into(),
        config: TrainConfig {
            method: Method::McDropout,
            ..config(settings, settings.rank)
        },
        ..plain()
    };
    if settings.breadth {
        runs.push(other(dropout, true));
        runs.push(other(noise, true));
    }
    if let Some(rank) = settings.ensemble_rank {
        runs.push(RunSpec {
            ensemble: true,
            seeds: many,
            asks: vec![
                mean(Images::Validation, None, many),
                mean(Images::Test, test, many),
            ],
            ..lora(settings, rank)
        });
    }
    let fewer = chosen.rank_per_layer.max(1);
    if settings.breadth && fewer < settings.rank && settings.ensemble_rank != Some(fewer) {
        runs.push(other(lora(settings, fewer), false));
    }
    runs
}

fn config(settings: &Settings, rank: usize) -> TrainConfig {
    TrainConfig {
        resolution: settings.resolution,
        epochs: settings.epochs,
        validation: settings.validation,
        split_seed: Some(1),
        rank,
        ..TrainConfig::default()
    }
}

pub(super) fn lora(settings: &Settings, rank: usize) -> RunSpec {
    RunSpec {
        name: format!("lora-r{rank}"),
        title: format!("LoRA, rank {rank}"),
        config: TrainConfig {
            method: Method::Lora,
            ..config(settings, rank)
        },
        seeds: settings.seeds,
        is_headline: false,
        without_classes: false,
        ensemble: false,
        asks: Vec::new(),
        cuts: 0,
        cut_to: Vec::new(),
        laplace: 0,
    }
}

fn bayeslora(settings: &Settings, rank: usize, kappa: KlMultiplicity) -> RunSpec {
    RunSpec {
        name: format!("bayeslora-r{rank}-kappa-{kappa}"),
        title: format!("BayesLoRA, rank {rank}"),
        config: TrainConfig {
            method: Method::BayesLora,
            kl_multiplicity: Some(kappa),
            ..config(settings, rank)
        },
        ..lora(settings, rank)
    }
}

/// The same with `--rank auto`.
fn automatic(spec: RunSpec) -> RunSpec {
    spec.varied("-auto", " auto", |config| config.auto_rank = true)
}

/// The same with early stopping.
fn stopping(spec: RunSpec, patience: usize) -> RunSpec {
    spec.varied("-early-stopping", ", early stopping", |config| {
        config.patience = Some(patience);
    })
}

impl RunSpec {
    /// Another run with one option changed, which its directory and its title say at their ends.
    pub(super) fn varied(
        mut self,
        name: &str,
        title: &str,
        change: impl FnOnce(&mut TrainConfig),
    ) -> Self {
        self.name += name;
        self.title += title;
        change(&mut self.config);
        self
    }
}

pub(super) fn mean(of: Images, images: Option<usize>, seeds: u64) -> Ask {
    Ask {
        of,
        images,
        samples: 0,
        seeds,
    }
}

/// With the mean weights and with samples.
fn both(of: Images, images: Option<usize>, seeds: u64) -> Vec<Ask> {
    let mean = mean(of, images, seeds);
    let sampled = Ask {
        samples: SAMPLES,
        ..mean.clone()
    };
    vec![mean, sampled]
}

/// What is unlike the training images.
fn shifts(settings: &Settings, samples: usize) -> Vec<Ask> {
    let ask = |of, images| Ask {
        of,
        images,
        samples,
        seeds: settings.seeds,
    };
    let asks = [
        ask(Images::Unfamiliar, Some(settings.unfamiliar_images)),
        ask(Images::Corrupted, Some(settings.corrupted_images)),
    ];
    asks.into_iter()
        .filter(|ask| ask.images > Some(0))
        .collect()
}
