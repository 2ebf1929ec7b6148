//! Trains the members of an ensemble over one backbone, whose frozen layers are computed once for all.

use anyhow::{Context as _, Result};
use bayeslora::low_level::data::Dataset;
use bayeslora::low_level::formats::{Adapter, RunDir};
use bayeslora::low_level::gpu::Gpu;
use bayeslora::low_level::model::Backbone;
use bayeslora::low_level::predict::{Ensemble, Samples, Source, evaluate};
use bayeslora::low_level::train::{Prepared, TrainConfig, Trainer};
use serde_json::json;

use super::chosen::Place;
use super::context::{Bar, Context};
use super::environment;
use super::epochs::{Subject, begin, print_kept, print_test_rows, run_epochs, tell};
use super::lr_range::Found;
use super::output::{self, Unkept};
use super::tensorboard::Events;
use super::train_options::config_text;

/// What is trained, on what.
pub struct Task<'a> {
    pub gpu: &'a Gpu,
    pub backbone: &'a Backbone,
    pub subject: Subject<'a>,
    /// Of the ensemble, resolved.
    pub config: &'a TrainConfig,
    /// Where its learning rate comes from.
    pub found: Option<&'a Found>,
    pub json: bool,
    /// Whether each member keeps its epochs for TensorBoard.
    pub tensorboard: bool,
}

/// Trains every member, or goes on where it stopped, and scores them together on the test set.
pub fn train(
    context: &Context,
    task: &Task,
    place: Place,
    prepared: &Prepared,
    test: Dataset,
) -> Result<()> {
    let Task {
        gpu,
        backbone,
        subject,
        config,
        found,
        json,
        tensorboard,
    } = *task;
    let describe =
        |run: &RunDir| run.write_environment(&environment::describe(&prepared.network.gpu));
    let run = match place {
        Place::Run(run) => {
            describe(&run)?;
            run
        }
        Place::New(claim) => {
            let text = config_text(subject.inputs, config)?;
            let run = RunDir::create_in(claim, &text, |run| {
                run.write_data(subject.data)?;
                describe(run)
            })?;
            if let Some(found) = found {
                found.keep(&run)?;
            }
            run
        }
    };
    let members = config.members();
    for (number, member) in members.iter().enumerate() {
        if !json {
            output::text(&format!("\nmember {} of {}", number + 1, members.len()))?;
        }
        let mut trainer = Trainer::over(prepared.clone(), backbone, member.clone())?;
        let place = begin(&run.member_dir(number), subject, &mut trainer)?;
        let events = tensorboard.then(|| Events::create(&place)).transpose()?;
        run_epochs(context, &place, &mut trainer, tell(json, events)?)?;
        if context.interrupted() {
            output::note(&format!(
                "stopped; `bayeslora train --resume --out {}` goes on",
                run.path().display()
            ));
            return Ok(());
        }
        if !json {
            print_kept(&trainer)?;
        }
    }
    let ensemble = Ensemble::new(
        gpu,
        backbone,
        &adapters(&run, members.len(), config.resolution)?,
    )?;
    let source = Source::images(test, config.resolution);
    let (bar, total) = (Bar::default(), source.dataset.len());
    let mut progress = |done| bar.show("evaluating", done, total);
    let ranks = members.len() * config.rank * prepared_layers(task)?;
    let evaluated = evaluate(
        &ensemble,
        &source,
        Samples::MEAN,
        ranks as f64,
        &mut progress,
    )?;
    let results = json!({ "ensemble": evaluated });
    let keep = || {
        let kept = run.write_results(&results);
        kept.context(Unkept("the scores could not be kept".into()))
    };
    if json {
        output::json(&results)?;
        return keep();
    }
    print_test_rows(&[("ensemble", &evaluated)])?;
    keep()?;
    output::text(&format!(
        "\n{} members, {} adapter parameters; run written to {}",
        members.len(),
        evaluated.adapter_parameters,
        run.path().display()
    ))
}

/// The members' adapters, as far as they were trained.
pub fn adapters(run: &RunDir, members: usize, resolution: usize) -> Result<Vec<Adapter>> {
    let load = |number| {
        let member = RunDir::open(run.member_dir(number)).context("--run")?;
        member.read_adapter(resolution).context("--run")
    };
    (0..members).map(load).collect()
}

fn prepared_layers(task: &Task) -> Result<usize> {
    let selected = task.backbone.resnet.select(&task.config.targets);
    let (convs, head) = selected.map_err(anyhow::Error::msg)?;
    Ok(convs.len() + usize::from(head))
}
