//! Predicting.

use std::ffi::{CString, c_char};
use std::mem::size_of;
use std::path::Path;

use bayeslora::{Adapter, Backbone, ClassPrior, PredictError, Session, SessionOptions};

use crate::gpu::{bl_gpu, sized, stopped_by};
use crate::image::{array, bl_image, pictures};
use crate::status::{Failure, bl_status, exclusive, free, give, guard, shared, writable};
use crate::stop::bl_stop;
use crate::text;

/// An adapter on its backbone, ready to answer; the second call for as many pictures is faster than the first.
pub struct bl_session {
    session: Session,
    names: Vec<CString>,
}

/// How frequent a class is where the answers are given.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct bl_class_weight {
    pub class_name: *const c_char,
    /// From 1e-9 to 1e9, in any unit.
    pub weight: f64,
}

/// How a session answers; bl_session_options_default fills it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct bl_session_options {
    /// sizeof(bl_session_options)
    pub size: usize,
    /// Draws of the gates, the same for every picture; 0 for the mean weights.
    pub samples: u32,
    pub seed: u64,
    /// What logits are divided by; 0 for the temperature that was fitted to a run for as many samples, if there is one.
    pub temperature: f64,
    /// An answer less probable than this counts as none.
    pub threshold: f32,
    /// Pictures that are computed at a time.
    pub batch: u32,
    /// Stops predictions; NULL for none.
    pub stop: *const bl_stop,
    /// How frequent the classes are where the answers are given: "uniform" for all alike, "train" for as among the training
    /// images; NULL for what the adapter was trained for. Where that changes anything, every draw is adjusted, the temperature that
    /// was fitted to the run is left out, and nothing that `bayeslora calibrate` has promised is: no label is held back but by
    /// the threshold, in_set is -1, and there may be more false alarms in unfamiliar. It does not go with a temperature.
    pub class_prior: *const c_char,
    /// In the place of class_prior: a weight for each class, in any order; NULL for none.
    pub class_weights: *const bl_class_weight,
    /// Weights at class_weights.
    pub class_weight_count: usize,
}

fn defaults() -> bl_session_options {
    let options = SessionOptions::default();
    bl_session_options {
        size: size_of::<bl_session_options>(),
        samples: options.samples as u32,
        seed: options.seed,
        temperature: options.temperature.unwrap_or_default(),
        threshold: options.threshold,
        batch: options.batch as u32,
        stop: std::ptr::null(),
        class_prior: std::ptr::null(),
        class_weights: std::ptr::null(),
        class_weight_count: 0,
    }
}

impl bl_session_options {
    fn options(&self) -> Result<SessionOptions, Failure> {
        Ok(SessionOptions {
            samples: self.samples as usize,
            seed: self.seed,
            temperature: (self.temperature != 0.0).then_some(self.temperature),
            class_prior: self.prior()?,
            threshold: self.threshold,
            batch: self.batch as usize,
        })
    }

    fn prior(&self) -> Result<Option<ClassPrior>, Failure> {
        let word = text::optional(self.class_prior, "class_prior")?;
        let (start, count) = (self.class_weights, self.class_weight_count);
        match (word, start.is_null() && count == 0) {
            (None, true) => Ok(None),
            (Some(word), true) => Ok(Some(word.parse().map_err(PredictError::from)?)),
            (None, false) => {
                let weights = array(start, count, "class_weights")?.iter();
                let named = weights.map(|one| {
                    let name = text::required(one.class_name, "the class_name of a weight")?;
                    Ok((name.to_owned(), one.weight))
                });
                let named = named.collect::<Result<_, Failure>>()?;
                Ok(Some(ClassPrior::Weights(named)))
            }
            (Some(_), false) => Err(Failure::invalid(
                "class_prior and class_weights name two priors; leave out one of them",
            )),
        }
    }
}

/// Where bl_session_predict puts its answers: arrays of the caller's, or NULL for what is not wanted.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct bl_answers {
    /// [n, classes]: probability of each class, under the class prior or at the temperature.
    pub probability: *mut f32,
    /// [n, classes]: its standard deviation over the draws, under the class prior but before any temperature.
    pub std: *mut f32,
    /// [n]: entropy of the predictive, in nats.
    pub entropy: *mut f32,
    /// [n]: its part that comes from the draws' disagreement, in nats.
    pub mutual_information: *mut f32,
    /// [n]: number of the most probable class, or -1 where it is less probable than the threshold, or than the risk that
    /// `bayeslora calibrate` has promised of the run allows.
    pub label: *mut i32,
    /// [n, classes]: 1 for the classes of the set that holds the right one as often as `bayeslora calibrate` has promised of the
    /// run, 0 for the others; all -1 where nothing was promised.
    pub in_set: *mut i8,
    /// [n]: 1 where the picture looks like nothing that the run was trained on, 0 where it does not; -1 where `bayeslora calibrate
    /// --false-alarms` has not been run.
    pub unfamiliar: *mut i8,
}

