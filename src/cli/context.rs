//! What the commands share: the device, signals, progress bars.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result, ensure};
use bayeslora::low_level::data::Dataset;
use bayeslora::low_level::formats::{Adapter, Head, Undo, printable};
use bayeslora::low_level::gpu::{self, AdapterChoice, Gpu, GpuOptions, Tuning};
use bayeslora::low_level::model::Backbone;
use bayeslora::low_level::train::Progress;
use bayeslora::wgpu;
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::live::Live;
use super::location::Location;
use super::output;
#[cfg(unix)]
use super::signals;

/// `--precision`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Precision {
    F32,
    F16,
}

impl From<Precision> for gpu::Precision {
    fn from(precision: Precision) -> Self {
        match precision {
            Precision::F32 => Self::F32,
            Precision::F16 => Self::F16,
        }
    }
}

/// The variable by which programs of wgpu are told the back ends to use: names between commas.
const BACKENDS: &str = "WGPU_BACKEND";

/// Of the back ends that WGPU_BACKEND names those that the kernels run on; all of them where it names none.
pub fn backends() -> Result<wgpu::Backends> {
    let names = std::env::var_os(BACKENDS).unwrap_or_default();
    let names = names.to_string_lossy();
    if names.trim().is_empty() {
        return Ok(wgpu::Backends::PRIMARY);
    }
    let mut usable = wgpu::Backends::empty();
    for name in names.split(',').map(str::trim) {
        let backend = wgpu::Backends::from_comma_list(name);
        ensure!(
            !backend.is_empty(),
            "{BACKENDS}={names}: {name:?} is no back end; there are vulkan, metal and dx12"
        );
        usable |= backend & wgpu::Backends::PRIMARY;
    }
    ensure!(
        !usable.is_empty(),
        "{BACKENDS}={names}: the kernels run on vulkan, metal and dx12 only; name one of them or unset it"
    );
    Ok(usable)
}

/// The options of the whole program, and whether a signal has asked to stop.
pub struct Context {
    adapter: AdapterChoice,
    precision: Option<gpu::Precision>,
    tune: bool,
    stop: Arc<AtomicBool>,
    graceful: Arc<AtomicBool>,
    undo: Arc<Mutex<Option<Undo>>>,
}

/// See [`Context::stop_gracefully`].
pub struct Graceful(Arc<AtomicBool>);

impl Drop for Graceful {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl Context {
    pub fn new(adapter: Option<String>, precision: Option<Precision>, tune: bool) -> Self {
        let adapter = adapter.unwrap_or_default().parse().unwrap_or_default();
        Self {
            adapter,
            precision: precision.map(Into::into),
            tune,
            stop: Arc::default(),
            graceful: Arc::default(),
            undo: Arc::default(),
        }
    }

    /// Opens the chosen adapter, with the kernel choices measured on it before.
    pub fn gpu(&self) -> Result<Gpu> {
        self.open(self.adapter.clone())
    }

    /// The same with another adapter.
    pub fn open(&self, adapter: AdapterChoice) -> Result<Gpu> {
        self.open_at(adapter, self.precision.unwrap_or_default())
    }

    fn open_at(&self, adapter: AdapterChoice, precision: gpu::Precision) -> Result<Gpu> {
        let gpu = Gpu::open(GpuOptions {
            backends: backends()?,
            adapter,
            precision,
            cache: cache_folder(),
            ..Default::default()
        })?;
        ensure!(
            precision == gpu::Precision::F32 || gpu.has(wgpu::Features::SHADER_F16),
            "--precision f16: {} has no f16 shaders; leave it out",
            gpu.info().name
        );
        if self.tune {
            gpu.keep_choices();
        }
        Ok(gpu)
    }

    /// The same for long work, for which it pays to measure the kernels of unknown shapes first. The defaults for software
    /// adapters have been measured, and they compile too slowly for it.
    pub fn tuned_gpu(&self) -> Result<Gpu> {
        self.tuned_gpu_at(self.precision.unwrap_or_default())
    }

    /// The same at the precision of a run.
    pub fn tuned_gpu_at(&self, precision: gpu::Precision) -> Result<Gpu> {
        let gpu = self.open_at(self.adapter.clone(), precision)?;
        if self.tune && !gpu.is_software() {
            tune(&gpu);
        }
        Ok(gpu)
    }

