//! `prune`: cuts the noisiest ranks of a finished adapter and says what that costs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use bayeslora::data::Dataset;
use bayeslora::data::reuse::Part;
use bayeslora::formats::{Adapter, GateDistribution, RunDir};
use bayeslora::gpu::Gpu;
use bayeslora::model::{
    AdapterLayout, AdapterState, FrozenNetwork, KernelChoice, PLAIN_VIEW, exchange,
};
use bayeslora::predict::{Evaluated, Predictor, Samples, Source, evaluate, fitted};
use bayeslora::train::{PruneEvent, kept_without, noisiest};
use clap::Args;
use serde::Serialize;

use super::context::{Bar, Context};
use super::location::Location;
use super::output::{self, Unkept};
use super::run::{self, Run, RunArgs};
use super::run_images::Changed;
use super::tables;

#[derive(Args)]
pub struct PruneArgs {
    #[command(flatten)]
    run: RunArgs,
    /// Cut ranks with log alpha at or above it
    #[arg(long, value_name = "T")]
    #[arg(required_unless_present = "max_nll_increase")]
    threshold: Option<f64>,
    /// Cut, from the noisiest rank on, only as far as the held-out NLL rises by at most E nats
    #[arg(long, value_name = "E")]
    max_nll_increase: Option<f64>,
    /// Ranks that every layer keeps, the least noisy ones
    #[arg(long, value_name = "N", default_value_t = 0)]
    min_rank: usize,
    /// Only say what would happen
    #[arg(long, conflicts_with = "out")]
    dry_run: bool,
    /// Where the run's images are now, of which the cost is measured on those held out [default: where it was
    /// trained on them]
    #[arg(long, value_name = "D")]
    data: Option<Location>,
    /// Where the pruned run is written; the run itself stays as it is [default: `pruned` in the run's
    /// directory, or `pruned-2` and so on]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print one JSON object and nothing else
    #[arg(long)]
    json: bool,
}

/// Each field is printed under its name.
#[derive(Serialize)]
struct Report {
    held_out: HeldOutSet,
    /// Ranks at or above the threshold (all, without one) that --min-rank lets go.
    candidates: usize,
    #[serde(flatten)]
    event: PruneEvent,
    effective_rank_before: f64,
    effective_rank_after: f64,
    adapter_parameters_before: usize,
    adapter_parameters_after: usize,
    layers: Vec<LayerReport>,
    /// Directory of the pruned run; null where nothing was written.
    written: Option<Location>,
}

/// What the cost is measured on.
#[derive(Serialize)]
struct HeldOutSet {
    data: Location,
    /// `validation` or `test`.
    split: &'static str,
    images: usize,
}

#[derive(Serialize)]
struct LayerReport {
    layer: String,
    before: usize,
    after: usize,
    kept: Vec<Rank>,
    cut: Vec<Rank>,
}

#[derive(Serialize)]
struct Rank {
    /// Its number before any pruning.
    rank: u32,
    log_alpha: f32,
}

