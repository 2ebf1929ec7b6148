//! The file from which a training goes on.

use std::path::PathBuf;

use bayeslora::{Backbone, Checkpoint, TrainConfig, Trainer};
use serde_json::{Value, json};

use crate::errors::Failure;

/// What a checkpoint of this package says of its training, beside what the library holds it to.
const TRAINING: &str = "training";

/// The file of a training, and what is in it if that is to go on.
pub struct Keeper {
    path: PathBuf,
    begun: Option<Checkpoint>,
    /// What makes the training what it is.
    training: Value,
}

impl Keeper {
    /// Looks before there is any work.
    pub fn open(path: PathBuf, resume: bool) -> Result<Self, Failure> {
        let begun = match resume {
            true => Some(Checkpoint::read(&path)?),
            false if path.exists() => {
                return Err(Failure::input(format!(
                    "checkpoint: {} is there already: resume=True goes on from it; remove it, or name another file, to begin anew",
                    path.display()
                )));
            }
            false => None,
        };
        Ok(Self {
            path,
            begun,
            training: Value::Null,
        })
    }

    /// Takes a training that is about to begin to where it has stopped, if it is to go on.
    pub fn begin(&mut self, trainer: &mut Trainer, backbone: &Backbone) -> Result<(), Failure> {
        self.training = training(trainer, backbone);
        let Some(begun) = self.begun.take() else {
            return Ok(());
        };
        let file = self.path.display();
        let Some(known) = begun.extra.get(TRAINING) else {
            return Err(Failure::input(format!(
                "checkpoint: {file} is of a run of the program, which goes on by `bayeslora train --resume`"
            )));
        };
        if let Some(what) = difference(&self.training, known) {
            return Err(Failure::input(format!(
                "checkpoint: {file} is of a training with {what}; go on with its own images and options"
            )));
        }
        trainer.restore(&begun)?;
        Ok(())
    }

    /// Replaces the file after an epoch, in one step.
    pub fn keep(&self, trainer: &Trainer) -> Result<(), Failure> {
        let mut checkpoint = trainer.checkpoint()?;
        checkpoint.extra[TRAINING] = self.training.clone();
        Ok(checkpoint.write(&self.path)?)
    }
}

fn training(trainer: &Trainer, backbone: &Backbone) -> Value {
    let train = &trainer.training_set().dataset;
    let validation = trainer.validation_set().map(|set| set.dataset.listed());
    json!({
        "images": [train.listed()],
        "validation": validation,
        "classes": train.classes.to_vec(),
        "backbone": backbone.sha256,
        "options": **trainer.config(),
    })
}

/// What of it a checkpoint was made with otherwise.
fn difference(here: &Value, there: &Value) -> Option<String> {
    let known = |name: &str| there.get(name).filter(|known| **known != here[name]);
    for (name, what) in [
        ("images", "other images or labels"),
        ("validation", "other images held out"),
        ("classes", "other classes"),
        ("backbone", "another backbone"),
    ] {
        if known(name).is_some() {
            return Some(what.to_owned());
        }
    }
    other_option(&here["options"], &there["options"])
}

/// The first option that differs. One that is not written is at its default, also where an earlier version did not have it.
fn other_option(here: &Value, there: &Value) -> Option<String> {
    let Ok(read) = serde_json::from_value::<TrainConfig>(there.clone()) else {
        return Some("options that this version does not know".to_owned());
    };
    let there = json!(read);
    let options = [here, &there].map(|options| options.as_object().into_iter().flatten());
    let mut names = options.into_iter().flatten().map(|(name, _)| name);
    let shown = |options: &Value, name: &str| match options.get(name) {
        Some(value) => value.to_string(),
        None => "its default".to_owned(),
    };
    let name = names.find(|name| here.get(name) != there.get(name))?;
    let option = name.replace('-', "_");
    Some(format!(
        "`{option}` at {}, not {}",
        shown(&there, name),
        shown(here, name)
    ))
}
