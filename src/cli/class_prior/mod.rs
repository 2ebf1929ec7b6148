//! `--class-prior`: answers for another balance of the classes than that of training.

mod file;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use bayeslora::low_level::data::reuse::Part;
use bayeslora::low_level::formats::{ClassBalance, printable};
use bayeslora::low_level::predict::{self, PriorShift};
use clap::Args;
use serde::Serialize;

use super::context::Bar;
use super::location::Location;
use super::run::Run;
use super::run_images::Changed;

#[derive(Args)]
pub struct PriorArgs {
    /// Answer as where the classes are this frequent: all alike (uniform), as among the run's training images (train), or as
    /// a file says, {"CLASS": WEIGHT, ...} in .json or lines of class,weight in .csv, for every class; logits are adjusted by ln
    /// of this over the balance that the run was trained for [default: the balance that the run was trained for]
    #[arg(long, value_name = "uniform|train|FILE")]
    class_prior: Option<Location>,
}

/// A prior that was asked for, and that of a run's answers.
#[derive(Serialize)]
pub struct ClassPrior {
    given: Location,
    /// By class, of the sum 1.
    target: BTreeMap<String, f64>,
    /// What the loss has seen.
    trained_for: BTreeMap<String, f64>,
    /// Names by label.
    #[serde(skip)]
    classes: Vec<String>,
    #[serde(skip)]
    pub shift: PriorShift,
}

impl PriorArgs {
    pub fn is_given(&self) -> bool {
        self.class_prior.is_some()
    }

    /// Before any work: a temperature was fitted to answers under the prior of training.
    pub fn refuse_temperature(&self, is_tempered: bool) -> Result<()> {
        ensure!(
            !(is_tempered && self.is_given()),
            "--temperature is fitted to answers for the balance of classes that the run was trained for, and --class-prior gives \
             others; leave out one of them"
        );
        Ok(())
    }

    /// What it comes to for a run; nothing where it is not given.
    pub fn of(&self, run: &Run, bar: &Bar) -> Result<Option<ClassPrior>> {
        let Some(given) = &self.class_prior else {
            return Ok(None);
        };
        let option = || format!("--class-prior {given}");
        ClassPrior::new(given, run, bar)
            .with_context(option)
            .map(Some)
    }
}

impl ClassPrior {
    fn new(given: &Location, run: &Run, bar: &Bar) -> Result<Self> {
        let classes = &run.adapter.classes;
        let path: &Path = given.as_ref();
        let word = path.to_str().and_then(|word| word.parse().ok());
        let asked = match word {
            Some(word) => word,
            None => predict::ClassPrior::Weights(file::weights(path)?),
        };
        // What is wrong with a file comes before what may take long.
        asked.check(classes)?;
        let balance = balance(run, bar)?;
        let target = asked.target(classes, &balance)?;
        let by_name = |prior: &[f64]| -> BTreeMap<String, f64> {
            let pairs = classes.iter().cloned().zip(prior.iter().copied());
            pairs.collect()
        };
        Ok(Self {
            given: given.clone(),
            shift: PriorShift::new(&balance.prior, &target),
            target: by_name(&target),
            trained_for: by_name(&balance.prior),
            classes: classes.clone(),
        })
    }

    /// In one line, with the balance of labelled images beside it where there are such.
    pub fn in_words(&self, scored: Option<&[usize]>) -> String {
        const SHOWN: usize = 10;
        let mut line = format!("class prior {}", self.given);
        if self.shift.is_none() {
            line += ", for which the run was trained: nothing changes";
        }
        if self.classes.len() > SHOWN {
            return line;
        }
        let all: usize = scored.map_or(0, |counts| counts.iter().sum());
        let each = self.classes.iter().enumerate().map(|(label, class)| {
            let (from, to) = (self.trained_for[class], self.target[class]);
            let here = scored.map_or(String::new(), |counts| {
                format!(" ({:.3} here)", counts[label] as f64 / all.max(1) as f64)
            });
            format!("{} {from:.3} -> {to:.3}{here}", printable(class))
        });
        format!("{line}; {}", each.collect::<Vec<_>>().join(", "))
    }
}

/// What the adapter says of its training, or, if an earlier version has made it, the run.
fn balance(run: &Run, bar: &Bar) -> Result<ClassBalance> {
    if let Some(balance) = &run.adapter.class_balance {
        return Ok(balance.clone());
    }
    let images = train_counts(run, bar)?;
    let prior = run.config.class_prior(&images);
    Ok(ClassBalance { images, prior })
}

/// Training images of each of the adapter's classes.
fn train_counts(run: &Run, bar: &Bar) -> Result<Vec<usize>> {
    let recorded = run.data.as_ref().context(
        "nothing says how many training images each class had (no data.json.gz: an earlier version or another program made the \
         run), and so for which balance it was trained; `train --from` makes a run that knows",
    )?;
    let Some(counts) = recorded.train_class_counts() else {
        // A run of an earlier version on a set in arrays.
        let own = run.own(&run.inputs.data, Changed::Refuse)?;
        let [train] = own.open([Part::Train], bar)?;
        return Ok(run.align(train)?.class_counts());
    };
    let count = |class: &String| {
        let place = recorded.classes.iter().position(|known| known == class);
        place.map(|place| counts[place]).with_context(|| {
            format!(
                "the run was not trained on images of the class {}, which its adapter has",
                printable(class)
            )
        })
    };
    run.adapter.classes.iter().map(count).collect()
}