    /// `--precision`, where it is given.
    pub fn precision(&self) -> Option<gpu::Precision> {
        self.precision
    }

    pub fn adapter(&self) -> &AdapterChoice {
        &self.adapter
    }

    /// From now on Ctrl-C, SIGTERM and SIGHUP stop the program: at once, as everything on the disk is whole at
    /// any time, or where it [looks](Self::stop_gracefully) for them, at the second one.
    pub fn catch_signals(&self) -> Result<()> {
        let (stop, graceful) = (self.stop.clone(), self.graceful.clone());
        let undo = self.undo.clone();
        let handler = move || {
            if stop.swap(true, Ordering::Relaxed) || !graceful.load(Ordering::Relaxed) {
                if let Some(undo) = undo.lock().ok().and_then(|mut undo| undo.take()) {
                    undo.run();
                }
                output::note("\nstopped");
                #[cfg(unix)]
                signals::exit_at_once(super::INTERRUPTED);
                #[cfg(not(unix))]
                std::process::exit(super::INTERRUPTED.into());
            }
            output::note("\nstopping; Ctrl-C again stops at once");
        };
        let catch = || ctrlc::set_handler(handler).context("cannot catch Ctrl-C");
        #[cfg(unix)]
        return signals::unless_ignored(catch);
        #[cfg(not(unix))]
        catch()
    }

    /// What is to be taken back when a signal stops the program at once.
    pub fn on_stop(&self, undo: Option<Undo>) {
        if let Ok(mut kept) = self.undo.lock() {
            *kept = undo;
        }
    }

    /// Until what is returned goes, the first signal only asks to stop.
    pub fn stop_gracefully(&self) -> Graceful {
        self.graceful.store(true, Ordering::Relaxed);
        Graceful(self.graceful.clone())
    }

    pub fn interrupted(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// A progress bar that follows a trainer and stops it when a signal has asked to.
    pub fn observer(&self) -> impl FnMut(Progress) -> ControlFlow<()> {
        self.observing(Bar::default(), |_, _, _| String::new())
    }

    /// The same with a line below: what `live` says.
    pub fn live_observer(&self, live: &RefCell<Live>) -> impl FnMut(Progress) -> ControlFlow<()> {
        let line = |epoch, step, steps| live.borrow_mut().line(epoch, step, steps);
        self.observing(Bar::of_two_lines(), line)
    }

    /// `below` is given the epoch, the step and the number of steps.
    fn observing(
        &self,
        bar: Bar,
        mut below: impl FnMut(usize, usize, usize) -> String,
    ) -> impl FnMut(Progress) -> ControlFlow<()> {
        let stop = self.stop.clone();
        move |progress| {
            match progress {
                Progress::Caching { done, total } => bar.show("caching", done, total),
                Progress::Evaluating { done, total } => bar.show("evaluating", done, total),
                Progress::Weighing { done, total } => bar.show("weighing ranks", done, total),
                Progress::FindingLr { done, total, loss } => {
                    bar.show(&format!("learning rates, loss {loss:.3}"), done, total);
                }
                Progress::Training {
                    epoch,
                    step,
                    steps,
                    loss,
                    ..
                } => {
                    bar.0.set_prefix(below(epoch, step, steps));
                    // The first losses of an epoch are still on their way from the device.
                    let loss = match loss.is_nan() {
                        true => String::new(),
                        false => format!(", loss {loss:.3}"),
                    };
                    bar.show(&format!("epoch {epoch}{loss}"), step, steps);
                }
                _ => {}
            }
            match stop.load(Ordering::Relaxed) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        }
    }
}

/// Where this user's caches are; `None` where there is no home for them.
pub fn cache_folder() -> Option<PathBuf> {
    let folders = directories::ProjectDirs::from("", "", "bayeslora")?;
    Some(folders.cache_dir().to_owned())
}

/// Measures the kernels of unknown shapes, and says so on standard error.
pub fn tune(gpu: &Gpu) {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(8));
    let style = ProgressStyle::with_template("{spinner} measuring kernels, once: {msg}");
    bar.set_style(style.expect("a valid template"));
    let show = move |step: Tuning| match step {
        Tuning::Ends => bar.finish_and_clear(),
        Tuning::Begins(subject) => {
            bar.reset();
            bar.set_message(subject.to_owned());
            bar.tick();
        }
        Tuning::Rejects {
            subject,
            kernel,
            error,
        } => {
            let found = format!(
                "the kernel `{kernel}` is off by {error:.1e} of the largest element in the {subject} on this device, and is \
                 not used for it"
            );
            bar.suspend(|| {
                output::note(&format!(
                    "{found}: please report this with `bayeslora devices`"
                ))
            });
        }
    };
    gpu.choices().tune(Box::new(show));
}

/// One line of progress on standard error, cleared when it is done; nothing if that is not a terminal.
pub struct Bar(ProgressBar);

impl Default for Bar {
    fn default() -> Self {
        Self::with_template("{msg:28} {wide_bar} {pos}/{len} {eta:>5}")
    }
}

impl Bar {
    /// With the bar's prefix as a line below, which has a time of its own.
    fn of_two_lines() -> Self {
        Self::with_template("{msg:28} {wide_bar} {pos}/{len}\n{prefix}")
    }