#[unsafe(no_mangle)]
pub extern "C" fn bl_session_options_default(options: *mut bl_session_options) -> bl_status {
    guard(|| {
        *exclusive(options, "options")? = defaults();
        Ok(())
    })
}

/// Opens the run in a directory, with the backbone that it names. `options` may be NULL.
#[unsafe(no_mangle)]
pub extern "C" fn bl_session_open(
    gpu: *const bl_gpu,
    run_dir: *const c_char,
    options: *const bl_session_options,
    out: *mut *mut bl_session,
) -> bl_status {
    guard(|| {
        writable(out)?;
        let gpu = shared(gpu, "gpu")?;
        let run_dir = text::path(run_dir, "run_dir")?;
        let options = sized(options, defaults())?;
        let gpu = stopped_by(gpu, options.stop);
        give_session(Session::open(&gpu, run_dir, options.options()?)?, out)
    })
}

/// Opens a PEFT adapter's directory on a backbone: a file of safetensors or PyTorch, or "embedded". `options` may be NULL.
#[unsafe(no_mangle)]
pub extern "C" fn bl_session_open_adapter(
    gpu: *const bl_gpu,
    backbone: *const c_char,
    adapter_dir: *const c_char,
    options: *const bl_session_options,
    out: *mut *mut bl_session,
) -> bl_status {
    guard(|| {
        writable(out)?;
        let gpu = shared(gpu, "gpu")?;
        let backbone = Backbone::load(Path::new(text::required(backbone, "backbone")?))?;
        let adapter = Adapter::load_peft(text::path(adapter_dir, "adapter_dir")?)?;
        open(gpu, &backbone, &adapter, options, out)
    })
}

pub(crate) fn open(
    gpu: &bl_gpu,
    backbone: &Backbone,
    adapter: &Adapter,
    options: *const bl_session_options,
    out: *mut *mut bl_session,
) -> Result<(), Failure> {
    let options = sized(options, defaults())?;
    let gpu = stopped_by(gpu, options.stop);
    give_session(
        Session::new(&gpu, backbone, adapter, options.options()?)?,
        out,
    )
}

fn give_session(session: Session, out: *mut *mut bl_session) -> Result<(), Failure> {
    let names = session.classes().iter().map(|name| {
        let text = name.replace('\0', " ");
        CString::new(text).expect("no zero is left")
    });
    let names = names.collect();
    give(bl_session { session, names }, out);
    Ok(())
}

/// The number of classes; 0 for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn bl_session_classes(session: *const bl_session) -> usize {
    shared(session, "session").map_or(0, |session| session.names.len())
}

/// The name of a class, UTF-8; valid as long as the handle. NULL where there is no such class.
#[unsafe(no_mangle)]
pub extern "C" fn bl_session_class_name(session: *const bl_session, label: usize) -> *const c_char {
    let session = shared(session, "session").ok();
    let name = session.and_then(|session| session.names.get(label));
    name.map_or(std::ptr::null(), |name| name.as_ptr())
}

/// Compiles what a call with `count` pictures takes, so that the first one is as fast as the others.
#[unsafe(no_mangle)]
pub extern "C" fn bl_session_warm(session: *mut bl_session, count: usize) -> bl_status {
    guard(|| Ok(exclusive(session, "session")?.session.warm(count)?))
}

/// Answers `count` pictures.
#[unsafe(no_mangle)]
pub extern "C" fn bl_session_predict(
    session: *mut bl_session,
    images: *const bl_image,
    count: usize,
    answers: *const bl_answers,
) -> bl_status {
    guard(|| {
        let session = exclusive(session, "session")?;
        let out = shared(answers, "answers")?;
        let pictures = pictures(images, count)?;
        let found = session.session.predict(&pictures)?;
        let classes = session.names.len();
        for (row, answer) in found.iter().enumerate() {
            for class in &answer.classes {
                let place = row * classes + class.label;
                put(out.probability, place, class.probability);
                put(out.std, place, class.std);
                let set = answer.prediction_set.as_ref();
                let in_set = set.map_or(-1, |set| i8::from(set.contains(&class.label)));
                put(out.in_set, place, in_set);
            }
            put(out.entropy, row, answer.entropy);
            put(out.mutual_information, row, answer.mutual_information);
            let label = match answer.abstains {
                true => -1,
                false => answer.classes[0].label as i32,
            };
            put(out.label, row, label);
            let familiarity = answer.familiarity;
            let unfamiliar = familiarity.map_or(-1, |found| i8::from(found.unfamiliar));
            put(out.unfamiliar, row, unfamiliar);
        }
        Ok(())
    })
}

fn put<T>(array: *mut T, place: usize, value: T) {
    if !array.is_null() {
        // SAFETY: the header asks for as many elements as there are answers.
        unsafe { *array.add(place) = value };
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn bl_session_free(session: *mut bl_session) {
    free(session);
}
