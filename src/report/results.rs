//! `results.json`: everything that the report of a study shows, and nothing else.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::metrics::{Interval, ReliabilityBin, RiskCoverage};

/// A finished or unfinished study.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Results {
    pub study: Study,
    /// The table, in the order to print it.
    pub rows: Vec<Row>,
    /// Paired over images and seeds.
    pub comparisons: Vec<Comparison>,
    /// How kappa was chosen, on validation images.
    pub kappa: Vec<KappaPoint>,
    /// How the weight decay of a row of plain LoRA was chosen, on validation images.
    pub weight_decays: Vec<DecayPoint>,
    pub prunes: Vec<PruneRecord>,
    /// Series of runs that differ in their initial rank alone, in its order.
    pub final_ranks: Vec<FinalRanks>,
    /// Ranks cut in several bases and orders, without training. Earlier versions wrote `criteria`.
    #[serde(alias = "criteria")]
    pub cuts: Vec<CutPoint>,
    pub sample_counts: Vec<SampleCurve>,
    pub unfamiliar: Vec<UnfamiliarSet>,
    pub corruptions: Vec<CorruptionCurve>,
    pub examples: Vec<Example>,
    pub targets: Vec<Target>,
    /// What is missing, in words; empty where the study ran to its end.
    pub missing: Vec<String>,
}

/// What was run, on what.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Study {
    /// `paper`, `desk`, `long`, `small`, `unfamiliar` or `smoke`.
    pub scale: String,
    /// What to type to get the same, one command per line.
    pub commands: Vec<String>,
    /// Name and version of this program.
    pub program: String,
    /// GPU, driver and system of each machine that took part.
    pub environments: Vec<String>,
    /// Of the last run, `2026-11-24`.
    pub date: String,
    pub backbone: String,
    pub data: String,
    pub classes: Vec<String>,
    pub train_images: usize,
    pub validation_images: usize,
    pub test_images: usize,
    /// Pixels a side.
    pub resolution: usize,
    pub epochs: usize,
    /// Of the bootstrap over images.
    pub resamples: usize,
    /// What kind of bootstrap intervals these are, in words. Earlier versions wrote percentile intervals and nothing here.
    pub intervals: String,
    /// What decided between the values of kappa, in words. Earlier versions left it out.
    pub kappa_by: String,
    /// Computing time of all runs, in seconds.
    pub seconds: f64,
}

/// One line of the table: a method with a way to predict.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Row {
    /// Unique, as in `bayeslora-r8/samples-8`.
    pub name: String,
    /// As tables and legends name it: `BayesLoRA, 8 samples`.
    pub title: String,
    /// `lora`, `bayeslora`, `mc-dropout`, `ensemble`, `laplace`, `weight-noise`: what a colour stands for.
    pub family: String,
    /// On the whole test set with all seeds.
    pub headline: bool,
    pub seeds: Vec<u64>,
    pub test_images: usize,
    /// By the names of [`Evaluation`](crate::metrics::Evaluation), and `e_aurc`, `risk_80`, `risk_90`,
    /// `risk_95`, `temperature`, `prior_precision` where there are such.
    pub scores: BTreeMap<String, Score>,
    /// Of `nll`, `accuracy`, `ece`, `brier`, `aurc`: where paired intervals decide for this row against every
    /// other on as many images.
    pub best_in: Vec<String>,
    /// Ranks left.
    pub rank: Score,
    /// sum_i 1/(1 + alpha_i)
    pub soft_rank: Score,
    /// Scalars that are trained, the head apart.
    pub adapter_parameters: f64,
    /// A training step with all ranks from cached features, in milliseconds. Absent where it was not timed.
    pub step_milliseconds: Option<f64>,
    /// A test image with everything below the adapters, in milliseconds. Absent where it was not timed.
    pub image_milliseconds: Option<f64>,
    /// All seeds together, 15 bins of equal width.
    pub reliability: Vec<ReliabilityBin>,
    /// Mean over seeds, at about a hundred coverages.
    pub risk_coverage: Vec<RiskCoverage>,
    /// Over the epochs; empty where nothing was trained for this row.
    pub training: Vec<EpochPoint>,
}

