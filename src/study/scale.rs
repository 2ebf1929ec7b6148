//! How large a study is.

use serde::{Deserialize, Serialize};

use super::{CUT_SHARES, KAPPA_FACTORS, KappaBy, SAMPLED_SHARE};
use crate::predict::laplace::LaplaceStructure::{
    AdapterDiag, AdapterKron, Gates, LastLayerFull, LastLayerKron,
};
use crate::predict::laplace::{LaplaceConfig, LaplaceStructure, PriorPrecision};

/// What machine a study is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scale {
    /// The paper's: 224 pixels, 40 epochs, all images. For a GPU.
    Paper,
    /// About three hours of two processor cores.
    Desk,
    /// As desk, trained four times as long, where plain LoRA overfits: about a day of two processor cores.
    Long,
    /// A study each for a few hundred to two thousand training images, as somebody's own photographs are: some hours of
    /// two processor cores.
    Small,
    /// LoRA and BayesLoRA alone, on all classes and without two: how well they tell unfamiliar images. Half an hour of two
    /// processor cores.
    Unfamiliar,
    /// Some minutes: whether everything works, nothing to conclude from.
    Smoke,
}

/// Every structure as `laplace` fits it unasked, and the adapters with a precision that suits validation
/// images too: the likeliest one makes them unsure.
const LAPLACE: [LaplaceConfig; 7] = [
    LaplaceConfig::new(LastLayerFull),
    LaplaceConfig::new(LastLayerKron),
    LaplaceConfig::new(AdapterDiag),
    LaplaceConfig::new(AdapterKron),
    by_validation(AdapterDiag),
    by_validation(AdapterKron),
    LaplaceConfig::new(Gates),
];

/// The full one takes a minute for its eigenvectors alone.
const QUICK_LAPLACE: [LaplaceConfig; 2] =
    [LaplaceConfig::new(LastLayerKron), LaplaceConfig::new(Gates)];

const GATED_LAPLACE: [LaplaceConfig; 1] = [LaplaceConfig::new(LastLayerFull)];

/// Decoupled decay takes lr x decay of every weight at each step: over 20 epochs of 157 steps with a mean rate of .001 about
/// 3 % at .01, the default, 27 % at .1 and 96 % at 1.
const WEIGHT_DECAYS: [f64; 5] = [0.0, 0.01, 0.1, 0.3, 1.0];

const fn by_validation(structure: LaplaceStructure) -> LaplaceConfig {
    LaplaceConfig {
        precision: PriorPrecision::Validation,
        ..LaplaceConfig::new(structure)
    }
}

/// The sizes that a [`Scale`] stands for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Whether there are rows beyond the comparison of LoRA, BayesLoRA and Laplace: other noise, as few ranks as are left.
    pub breadth: bool,
    /// Whether there are runs without two classes, to be asked about these.
    pub without_classes: bool,
    /// Training and validation images together; all where `None`.
    pub images: Option<usize>,
    /// Share of them that choices are made on.
    pub validation: f64,
    pub resolution: usize,
    pub epochs: usize,
    pub rank: usize,
    /// Whether there is a row without ranks, whose head is all that is trained.
    pub head_alone: bool,
    /// Epochs without a lower tempered validation NLL that rows with early stopping wait; no such rows where `None`.
    pub patience: Option<usize>,
    /// Of plain LoRA, one of which gets a row of its own by tempered validation NLL; none are compared where it is empty.
    pub weight_decays: &'static [f64],
    /// Other initial ranks, to see whether the final one depends on them.
    pub other_ranks: &'static [usize],
    /// Initial ranks of rows that find their own.
    pub auto_ranks: &'static [usize],
    /// Of the rows that the paper's claims are about, on the whole test set.
    pub headline_seeds: u64,
    /// Of the others.
    pub seeds: u64,
    /// Of the headline rows, how many are cut further.
    pub cut_seeds: u64,
    /// Shares of the ranks that their cuts leave.
    pub cut_shares: &'static [f64],
    /// Of the members of a second ensemble of LoRAs, which together have about as many ranks as one; none where `None`.
    pub ensemble_rank: Option<usize>,
    /// Ranks that runs of the other, larger ranks are cut to, as rows of the table.
    pub cut_to: &'static [usize],
    /// Multiples of [`KAPPA_PER_IMAGE`](crate::train::KAPPA_PER_IMAGE) N that are tried as kappa, beside one KL per gate.
    pub kappa_factors: &'static [f64],
    pub kappa_by: KappaBy,
    /// Test images of the headline rows; all where `None`.
    pub headline_images: Option<usize>,
    /// Test images of the others.
    pub test_images: usize,
    /// Of each unfamiliar set.
    pub unfamiliar_images: usize,
    /// Of each corruption at each severity.
    pub corrupted_images: usize,
    /// For the curve over the number of samples.
    pub curve_images: usize,
    /// Of the bootstrap over images.
    pub resamples: usize,
    /// Posteriors around the plain runs.
    pub laplace: &'static [LaplaceConfig],
    /// Posteriors of the head around gated runs, under draws of the gates.
    pub gated_laplace: &'static [LaplaceConfig],
}