pub fn run(context: &Context, args: &PruneArgs) -> Result<()> {
    let run = args.run.open()?;
    run.refuse_ensemble("`prune`")?;
    let gated = run
        .adapter
        .layers
        .iter()
        .all(|layer| layer.log_alpha.is_some());
    ensure!(
        gated,
        "--run {}: its adapter was trained without gates (method {}), so there is no log alpha to \
         prune by",
        run.dir.path().display(),
        run.adapter.method
    );
    ensure!(
        run.adapter.gates != GateDistribution::Bernoulli,
        "--run {}: its ranks are dropped with a fixed probability (method {}), so no log alpha was \
         learnt to prune by",
        run.dir.path().display(),
        run.adapter.method
    );
    let (layout, state) = fitted(&run.backbone, &run.adapter)?;
    let out = match &args.out {
        Some(out) => out.clone(),
        None => free_directory(run.dir.path()),
    };
    // Before anything long starts.
    RunDir::require_new(&out).context("--out")?;
    let bar = Bar::default();
    let (dataset, held_out) = held_out(&run, args.data.as_ref(), &bar)?;
    let gpu = context.gpu()?;
    let bench = Bench::new(&gpu, &run, &layout, dataset, bar)?;

    let threshold = args.threshold.unwrap_or(f64::NEG_INFINITY);
    let ranked = state.with_log_alpha(run.adapter.gates);
    let candidates = noisiest(&ranked, threshold, args.min_rank);
    let before = bench.score(&layout, &state)?;
    let mut attempts = Attempts {
        bench: &bench,
        run: &run,
        layout: &layout,
        state: &state,
        candidates: &candidates,
    };
    let chosen = match args.max_nll_increase {
        None => attempts.at(candidates.len())?,
        Some(allowed) => attempts.within(before.scores.nll + allowed)?,
    };
    let adapter = chosen.adapter(&run.adapter);
    let mut report = Report {
        held_out,
        candidates: candidates.len(),
        event: PruneEvent::new(
            layout.total_rank(),
            chosen.layout.total_rank(),
            Some(&before),
            Some(&chosen.scores),
        ),
        effective_rank_before: run.effective_rank(),
        effective_rank_after: run::effective_rank(&adapter),
        adapter_parameters_before: layout.adapter_parameters(),
        adapter_parameters_after: chosen.layout.adapter_parameters(),
        layers: layers(&layout, &ranked, &chosen.kept),
        written: None,
    };
    let wanted = args.out.is_some() || !args.dry_run && chosen.layout != layout;
    let written = match wanted {
        true => write(&run, &adapter, &out),
        false => Ok(()),
    };
    if wanted && written.is_ok() {
        report.written = Some(out.into());
    }
    match args.json {
        true => output::json(&report)?,
        false => output::text(&describe(&report, args))?,
    }
    written.context(Unkept("the pruned run could not be written".into()))
}

/// The first of `RUN/pruned`, `RUN/pruned-2` and so on that has no run in it.
fn free_directory(run: &Path) -> PathBuf {
    (1..)
        .map(|number| match number {
            1 => run.join("pruned"),
            _ => run.join(format!("pruned-{number}")),
        })
        .find(|path| RunDir::require_new(path).is_ok())
        .expect("numbers do not run out")
}

/// A new run, as the results and checkpoints of the old one are those of its own adapter.
fn write(run: &Run, adapter: &Adapter, out: &Path) -> Result<()> {
    RunDir::create(out, &run.dir.read_config()?, |pruned| {
        run.dir.copy_description(pruned)?;
        Ok::<_, anyhow::Error>(pruned.write_adapter(adapter)?)
    })?;
    Ok(())
}

/// The validation split of the run, or the test set where it had none.
fn held_out(run: &Run, data: Option<&Location>, bar: &Bar) -> Result<(Dataset, HeldOutSet)> {
    let data = data.unwrap_or(&run.inputs.data);
    let own = run.own(data, Changed::Say)?;
    let (part, split) = match own.recorded.validation.is_empty() {
        false => (Part::Validation, "validation"),
        true => (Part::Test, "test"),
    };
    let [dataset] = own.open([part], bar)?;
    let dataset = run.align(dataset)?;
    let held_out = HeldOutSet {
        data: data.clone(),
        split,
        images: dataset.len(),
    };
    Ok((dataset, held_out))
}

/// Scores adapters of any rank on the same images.
struct Bench {
    network: Arc<FrozenNetwork>,
    source: Source,
    scale: f32,
    size: usize,
    bar: Bar,
}

