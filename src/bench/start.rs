//! From the start of a process to its answer for one image, with the driver's compiled kernels at hand and without.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

use super::measure::{Better, Effort, Row};
use super::{BenchError, Subject};

/// Runs `executable predict` (this program) on one image; the adapter is one that the same program has
/// trained for a moment.
pub(super) fn rows(subject: &Subject, executable: &Path) -> Result<Vec<Row>, BenchError> {
    let failed = |error: std::io::Error| BenchError::Start(error.to_string());
    let directory = tempfile::tempdir().map_err(failed)?;
    let (run, image) = (
        directory.path().join("run"),
        directory.path().join("image.png"),
    );
    let settings = &subject.settings;
    let call = |arguments: &[&OsStr], caches: Option<&Path>| -> Result<(), BenchError> {
        let output = Command::new(executable)
            .envs(caches.map(|caches| ("XDG_CACHE_HOME", caches)))
            .arg("--adapter")
            .arg(subject.gpu.options().adapter.to_string())
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .map_err(failed)?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        match output.status.success() {
            true => Ok(()),
            false => Err(BenchError::Start(complaint.into_owned())),
        }
    };
    let train = format!(
        "train --data sample --limit-train 20 --limit-test 10 --epochs 1 --augment none \
         --rank {} --resolution {} --targets {} --backbone-bits {} --out",
        settings.rank,
        settings.size,
        settings.targets.join(","),
        settings.backbone_bits
    );
    let train = train.split_whitespace().map(OsStr::new);
    let train: Vec<_> = train.chain([run.as_os_str()]).collect();
    call(&train, None)?;

    let images = subject.images().dataset;
    let side = images.side as u32;
    image::RgbImage::from_raw(side, side, images.image(0)?.into_owned())
        .expect("an image of the sample")
        .save(&image)
        .map_err(|error| BenchError::Start(error.to_string()))?;
    let predict = ["predict", "--json", "--run"].map(OsStr::new);
    let predict: Vec<_> = predict
        .into_iter()
        .chain([run.as_os_str(), image.as_os_str()])
        .collect();
    let effort = Effort {
        least: 7,
        seconds: 5.0,
        ..Effort::default()
    };
    let row = |name, seconds: &[f64]| Row::speed(name, "s", Better::Lower, seconds);
    let warm = effort.sample(|| call(&predict, None))?;
    let mut rows = vec![row("start/predict", &warm)];
    // Elsewhere the caches are not all where this program can name a place for them.
    if cfg!(target_os = "linux") {
        let effort = Effort { least: 3, ..effort };
        let cold = effort.sample(|| {
            let caches = tempfile::tempdir().map_err(failed)?;
            call(&predict, Some(caches.path()))
        })?;
        rows.push(row("start/predict, no cache", &cold));
    }
    Ok(rows)
}
