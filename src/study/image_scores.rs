//! What is kept of each image beside predictions: traces of equation (16), and scores of features, fitted to a run's own
//! training images.

use std::path::{Path, PathBuf};

use super::place::{is_whole, read};
use super::{Images, Place, RunSpec, StudyError};

/// The columns of a file, each higher for the less familiar: the energy of the logits, the Mahalanobis distance, and that to the
/// nearest training images.
pub const FEATURE_SCORES: [&str; 3] = ["energy", "mahalanobis", "neighbours"];

/// As [`FEATURE_SCORES`], `[n]` each; `None` where a score could not be fitted.
pub type FeatureScores<T> = [Option<Vec<T>>; FEATURE_SCORES.len()];

impl RunSpec {
    /// Images of each set whose features are looked at with this seed, at most; `None` where it is asked about nothing unfamiliar.
    pub fn looks_at(&self, seed: u64) -> Option<usize> {
        let asks = self.asks.iter().filter(|ask| seed <= ask.seeds);
        let asks = asks.filter(|ask| matches!(ask.of, Images::HeldOutClasses | Images::Unfamiliar));
        asks.map(|ask| ask.images.unwrap_or(usize::MAX)).max()
    }
}

impl Place {
    /// Where the traces of equation (16) are, `[n, 1]`.
    fn trace_file(&self, set: &str) -> PathBuf {
        self.predictions().join(format!("{set}.trace.npy"))
    }

    pub fn has_trace(&self, set: &str) -> bool {
        is_whole(&self.trace_file(set))
    }

    /// Those of the first `n` images.
    ///
    /// # Errors
    /// They are not there, damaged, or of fewer images.
    pub fn read_trace(&self, set: &str, n: usize) -> Result<Vec<f64>, StudyError> {
        let path = self.trace_file(set);
        let [trace] = read_columns(&path, n)?;
        Ok(trace)
    }

    /// # Errors
    /// They cannot be written.
    pub fn write_trace(&self, set: &str, values: &[f32]) -> Result<(), StudyError> {
        self.put(&self.trace_file(set), &[values.len(), 1], values)
    }

    /// `[n, 3]`
    fn feature_scores_file(&self, set: &str) -> PathBuf {
        self.predictions().join(format!("{set}.features.npy"))
    }

    /// Whether they are there with their checksum, without which they are made again.
    pub fn has_feature_scores(&self, set: &str) -> bool {
        is_whole(&self.feature_scores_file(set))
    }

    /// Keeps the scores of `n` images.
    ///
    /// # Errors
    /// They cannot be written.
    ///
    /// # Panics
    /// If a column has not `n` values.
    pub fn write_feature_scores(
        &self,
        set: &str,
        n: usize,
        scores: &FeatureScores<f32>,
    ) -> Result<(), StudyError> {
        let value = |image: usize, column: &Option<Vec<f32>>| {
            column.as_ref().map_or(f32::NAN, |values| values[image])
        };
        let rows = (0..n).flat_map(|image| scores.each_ref().map(|column| value(image, column)));
        let path = self.feature_scores_file(set);
        self.put(&path, &[n, FEATURE_SCORES.len()], &rows.collect::<Vec<_>>())
    }

    /// Those of the first `n` images.
    ///
    /// # Errors
    /// They are not there, damaged, of fewer images, or not what [`write_feature_scores`](Self::write_feature_scores) keeps.
    pub fn read_feature_scores(
        &self,
        set: &str,
        n: usize,
    ) -> Result<FeatureScores<f64>, StudyError> {
        let path = self.feature_scores_file(set);
        let columns = read_columns::<{ FEATURE_SCORES.len() }>(&path, n)?;
        let mut scores = FeatureScores::default();
        for (name, (values, score)) in FEATURE_SCORES
            .iter()
            .zip(columns.into_iter().zip(&mut scores))
        {
            if values.iter().all(|value| value.is_finite()) {
                *score = Some(values);
            } else if !values.iter().all(|value| value.is_nan()) {
                return Err(StudyError::Fault {
                    path,
                    what: format!("has a score ({name}) that is no number"),
                });
            }
        }
        Ok(scores)
    }
}

/// Of a file with K values an image, those of the first `n` images, value by value.
fn read_columns<const K: usize>(path: &Path, n: usize) -> Result<[Vec<f64>; K], StudyError> {
    let found = read(path)?;
    let shape = (found.samples, found.examples, found.classes);
    match shape {
        (1, images, columns) if columns == K && images >= n => {}
        (samples, images, columns) => {
            return Err(StudyError::Fault {
                path: path.to_owned(),
                what: format!(
                    "has {samples} x {images} x {columns} values, and {K} of each of {n} images are asked for"
                ),
            });
        }
    }
    let values = |column| found.values.iter().skip(column).step_by(K).take(n);
    Ok(std::array::from_fn(|column| {
        values(column).map(|value| f64::from(*value)).collect()
    }))
}