impl Bench {
    fn new(
        gpu: &Gpu,
        run: &Run,
        layout: &AdapterLayout,
        dataset: Dataset,
        bar: Bar,
    ) -> Result<Self> {
        let network = FrozenNetwork::new(gpu, KernelChoice::for_gpu(gpu), &run.backbone);
        let convs: Vec<_> = layout
            .layers
            .iter()
            .filter_map(|layer| layer.conv)
            .collect();
        let (cut, size) = (network.resnet.cut(&convs), run.adapter.resolution);
        let (mut budget, total) = (run.config.budget(), dataset.len());
        // Every attempt goes through the same frozen layers.
        let progress = |done| bar.show("caching", done, total);
        let views = &[PLAIN_VIEW];
        let source = Source::within(&mut budget, &network, cut, dataset, size, views, progress)?;
        Ok(Self {
            network: Arc::new(network),
            source,
            scale: run.adapter.scale(),
            size,
            bar,
        })
    }

    /// Scores with the mean weights.
    fn score(&self, layout: &AdapterLayout, state: &AdapterState) -> Result<Evaluated> {
        let predictor = Predictor::with_state(
            self.network.clone(),
            layout.clone(),
            state,
            self.scale,
            GateDistribution::Gaussian,
            self.size,
        );
        let total = self.source.dataset.len();
        let mut progress = |done| self.bar.show("evaluating", done, total);
        Ok(evaluate(
            &predictor,
            &self.source,
            Samples::MEAN,
            0.0,
            &mut progress,
        )?)
    }
}

/// What is left when some ranks are cut.
struct Cut {
    kept: Vec<Vec<usize>>,
    layout: AdapterLayout,
    state: AdapterState,
    scores: Evaluated,
}

impl Cut {
    fn adapter(&self, from: &Adapter) -> Adapter {
        let (layers, head) = exchange::to_file(&self.layout, &self.state, true);
        Adapter {
            layers,
            head,
            ..from.clone()
        }
    }
}

/// Cuts of more or fewer of the candidates, the noisiest first.
struct Attempts<'a> {
    bench: &'a Bench,
    run: &'a Run,
    layout: &'a AdapterLayout,
    state: &'a AdapterState,
    candidates: &'a [(usize, usize)],
}

impl Attempts<'_> {
    /// The first `count` candidates cut.
    fn at(&mut self, count: usize) -> Result<Cut> {
        let kept = kept_without(self.state, &self.candidates[..count]);
        let mut state = self.state.clone();
        state.keep(self.layout, &kept);
        let layout = self.layout.keep(&self.run.backbone.resnet, &kept);
        let scores = self.bench.score(&layout, &state)?;
        Ok(Cut {
            kept,
            layout,
            state,
            scores,
        })
    }

    /// As many as leave the NLL at or below `allowed`, by bisection. Where the NLL does not rise
    /// steadily this is an end of one run of good cuts, not always the farthest.
    fn within(&mut self, allowed: f64) -> Result<Cut> {
        let all = self.at(self.candidates.len())?;
        if all.scores.scores.nll <= allowed {
            return Ok(all);
        }
        let (mut good, mut bad) = (self.at(0)?, self.candidates.len());
        let mut count = 0;
        while bad - count > 1 {
            let middle = count + (bad - count) / 2;
            let cut = self.at(middle)?;
            match cut.scores.scores.nll <= allowed {
                true => (good, count) = (cut, middle),
                false => bad = middle,
            }
        }
        Ok(good)
    }
}

fn layers(layout: &AdapterLayout, state: &AdapterState, kept: &[Vec<usize>]) -> Vec<LayerReport> {
    let layers = layout.layers.iter().zip(&state.layers).zip(kept);
    layers
        .map(|((layer, values), kept)| {
            let ranks = (0..layer.rank()).map(|place| Rank {
                rank: layer.rank_ids[place],
                log_alpha: values.log_alpha[place],
            });
            let (left, cut): (Vec<_>, Vec<_>) = ranks
                .enumerate()
                .partition(|(place, _)| kept.contains(place));
            let ranks = |of: Vec<(usize, Rank)>| of.into_iter().map(|(_, rank)| rank).collect();
            LayerReport {
                layer: layer.name.clone(),
                before: layer.rank(),
                after: kept.len(),
                kept: ranks(left),
                cut: ranks(cut),
            }
        })
        .collect()
}

