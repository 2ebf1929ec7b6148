//! Measured choices between kernels: what was fastest on this device, by subject.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::{Gpu, GpuError, Plan, Slot, cache};

/// Told what measuring does.
pub type TuningObserver = Box<dyn Fn(Tuning<'_>) + Send + Sync>;

/// A step of measuring.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tuning<'a> {
    /// The kernels of this subject are about to be measured.
    Begins(&'a str),
    /// A kernel computed something else than the plain one, by this much of the largest element. It is not used for the
    /// subject; either the kernel or the driver is at fault.
    Rejects {
        subject: &'a str,
        kernel: &'a str,
        error: f64,
    },
    /// Nothing is being measured any more.
    Ends,
}

/// What has been measured on a device. A subject is an operation with its shape, a choice the name of a kernel.
#[derive(Default)]
pub struct Choices(Mutex<State>);

#[derive(Default)]
struct State {
    measured: BTreeMap<String, String>,
    file: Option<PathBuf>,
    observer: Option<TuningObserver>,
}

impl Choices {
    /// The choice for a subject, if one has been measured.
    pub fn get(&self, subject: &str) -> Option<String> {
        self.lock().measured.get(subject).cloned()
    }

    /// Every choice that has been measured.
    pub fn measured(&self) -> BTreeMap<String, String> {
        self.lock().measured.clone()
    }

    /// Takes the choices in a JSON file, and writes those made from now on into it. A file that is
    /// not there, is damaged or cannot be written does no harm: all can be measured again.
    pub(super) fn keep_in(&self, file: PathBuf) {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let known: BTreeMap<String, String> = serde_json::from_str(&text).unwrap_or_default();
        let mut state = self.lock();
        state.measured.extend(known);
        state.file = Some(file);
    }

    /// From now on, choices that a plan needs and that have not been made are measured.
    pub fn tune(&self, observer: TuningObserver) {
        self.lock().observer = Some(observer);
    }

    /// Whether to measure `subject`; tells the observer.
    pub fn wants(&self, subject: &str) -> bool {
        let state = self.lock();
        if let Some(observer) = &state.observer {
            observer(Tuning::Begins(subject));
        }
        state.observer.is_some()
    }

    /// Tells the observer of a kernel that is not used.
    pub fn reject(&self, subject: &str, kernel: &str, error: f64) {
        if let Some(observer) = &self.lock().observer {
            observer(Tuning::Rejects {
                subject,
                kernel,
                error,
            });
        }
    }

    /// Ends a measurement: keeps its choice, or nothing where it failed.
    pub fn settle(&self, subject: &str, choice: Option<&str>) {
        let mut state = self.lock();
        if let Some(observer) = &state.observer {
            observer(Tuning::Ends);
        }
        let Some(choice) = choice else { return };
        state.measured.insert(subject.into(), choice.into());
        if let Some(file) = &state.file {
            let text = serde_json::to_vec_pretty(&state.measured);
            cache::write(file, &text.expect("strings are JSON"));
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The choices of one network's plans.
#[derive(Default)]
pub struct InUse(Mutex<Network>);

#[derive(Default)]
struct Network {
    /// Those of the run that goes on; they come before what the device has measured.
    given: BTreeMap<String, String>,
    used: BTreeMap<String, String>,
}

impl InUse {
    /// What plans have been made of, measured or not.
    pub fn used(&self) -> BTreeMap<String, String> {
        self.lock().used.clone()
    }

    /// Notes what a plan is made of.
    pub fn note(&self, subject: &str, choice: &str) {
        self.lock().used.insert(subject.into(), choice.into());
    }

    /// The choice for a subject, if one has been given.
    pub fn given(&self, subject: &str) -> Option<String> {
        self.lock().given.get(subject).cloned()
    }

    /// Takes over the choices of the run that goes on.
    pub fn give(&self, choices: &BTreeMap<String, String>) {
        self.lock().given.extend(choices.clone());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Network> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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

/// Floats of a result that are compared at its start, in its middle and at its end: edges and the inside of
/// a feature map. A large one would take longer to read back than to compute.
const COMPARED: usize = 1 << 20;

/// What is compared of a result: all of a small one, three parts of a large one.
///
/// # Errors
/// The GPU fails.
pub fn compared(plan: &Plan, result: Slot) -> Result<Vec<f32>, GpuError> {
    let floats = plan.floats(result);
    if floats <= 3 * COMPARED {
        return plan.read(result);
    }
    let starts = [0, (floats - COMPARED) / 2, floats - COMPARED];
    let parts = starts.map(|start| plan.read_part(result, start..start + COMPARED));
    let parts: Vec<Vec<f32>> = parts.into_iter().collect::<Result<_, _>>()?;
    Ok(parts.concat())
}

/// What measuring has found of the candidates.
#[derive(Debug)]
pub struct Ranking<K> {
    /// Those whose results agree, with their seconds per run, fastest first.
    pub sound: Vec<(K, f64)>,
    /// The others, with their largest error relative to the largest element.
    pub rejected: Vec<(K, f64)>,
}

/// Times the candidates whose results agree with what [`compared`] has read of a sound one.
///
/// # Errors
/// The GPU fails.
pub fn ranked<K>(
    gpu: &Gpu,
    expected: &[f32],
    candidates: Vec<Candidate<K>>,
) -> Result<Ranking<K>, GpuError> {
    let (mut sound, mut rejected) = (Vec::new(), Vec::new());
    for candidate in candidates {
        candidate.plan.run();
        let found = compared(&candidate.plan, candidate.result)?;
        match relative_error(expected, &found) {
            error if error <= candidate.tolerance => sound.push((candidate, f64::INFINITY)),
            error => rejected.push((candidate.kernel, error)),
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
    Ok(Ranking {
        sound: sound.into_iter().map(named).collect(),
        rejected,
    })
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