/// A number over seeds and images.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Score {
    /// Over seeds.
    pub mean: f64,
    /// Over seeds (divided by n - 1); 0 for one seed.
    pub sd: f64,
    /// 95 % bootstrap interval of the mean over test images; absent where it has no images. Of calibration errors, its
    /// estimate is debiased and [`mean`](Self::mean) is not.
    pub interval: Option<Interval>,
    /// In the order of the row's seeds.
    pub by_seed: Vec<f64>,
}

/// An epoch of training, on validation images with the mean weights.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EpochPoint {
    pub epoch: usize,
    pub accuracy: Score,
    pub nll: Score,
    pub ece: Score,
    pub train_accuracy: Score,
    pub rank: Score,
    pub soft_rank: Score,
    /// Ranks left by layer, mean over seeds, in the order of the network.
    pub ranks: Vec<(String, f64)>,
}

/// row - baseline on the same images and seeds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Comparison {
    /// Names of rows.
    pub row: String,
    pub baseline: String,
    /// `nll`, `accuracy`, `ece`, `brier`, `aurc`.
    pub measure: String,
    /// Mean over the seeds that both have, resampled over images.
    pub difference: Option<Interval>,
    /// By seed.
    pub by_seed: Vec<f64>,
    /// `better`, `worse`, or `undecided` where the interval holds 0 or, corrected for the other comparisons of the measure,
    /// would. Earlier versions did not correct.
    pub verdict: Verdict,
}

/// Whether the row beats the baseline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Better,
    Worse,
    #[default]
    Undecided,
}

/// A value of `--kl-multiplicity` that was tried, on validation images.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct KappaPoint {
    pub kl_multiplicity: String,
    pub rank: f64,
    pub soft_rank: f64,
    pub accuracy: f64,
    /// Of the mean weights, and of the samples.
    pub nll_mean: f64,
    pub nll: f64,
    pub ece: f64,
    /// The value that the other runs use.
    pub chosen: bool,
}

/// A value of `--weight-decay` that was tried with plain LoRA, on validation images.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DecayPoint {
    pub weight_decay: f64,
    pub accuracy: f64,
    pub nll: f64,
    pub temperature: f64,
    /// At that temperature: what decides.
    pub tempered_nll: f64,
    pub chosen: bool,
}

/// One cut of ranks while training; validation images, mean weights, nothing trained in between.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PruneRecord {
    /// The trained row, `bayeslora-r8`.
    pub run: String,
    pub seed: u64,
    pub epoch: usize,
    pub ranks_before: usize,
    pub ranks_after: usize,
    pub accuracy_before: f64,
    pub accuracy_after: f64,
    pub nll_before: f64,
    pub nll_after: f64,
}

/// What is left of an initial rank.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FinalRanks {
    /// `BayesLoRA, rank auto`
    pub series: String,
    pub family: String,
    /// The trained run, `bayeslora-r16-kappa-0.005`.
    pub run: String,
    /// Of every layer.
    pub initial_rank: usize,
    /// Left in all layers together.
    pub ranks: Score,
    pub adapter_parameters: f64,
    /// Scores on test images, BayesLoRA with gate samples; the second at a temperature.
    pub test_images: usize,
    pub nll: Score,
    pub tempered_nll: Option<Score>,
    pub accuracy: Score,
}