fn describe(report: &Report, args: &PruneArgs) -> String {
    let event = &report.event;
    let table = layer_table(report);
    if event.ranks_before == event.ranks_after {
        return format!("{}\n\n{}", table.trim_fmt(), outcome(report, args));
    }
    let HeldOutSet {
        data,
        split,
        images,
    } = &report.held_out;
    format!(
        "{}\n\n{images} {split} images of {data}, mean weights\n{}\n{}\n\n{}",
        table.trim_fmt(),
        cost(report).trim_fmt(),
        match event.max_log_prob_change {
            Some(change) => format!("largest change of a log probability: {change:.4}"),
            None => String::new(),
        },
        outcome(report, args)
    )
}

fn layer_table(report: &Report) -> comfy_table::Table {
    let header = ["layer", "ranks", "left", "log alpha left", "log alpha cut"];
    let mut table = tables::new(&header, &[1, 2]);
    for layer in &report.layers {
        table.add_row([
            layer.layer.clone(),
            layer.before.to_string(),
            layer.after.to_string(),
            range(&layer.kept),
            range(&layer.cut),
        ]);
    }
    let event = &report.event;
    table.add_row([
        "all".into(),
        event.ranks_before.to_string(),
        event.ranks_after.to_string(),
        String::new(),
        String::new(),
    ]);
    table
}

fn range(ranks: &[Rank]) -> String {
    let values = || ranks.iter().map(|rank| rank.log_alpha);
    let (low, high) = (
        values().fold(f32::INFINITY, f32::min),
        values().fold(f32::NEG_INFINITY, f32::max),
    );
    let [low, high] = [low, high].map(|value| format!("{value:.2}"));
    match ranks.len() {
        0 => String::new(),
        _ if low == high => low,
        _ => format!("{low} to {high}"),
    }
}

/// Scores and sizes before and after.
fn cost(report: &Report) -> comfy_table::Table {
    let mut table = tables::new(&["", "before", "after", "change"], &[1, 2, 3]);
    let mut row = |name: &str, before: f64, after: f64, digits: usize| {
        table.add_row([
            name.into(),
            format!("{before:.digits$}"),
            format!("{after:.digits$}"),
            format!("{:+.digits$}", after - before),
        ]);
    };
    if let (Some(before), Some(after)) = (&report.event.before, &report.event.after) {
        row("accuracy", before.accuracy, after.accuracy, 4);
        row("NLL", before.nll, after.nll, 4);
        row("ECE", before.ece, after.ece, 4);
    }
    let (before, after) = (report.effective_rank_before, report.effective_rank_after);
    row("effective rank", before, after, 1);
    let (before, after) = (
        report.adapter_parameters_before,
        report.adapter_parameters_after,
    );
    row("adapter parameters", before as f64, after as f64, 0);
    table
}

/// What was done, in words.
fn outcome(report: &Report, args: &PruneArgs) -> String {
    let cut = report.event.ranks_before - report.event.ranks_after;
    let ranks = match cut {
        1 => "1 rank".into(),
        _ => format!("{cut} ranks"),
    };
    let limit = match args.max_nll_increase {
        Some(allowed) if cut < report.candidates => {
            let candidates = report.candidates;
            format!(" (of {candidates} candidates; the next would raise the NLL by over {allowed})")
        }
        _ => String::new(),
    };
    match &report.written {
        None if args.dry_run => {
            format!("dry run: {ranks} would be cut{limit}; nothing was written")
        }
        None if cut == 0 => format!("nothing to cut{limit}; nothing was written"),
        None => format!("{ranks} to cut{limit}"),
        Some(new) => {
            format!("{ranks} cut{limit}: the pruned run is {new}, the run itself is as it was")
        }
    }
}