/// Training images of the studies of scale small, and epochs: fewer images get more of them, so that all make some hundred
/// steps of 32 images (280, 384 and 756).
const SMALL: [(usize, usize); 3] = [(200, 40), (500, 24), (2_000, 12)];

const SMALL_LAPLACE: [LaplaceConfig; 1] = [LaplaceConfig::new(LastLayerKron)];

/// In some hundred steps with a mean rate of .001 the decays take about .3, 25, 60 and 95 % of the weights.
const SMALL_WEIGHT_DECAYS: [f64; 4] = [0.01, 1.0, 3.0, 10.0];

/// Training images from which there are cuts and rows that find their ranks. With fewer, hardly a rank is left to be cut.
const RANKS_FROM: usize = 2_000;

/// So many training images, and a fifth as many validation images beside them.
fn small(images: usize, epochs: usize) -> Settings {
    Settings {
        breadth: false,
        without_classes: false,
        images: Some(images + images / 5),
        validation: 1.0 / 6.0,
        epochs,
        head_alone: true,
        patience: Some(epochs / 4),
        weight_decays: &SMALL_WEIGHT_DECAYS,
        other_ranks: &[],
        auto_ranks: match images >= RANKS_FROM {
            true => &[8, 16, 32],
            false => &[],
        },
        headline_seeds: 5,
        seeds: 3,
        cut_seeds: match images >= RANKS_FROM {
            true => 5,
            false => 0,
        },
        cut_shares: &[0.5, 0.25],
        // The fewer the images, the more the KL helps.
        kappa_factors: &[0.3, 1.0, 3.0, 10.0, 30.0],
        kappa_by: KappaBy::TemperedNll,
        headline_images: Some(2_000),
        unfamiliar_images: 0,
        corrupted_images: 0,
        curve_images: 200,
        laplace: &SMALL_LAPLACE,
        gated_laplace: &SMALL_LAPLACE,
        ..Scale::Desk.settings()
    }
}

