//! Training.

use std::ffi::{c_char, c_void};
use std::mem::size_of;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use bayeslora::Checkpoint;
use bayeslora::{
    Backbone, BackboneBits, Dataset, EpochOutcome, Method, Progress, TrainConfig, Trainer,
};

use crate::gpu::{bl_gpu, sized, stopped_by};
use crate::image::{array, bl_image, pictures};
use crate::status::{Failure, bl_status, exclusive, free, give, guard, shared, writable};
use crate::stop::bl_stop;
use crate::text;

/// What a bl_progress is told of.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum bl_phase {
    /// Features of the frozen layers are computed: images.
    BL_CACHING = 0,
    /// Steps of an epoch.
    BL_TRAINING = 1,
    /// Validation images.
    BL_EVALUATING = 2,
}

/// Told of progress, on the thread that called: `done` of `total`. Anything but 0 stops the work, which then ends with
/// BL_STOPPED (bl_trainer_new) or BL_INTERRUPTED (bl_trainer_epoch).
pub type bl_progress =
    Option<unsafe extern "C" fn(user: *mut c_void, phase: bl_phase, done: u64, total: u64) -> i32>;

/// How to train; bl_train_options_default fills it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct bl_train_options {
    /// sizeof(bl_train_options)
    pub size: usize,
    /// The frozen network: a safetensors file, or "embedded".
    pub backbone: *const c_char,
    /// Whether ranks have gates (BayesLoRA); plain LoRA without.
    pub gates: bool,
    /// Ranks of every adapter; 0, without gates, trains the head alone.
    pub rank: u32,
    pub epochs: u32,
    /// Images of a step; 0 for the default.
    pub batch_size: u32,
    /// Side of the network's input, in pixels.
    pub resolution: u32,
    /// Learning rate; 0 for the default.
    pub learning_rate: f64,
    pub seed: u64,
    /// Share of the images that are kept out of training, to score each epoch on.
    pub validation: f64,
    /// NULL for none.
    pub progress: bl_progress,
    /// Given to `progress`.
    pub user: *mut c_void,
    /// Stops training; NULL for none.
    pub stop: *const bl_stop,
    /// Bits of each weight of the frozen convolutions in GPU memory: 32, or 8, which takes a quarter of it. An adapter answers over
    /// the weights that it was trained over; sessions and bl_prune see to that.
    pub backbone_bits: u32,
}

fn defaults() -> bl_train_options {
    let config = TrainConfig::default();
    bl_train_options {
        size: size_of::<bl_train_options>(),
        backbone: c"embedded".as_ptr(),
        gates: true,
        rank: config.rank as u32,
        epochs: config.epochs as u32,
        batch_size: 0,
        resolution: config.resolution as u32,
        learning_rate: 0.0,
        seed: config.seed,
        validation: 0.0,
        progress: None,
        user: std::ptr::null_mut(),
        stop: std::ptr::null(),
        backbone_bits: u64::from(config.backbone_bits) as u32,
    }
}

/// What became of an epoch.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum bl_outcome {
    /// It was trained.
    BL_DONE = 0,
    /// It was stopped on its way; bl_trainer_epoch begins it anew.
    BL_INTERRUPTED = 1,
    /// There was no epoch left.
    BL_FINISHED = 2,
}

/// An epoch.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct bl_epoch {
    pub outcome: bl_outcome,
    /// From 1. The rest is 0 unless it was trained.
    pub epoch: u32,
    /// Ranks left, all layers together.
    pub rank: u32,
    /// Mean loss of its steps, in nats.
    pub loss: f64,
    /// On the validation images, with the mean weights; NaN without them.
    pub accuracy: f64,
    pub nll: f64,
}

/// A training. It begins an epoch anew that was stopped on its way.
pub struct bl_trainer {
    trainer: Trainer,
    backbone: Backbone,
    last: Checkpoint,
    progress: bl_progress,
    user: *mut c_void,
}