    fn with_template(template: &str) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(8));
        let style = ProgressStyle::with_template(template);
        bar.set_style(style.expect("a valid template"));
        Self(bar)
    }

    pub fn show(&self, message: &str, done: usize, total: usize) {
        if self.0.length() != Some(total as u64) || (done as u64) < self.0.position() {
            self.0.reset();
            self.0.set_length(total as u64);
        }
        self.0.set_message(message.to_owned());
        self.0.set_position(done as u64);
        if done >= total {
            self.0.finish_and_clear();
        }
    }
}

/// Loads a backbone, naming the option in errors.
pub fn backbone(path: &Location) -> Result<Backbone> {
    Backbone::load(path).context("--backbone")
}

/// The classifier that a backbone came with.
pub fn classifier(backbone: &Backbone) -> Option<Head> {
    let (weight, bias) = backbone.fc.clone()?;
    Some(Head {
        classes: bias.len(),
        features: backbone.resnet.features(),
        weight,
        bias,
        trained: true,
    })
}

/// Tells on standard error what a folder's images were taken as, and what is left out.
pub fn report_notes(notes: &[String]) {
    for note in notes {
        output::note(&format!("note: {note}"));
    }
}

/// Other programs' adapters do not say which weights they were trained on; all that can be checked is that shapes and
/// names agree.
pub fn warn_of_unknown_backbone(adapter: &Adapter, backbone: &Backbone) {
    let file_name = |name: &str| Path::new(name).file_name().map(ToOwned::to_owned);
    let base = &adapter.base_name;
    if !adapter.backbone_sha256.is_empty()
        || (!base.is_empty() && file_name(base) == file_name(&backbone.name))
    {
        return;
    }
    let base = match base.is_empty() {
        true => "no base_model_name_or_path".to_owned(),
        false => format!("the base_model_name_or_path `{base}`"),
    };
    output::note(&format!(
        "WARNING: the adapter has no hash of its backbone and {base}: nothing shows that it was trained on `{}`, \
         and on other weights its answers mean nothing; name the right file with --backbone",
        backbone.name
    ));
}

/// Tells on standard error which images were left out.
pub fn report_skipped(dataset: &Dataset) {
    report_notes(&dataset.notes);
    let skipped = dataset.skipped.iter();
    let reasons =
        skipped.map(|image| format!("{}: {}", printable(image.path.display()), image.reason));
    tell_skipped(dataset.skipped.len(), reasons);
}

/// Names the first of the files that were left out.
pub fn tell_skipped(count: usize, reasons: impl Iterator<Item: AsRef<str>>) {
    const NAMED: usize = 5;
    let images = match count {
        0 => return,
        1 => "1 image that does not decode".into(),
        _ => format!("{count} images that do not decode"),
    };
    let mut text = format!("skipped {images}:");
    for reason in reasons.take(NAMED) {
        text += &format!("\n  {}", reason.as_ref());
    }
    if count > NAMED {
        text += &format!("\n  and {} more", count - NAMED);
    }
    output::note(&text);
}
