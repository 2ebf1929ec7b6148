//! The paper's comparison: which runs it takes, what they leave, and what that says.
//!
//! A study is a directory: `runs/NAME/seed-N` are ordinary run directories, each with the predictions
//! that the measures need (`predictions/SET.mean.npy`, `predictions/SET.samples-8.npy`, `predictions/SET.features.npy`). Everything
//! else follows from these files, without a GPU.

mod cost;
mod cuts;
mod decay;
mod image_scores;
mod kappa;
pub mod measure;
mod place;
mod posteriors;
mod records;
mod runs;
mod scale;

pub use cost::{Cost, StepCost};
pub use cuts::{CUT_SHARES, CutLine, CutRecord, CutTo, SAMPLED_SHARE, cut_lines, cuts_to};
pub use decay::decay_candidates;
pub use image_scores::{FEATURE_SCORES, FeatureScores};
pub use kappa::{KAPPA_FACTORS, KappaBy, candidates, default_multiplicity, fewest_ranks, lowest};
pub use place::{Place, Stored, StudyError, read_study, write_study};
pub use posteriors::Fit;
pub use records::{final_epoch, is_trained};
pub use runs::{Ask, Chosen, Images, RunSpec, SAMPLES, candidates_of, runs};
pub use scale::{Scale, Settings};
