//! `reproduce`: the paper's comparison, from training to the report.

mod options;
mod sets;
mod workshop;

use anyhow::{Context as _, Result};
use bayeslora::formats::RunDir;
use bayeslora::metrics::{Predictions, log_mean_exp, nll_each};
use bayeslora::study::{
    Chosen, Place, RunSpec, Settings, Stored, candidates_of, fewest_ranks, runs,
};
use bayeslora::train::kl::KlMultiplicity;
use clap::Args;

use super::context::Context;
use options::{Options, Shard};
use workshop::Workshop;

/// Gate samples that kappa is chosen with.
const SAMPLES: usize = 8;

#[derive(Args)]
pub struct ReproduceArgs {
    #[command(flatten)]
    options: options::Arguments,
    /// Only every n-th run from the i-th on, as one of n jobs; `--merge` joins what they leave
    #[arg(long, value_name = "i/n")]
    shard: Option<Shard>,
}

pub fn run(context: &Context, args: &ReproduceArgs) -> Result<()> {
    let options = Options::settle(&args.options)?;
    let settings = options.scale.settings();
    context.catch_interrupt()?;
    let mut workshop = Workshop::open(context, options, settings)?;
    let all = Shard::ALL;
    let images = workshop.train_images();
    // Every shard needs the answer, and the same seeds give every shard the same one.
    let candidates = candidates_of(&settings, images);
    if !workshop.work_through(&candidates, all)? {
        return Ok(());
    }
    let chosen = choose(&workshop, &settings, &candidates)?;
    println!(
        "\nkl-multiplicity {} by validation NLL and ranks: about {} ranks a layer are left",
        chosen.kl_multiplicity, chosen.rank_per_layer
    );
    let runs = runs(&settings, &chosen);
    if !workshop.work_through(&runs, args.shard.unwrap_or(all))? {
        return Ok(());
    }
    Ok(())
}

/// The fewest ranks within a standard error of the lowest validation NLL.
fn choose(workshop: &Workshop, settings: &Settings, candidates: &[RunSpec]) -> Result<Chosen> {
    let labels = workshop.validation_labels(&candidates[0])?;
    let mut nll = Vec::new();
    let mut ranks = Vec::new();
    for spec in candidates {
        let place = Place::new(workshop.out(), &spec.name, 1);
        let stored = Stored {
            set: "validation",
            samples: SAMPLES,
        };
        let found = place.read(stored)?;
        let log_probs = log_mean_exp(&found.values, found.samples);
        let predictions = Predictions::from_log_probs(&log_probs, &labels, found.classes)?;
        nll.push(nll_each(&predictions));
        let epochs = RunDir::open(&place.run)?.read_metrics()?;
        let rank = epochs.last().and_then(|epoch| epoch["rank"].as_u64());
        ranks.push(rank.context("the last epoch has no rank")? as usize);
    }
    let each: Vec<&[f64]> = nll.iter().map(Vec::as_slice).collect();
    let best = fewest_ranks(&ranks, &each);
    let epochs = RunDir::open(Place::new(workshop.out(), &candidates[0].name, 1).run)?;
    let layers = epochs.read_metrics()?[0]["ranks"]
        .as_object()
        .map_or(1, |ranks| ranks.len());
    Ok(Chosen {
        kl_multiplicity: candidates[best]
            .config
            .kl_multiplicity
            .unwrap_or(KlMultiplicity::Unit),
        rank_per_layer: ((ranks[best] as f64 / layers as f64).round() as usize).min(settings.rank),
    })
}