/// A trained adapter cut to this many ranks in one basis and order, without training; mean weights on validation images, mean
/// over seeds. Each line begins with a point before any cut.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CutPoint {
    /// The trained row, `lora-r8`. Earlier versions cut BayesLoRA alone and left it out, as everything that is optional
    /// here.
    pub run: String,
    pub title: String,
    pub family: String,
    /// `none`, `svd` or `evidence`; left out where it is `none` by earlier versions.
    pub gauge: String,
    /// `alpha` (earlier `log-alpha`), `magnitude`, `random`, `singular-value` or `evidence`.
    #[serde(alias = "criterion")]
    pub order: String,
    /// Of the ranks, what is left.
    pub share: Option<f64>,
    pub ranks: f64,
    /// Numbers that the adapter has left, mixed gates included.
    pub scalars: Option<f64>,
    pub accuracy: Score,
    pub nll: Score,
    /// Of the cut model from the uncut one, nats per image.
    pub kl: Option<Score>,
    /// The NLL and the KL as the gates' gradients foretell them.
    pub predicted_nll: Option<Score>,
    pub predicted_kl: Option<Score>,
    pub test: Option<CutEffect>,
    /// The same with gate samples, where half of the ranks is left.
    pub sampled: Option<CutEffect>,
}

/// What a cut does on some images; changes are paired over images and seeds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CutEffect {
    pub images: usize,
    pub nll: Score,
    pub nll_change: Score,
    pub accuracy: Score,
    pub accuracy_change: Score,
    pub kl: Score,
}

/// Scores over the number of gate samples.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SampleCurve {
    pub title: String,
    pub family: String,
    pub test_images: usize,
    pub points: Vec<SamplePoint>,
}

/// See [`SampleCurve`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SamplePoint {
    /// 0 for the mean weights.
    pub samples: usize,
    pub accuracy: Score,
    pub nll: Score,
    pub ece: Score,
    /// Time of a prediction in single deterministic passes, frozen layers counted once in each; absent
    /// where not measured.
    pub passes: Option<f64>,
}

/// Images of other kinds than those trained on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UnfamiliarSet {
    pub name: String,
    pub title: String,
    pub images: usize,
    /// The backbone was trained on such images: unfamiliar to the task, not to the network.
    pub like_pretraining: bool,
    pub detections: Vec<Detection>,
    pub histograms: Vec<Histogram>,
}

/// How well one score of one row tells them from the test set; higher scores mean less familiar.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Detection {
    pub row: String,
    pub title: String,
    pub family: String,
    /// `max_probability` (negated), `entropy`, `mutual_information`, `covariance_trace`; of features `energy`, `mahalanobis`,
    /// `neighbours`.
    pub score: String,
    pub auroc: Score,
    pub fpr95: Score,
    /// AUROC minus that of `max_probability`, paired over images and seeds; absent for itself, and in files of earlier versions.
    pub difference: Option<Score>,
}

/// One score's distribution over the test set and the unfamiliar set, first seed; the outermost bins hold what lies beyond.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Histogram {
    pub row: String,
    pub title: String,
    pub score: String,
    /// One more than there are bins.
    pub edges: Vec<f64>,
    pub familiar: Vec<usize>,
    pub unfamiliar: Vec<usize>,
}

/// One row under one corruption.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CorruptionCurve {
    pub row: String,
    pub title: String,
    pub family: String,
    pub corruption: String,
    pub test_images: usize,
    /// Severities 1 to 5, mean over seeds.
    pub accuracy: Vec<f64>,
    pub nll: Vec<f64>,
    pub ece: Vec<f64>,
}

/// A test image that the model is very sure or very unsure of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Example {
    /// `most-sure`, `least-sure`, `sure-and-wrong`
    pub group: String,
    pub label: String,
    pub answer: String,
    pub confidence: f64,
    pub mutual_information: f64,
    /// Pixels a side.
    pub side: usize,
    /// RGB, `[side, side, 3]`, base64.
    pub pixels: String,
}

/// What the study set out to show.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Target {
    /// `NLL below LoRA's, paired interval without 0`
    pub aim: String,
    /// `-0.012 (-0.018 to -0.006)`
    pub found: String,
    /// `None` where it cannot be said from these runs.
    pub reached: Option<bool>,
}
