//! Measured choices between kernels: what was fastest on this device, by subject.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::{Gpu, GpuError, Plan, Slot};

/// Told what is about to be measured.
pub type TuningObserver = Box<dyn Fn(&str) + Send + Sync>;

/// The choices of a device, shared by all its plans. A subject is an operation with its shape, a
/// choice the name of a kernel.
#[derive(Default)]
pub struct Choices {
    table: Mutex<BTreeMap<String, String>>,
    tuning: Mutex<Option<TuningObserver>>,
}

impl Choices {
    /// The choice for a subject, if there is one.
    pub fn get(&self, subject: &str) -> Option<String> {
        self.lock().get(subject).cloned()
    }

    pub fn insert(&self, subject: &str, choice: &str) {
        self.lock().insert(subject.into(), choice.into());
    }

    /// All choices there are.
    pub fn all(&self) -> BTreeMap<String, String> {
        self.lock().clone()
    }

    pub fn extend(&self, choices: &BTreeMap<String, String>) {
        self.lock().extend(choices.clone());
    }

    /// From now on, a plan that needs a choice nobody has made has it measured.
    pub fn tune(&self, observer: TuningObserver) {
        *self.tuning.lock().unwrap_or_else(PoisonError::into_inner) = Some(observer);
    }

    /// Whether to measure `subject`; tells the observer.
    pub fn wants(&self, subject: &str) -> bool {
        let tuning = self.tuning.lock().unwrap_or_else(PoisonError::into_inner);
        tuning.as_ref().map(|observer| observer(subject)).is_some()
    }

    /// Adds the choices that [`Choices::write`] left in a file; none where there is no file or it is
    /// damaged, since they can be measured again.
    pub fn read(&self, path: &Path) {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        if let Ok(choices) = serde_json::from_str(&text) {
            self.extend(&choices);
        }
    }

    /// Writes all choices to a file, as JSON.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        // Whoever reads meanwhile sees the old file or the new one.
        let partial = path.with_extension(format!("{}.partial", std::process::id()));
        std::fs::write(&partial, serde_json::to_string_pretty(&self.all())?)?;
        std::fs::rename(partial, path)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, String>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A kernel to be measured: a plan of the work with it, and where its result is.
pub struct Candidate<K> {
    pub kernel: K,
    pub plan: Plan,
    pub result: Slot,
    /// Largest error that its rounding explains, relative to the largest element.
    pub tolerance: f64,
}

/// Timed runs of each candidate; the fastest one counts, since noise only adds.
const RUNS: usize = 5;

/// The candidates whose results agree with `expected` and their seconds a run, fastest first.
///
/// # Errors
/// The GPU fails.
pub fn ranked<K>(
    gpu: &Gpu,
    expected: &[f32],
    candidates: Vec<Candidate<K>>,
) -> Result<Vec<(K, f64)>, GpuError> {
    let mut sound = Vec::new();
    for candidate in candidates {
        candidate.plan.run();
        let found = candidate.plan.read(candidate.result)?;
        if relative_error(expected, &found) <= candidate.tolerance {
            sound.push((candidate, f64::INFINITY));
        }
    }
    // In turns, so that a disturbance hits them all.
    for _ in 0..RUNS {
        for (candidate, best) in &mut sound {
            let start = Instant::now();
            candidate.plan.run();
            gpu.wait()?;
            *best = best.min(start.elapsed().as_secs_f64());
        }
    }
    sound.sort_by(|a, b| a.1.total_cmp(&b.1));
    let named = |(candidate, seconds): (Candidate<K>, f64)| (candidate.kernel, seconds);
    Ok(sound.into_iter().map(named).collect())
}

/// Largest error relative to the largest element; NaN anywhere is infinite.
fn relative_error(expected: &[f32], found: &[f32]) -> f64 {
    let (mut worst, mut largest) = (0f64, f64::MIN_POSITIVE);
    for (expected, found) in expected.iter().zip(found) {
        let error = (f64::from(*expected) - f64::from(*found)).abs();
        worst = worst.max(if error.is_nan() { f64::INFINITY } else { error });
        largest = largest.max(f64::from(expected.abs()));
    }
    worst / largest
}