impl Scale {
    pub fn name(self) -> &'static str {
        match self {
            Self::Paper => "paper",
            Self::Desk => "desk",
            Self::Long => "long",
            Self::Small => "small",
            Self::Unfamiliar => "unfamiliar",
            Self::Smoke => "smoke",
        }
    }

    /// The studies that it consists of, each with its folder where there are several.
    pub fn parts(self) -> Vec<(Option<String>, Settings)> {
        let small = |(images, epochs)| (Some(format!("n-{images}")), small(images, epochs));
        match self {
            Self::Small => SMALL.map(small).to_vec(),
            _ => vec![(None, self.settings())],
        }
    }

    /// Of a single study; at scale small of the largest.
    pub fn settings(self) -> Settings {
        match self {
            Self::Paper => Settings {
                breadth: true,
                without_classes: true,
                images: None,
                validation: 0.1,
                resolution: 224,
                epochs: 40,
                rank: 8,
                head_alone: false,
                patience: None,
                weight_decays: &[],
                other_ranks: &[16, 32],
                auto_ranks: &[],
                headline_seeds: 5,
                seeds: 5,
                cut_seeds: 5,
                cut_shares: &CUT_SHARES,
                ensemble_rank: None,
                cut_to: &[],
                kappa_factors: &KAPPA_FACTORS,
                kappa_by: KappaBy::FewestRanks,
                headline_images: None,
                test_images: 10_000,
                unfamiliar_images: 10_000,
                corrupted_images: 2_000,
                curve_images: 10_000,
                resamples: 1_000,
                laplace: &LAPLACE,
                gated_laplace: &[],
            },
            Self::Desk => Settings {
                breadth: true,
                without_classes: true,
                images: Some(12_000),
                validation: 1.0 / 6.0,
                resolution: 64,
                epochs: 5,
                rank: 8,
                head_alone: false,
                patience: None,
                weight_decays: &[],
                other_ranks: &[16, 32],
                auto_ranks: &[],
                headline_seeds: 5,
                seeds: 3,
                cut_seeds: 3,
                cut_shares: &CUT_SHARES,
                ensemble_rank: None,
                cut_to: &[],
                kappa_factors: &KAPPA_FACTORS,
                kappa_by: KappaBy::FewestRanks,
                headline_images: None,
                test_images: 2_000,
                unfamiliar_images: 1_000,
                corrupted_images: 200,
                curve_images: 1_000,
                resamples: 500,
                laplace: &LAPLACE,
                gated_laplace: &[],
            },
            Self::Long => Settings {
                epochs: 20,
                head_alone: true,
                patience: Some(5),
                weight_decays: &WEIGHT_DECAYS,
                auto_ranks: &[8, 16, 32],
                cut_seeds: 5,
                ensemble_rank: Some(2),
                cut_to: &[8, 4],
                gated_laplace: &GATED_LAPLACE,
                kappa_by: KappaBy::TemperedNll,
                ..Self::Desk.settings()
            },
            Self::Small => {
                let [.., (images, epochs)] = SMALL;
                small(images, epochs)
            }
            Self::Unfamiliar => Settings {
                breadth: false,
                images: Some(1_200),
                epochs: 6,
                other_ranks: &[],
                headline_seeds: 3,
                cut_seeds: 0,
                // Twice .0000005 a training image: the default of so few.
                kappa_factors: &[2.0],
                kappa_by: KappaBy::TemperedNll,
                headline_images: Some(500),
                test_images: 500,
                unfamiliar_images: 500,
                corrupted_images: 0,
                curve_images: 20,
                resamples: 1_000,
                laplace: &[],
                ..Self::Desk.settings()
            },
            Self::Smoke => Settings {
                breadth: true,
                without_classes: true,
                images: Some(300),
                validation: 1.0 / 3.0,
                resolution: 32,
                epochs: 2,
                rank: 4,
                head_alone: false,
                patience: None,
                weight_decays: &[],
                other_ranks: &[],
                auto_ranks: &[],
                headline_seeds: 2,
                seeds: 1,
                cut_seeds: 1,
                cut_shares: &[SAMPLED_SHARE],
                ensemble_rank: None,
                cut_to: &[],
                kappa_factors: &[1.0],
                kappa_by: KappaBy::FewestRanks,
                headline_images: Some(100),
                test_images: 50,
                unfamiliar_images: 20,
                corrupted_images: 2,
                curve_images: 20,
                resamples: 100,
                laplace: &QUICK_LAPLACE,
                gated_laplace: &[],
            },
        }
    }
}