/// Calls the caller back.
fn observer(progress: bl_progress, user: *mut c_void) -> impl FnMut(Progress) -> ControlFlow<()> {
    move |told| {
        let (phase, done, total) = match told {
            Progress::Caching { done, total } => (bl_phase::BL_CACHING, done, total),
            Progress::Training { step, steps, .. } => (bl_phase::BL_TRAINING, step, steps),
            Progress::Evaluating { done, total } => (bl_phase::BL_EVALUATING, done, total),
            // What later versions tell besides has no name here yet.
            _ => return ControlFlow::Continue(()),
        };
        // SAFETY: the header asks for a function that takes this, and does not unwind.
        let stops = progress
            .is_some_and(|call| unsafe { call(user, phase, done as u64, total as u64) != 0 });
        match stops {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn bl_train_options_default(options: *mut bl_train_options) -> bl_status {
    guard(|| {
        *exclusive(options, "options")? = defaults();
        Ok(())
    })
}

/// Prepares a training on `count` pictures, whose labels count `classes` names from 0. `options` may be NULL.
#[unsafe(no_mangle)]
pub extern "C" fn bl_trainer_new(
    gpu: *const bl_gpu,
    images: *const bl_image,
    labels: *const u32,
    count: usize,
    class_names: *const *const c_char,
    classes: usize,
    options: *const bl_train_options,
    out: *mut *mut bl_trainer,
) -> bl_status {
    guard(|| {
        writable(out)?;
        let gpu = shared(gpu, "gpu")?;
        let options = sized(options, defaults())?;
        let names = array(class_names, classes, "class_names")?.iter();
        let names = names.map(|name| text::required(*name, "a class name").map(str::to_owned));
        let names: Arc<[String]> = names.collect::<Result<Vec<_>, _>>()?.into();
        let labels = array(labels, count, "labels")?;
        let pictures = pictures(images, count)?;
        let labelled: Vec<_> = pictures.into_iter().zip(labels.iter().copied()).collect();
        let set = Dataset::from_pictures(options.resolution as usize, &labelled, names)?;
        let (set, held_out) = match options.validation > 0.0 {
            true => {
                let (train, held_out) = set.split_validation(options.validation, options.seed)?;
                (train, Some(held_out))
            }
            false => (set, None),
        };
        let bits = BackboneBits::try_from(u64::from(options.backbone_bits));
        let bits = bits.map_err(|error| Failure::invalid(format!("backbone_bits: {error}")))?;
        let backbone = text::required(options.backbone, "backbone")?;
        let backbone = Backbone::load(Path::new(backbone))?;
        let mut config = TrainConfig {
            method: match options.gates {
                true => Method::BayesLora,
                false => Method::Lora,
            },
            rank: options.rank as usize,
            epochs: options.epochs as usize,
            resolution: options.resolution as usize,
            seed: options.seed,
            validation: options.validation,
            backbone_bits: bits,
            ..TrainConfig::default()
        };
        if options.batch_size > 0 {
            config.batch_size = Some(options.batch_size as usize);
        }
        if options.learning_rate != 0.0 {
            config.lr = options.learning_rate;
        }
        let gpu = stopped_by(gpu, options.stop);
        let (progress, user) = (options.progress, options.user);
        let mut observe = observer(progress, user);
        let trainer = Trainer::new(&gpu, &backbone, config, set, held_out, &mut observe)?;
        let last = trainer.checkpoint()?;
        give(
            bl_trainer {
                trainer,
                backbone,
                last,
                progress,
                user,
            },
            out,
        );
        Ok(())
    })
}

/// Trains one more epoch.
#[unsafe(no_mangle)]
pub extern "C" fn bl_trainer_epoch(trainer: *mut bl_trainer, out: *mut bl_epoch) -> bl_status {
    guard(|| {
        let of = exclusive(trainer, "trainer")?;
        let out = exclusive(out, "the place for the epoch")?;
        *out = bl_epoch {
            outcome: bl_outcome::BL_FINISHED,
            epoch: 0,
            rank: 0,
            loss: 0.0,
            accuracy: f64::NAN,
            nll: f64::NAN,
        };
        let mut observe = observer(of.progress, of.user);
        match of.trainer.next_epoch(&mut observe)? {
            EpochOutcome::Finished => {}
            EpochOutcome::Interrupted => {
                of.trainer.restore(&of.last)?;
                out.outcome = bl_outcome::BL_INTERRUPTED;
            }
            EpochOutcome::Done(report) => {
                of.last = of.trainer.checkpoint()?;
                *out = bl_epoch {
                    outcome: bl_outcome::BL_DONE,
                    epoch: report.epoch as u32,
                    rank: report.rank as u32,
                    loss: report.loss,
                    accuracy: report.accuracy.unwrap_or(f64::NAN),
                    nll: report.nll.unwrap_or(f64::NAN),
                };
            }
        }
        Ok(())
    })
}

/// Writes the adapter as it is after the last whole epoch, as a PEFT directory.
#[unsafe(no_mangle)]
pub extern "C" fn bl_trainer_save(
    trainer: *const bl_trainer,
    adapter_dir: *const c_char,
) -> bl_status {
    guard(|| {
        let trainer = shared(trainer, "trainer")?;
        let to = text::path(adapter_dir, "adapter_dir")?;
        Ok(trainer.trainer.adapter()?.save_peft(to)?)
    })
}

/// A session with the adapter as it is after the last whole epoch. `options` may be NULL.
#[unsafe(no_mangle)]
pub extern "C" fn bl_trainer_session(
    trainer: *const bl_trainer,
    gpu: *const bl_gpu,
    options: *const crate::session::bl_session_options,
    out: *mut *mut crate::session::bl_session,
) -> bl_status {
    guard(|| {
        writable(out)?;
        let (of, gpu) = (shared(trainer, "trainer")?, shared(gpu, "gpu")?);
        crate::session::open(gpu, &of.backbone, &of.trainer.adapter()?, options, out)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn bl_trainer_free(trainer: *mut bl_trainer) {
    free(trainer);
}
