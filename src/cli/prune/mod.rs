//! `prune`: cuts ranks of a finished adapter and reports what that costs.

mod images;
mod report;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use bayeslora::low_level::formats::{Adapter, RunDir};
use bayeslora::low_level::train::gauge::{Order, Posterior};
use bayeslora::low_level::train::{PruneGauge, PruneOptions, Pruning, Way};
use clap::{ArgGroup, Args};

use self::report::{Report, describe};
use super::context::{Bar, Context};
use super::location::Location;
use super::output::{self, Unkept};
use super::run::{Run, RunArgs};
use super::train_options::name;

#[derive(Args)]
#[command(group = ArgGroup::new("how far").required(true).multiple(true))]
pub struct PruneArgs {
    #[command(flatten)]
    run: RunArgs,
    /// The basis in which ranks are cut: the one they were trained in (none), the singular directions of B A (svd), or the
    /// one in which the second moments of A x and of the gradient, from a pass over training images, are diagonal
    /// (evidence). Turning ranks changes no prediction, and a cut costs far less in the latter two [default: svd without
    /// gates, evidence with them, none with --threshold or --by alpha]
    #[arg(long, value_parser = name::<PruneGauge>, value_name = "none|svd|evidence")]
    gauge: Option<PruneGauge>,
    /// What ranks are chosen by: alpha, magnitude, singular-value, evidence or evidence-per-scalar. Cut first are the
    /// noisiest gates, the smallest |a_i| |b_i|, the smallest singular values of B A, the least evidence from training
    /// images (the curvature of the rank's gate), or the least evidence per parameter of the rank [default: evidence or
    /// singular-value, as the basis; with --gauge none alpha, or magnitude without gates]
    #[arg(long, value_parser = name::<Order>, value_name = "WHAT")]
    by: Option<Order>,
    /// What becomes of the gates when ranks are turned: their exact effect on the remaining ranks is kept, with dependent
    /// gates (mixed); each rank gets a gate of its own again, with alpha (1 + alpha) = kappa / evidence (refit); or only the
    /// mean weights are kept (mean) [default: mixed]
    #[arg(long, value_parser = name::<Posterior>, value_name = "mixed|refit|mean")]
    posterior: Option<Posterior>,
    /// Leave K ranks, over all layers
    #[arg(long, value_name = "K", group = "how far")]
    #[arg(conflicts_with_all = ["keep", "threshold", "max_nll_increase", "max_accuracy_drop"])]
    keep_ranks: Option<usize>,
    /// Leave the share F of the ranks, over all layers
    #[arg(long, value_name = "F", group = "how far")]
    #[arg(conflicts_with_all = ["threshold", "max_nll_increase", "max_accuracy_drop"])]
    keep: Option<f64>,
    /// Cut ranks with log alpha at or above T
    #[arg(long, value_name = "T", group = "how far")]
    threshold: Option<f64>,
    /// Cut only while the held-out NLL rises by at most E nats
    #[arg(long, value_name = "E", group = "how far")]
    max_nll_increase: Option<f64>,
    /// Cut only while the held-out accuracy falls by at most A (.01 is one point)
    #[arg(long, value_name = "A", group = "how far")]
    max_accuracy_drop: Option<f64>,
    /// Training images that the evidence is taken from, evenly spread [default: 2000, or all if there are fewer]
    #[arg(long, value_name = "N")]
    evidence_images: Option<usize>,
    /// Ranks that every layer keeps at least, those that would be cut last
    #[arg(long, value_name = "N", default_value_t = 0)]
    min_rank: usize,
    /// Only report what would happen
    #[arg(long, conflicts_with = "out")]
    dry_run: bool,
    /// Where the run's images are now; the cost is measured on those held out [default: where they were
    /// during training]
    #[arg(long, value_name = "D")]
    data: Option<Location>,
    /// Where to write the pruned run; the run itself is not changed [default: `pruned` in the run's
    /// directory, or `pruned-2` and so on]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print one JSON object and nothing else
    #[arg(long)]
    json: bool,
}

impl PruneArgs {
    fn options(&self) -> PruneOptions {
        PruneOptions {
            gauge: self.gauge,
            by: self.by,
            posterior: self.posterior,
            keep_ranks: self.keep_ranks,
            keep: self.keep,
            threshold: self.threshold,
            max_nll_increase: self.max_nll_increase,
            max_accuracy_drop: self.max_accuracy_drop,
            min_rank: self.min_rank,
            evidence_images: self.evidence_images,
        }
    }
}

pub fn run(context: &Context, args: &PruneArgs) -> Result<()> {
    let run = args.run.open()?;
    run.refuse_ensemble("`prune`")?;
    let options = args.options();
    let named = || format!("--run {}", run.dir.path().display());
    let way = Way::new(&options, &run.adapter, &run.config).with_context(named)?;
    // Before anything long starts.
    if let Some(out) = &args.out {
        ensure!(
            RunDir::require_new(out).is_ok(),
            "--out {}: a pruned run is written into a new or an empty directory, and this is neither; choose another",
            out.display()
        );
    }
    let data = args.data.as_ref();
    let (images, held_out) = images::open(&run, data, way.needs_evidence(), &Bar::default())?;
    let gpu = context.gpu()?;
    let mut observe = context.observer();
    let mut tell = |progress| {
        let _ = observe(progress);
    };
    let subject = (&run.backbone, &run.adapter, &run.config);
    let mut pruning =
        Pruning::new(&gpu, subject, &options, images, &mut tell).with_context(named)?;
    if let Some(images) = pruning.evidence_images() {
        warn_of_few(images);
    }
    let count = pruning.count(&mut tell)?;
    let mut report = Report {
        held_out,
        found: pruning.report(count, &mut tell)?,
        written: None,
    };
    let wanted = args.out.is_some() || !args.dry_run && count > 0;
    // Only now: another `prune` of this run may have taken a name meanwhile.
    let out = args.out.clone();
    let out = out.unwrap_or_else(|| free_directory(run.dir.path()));
    let written = match wanted {
        true => write(&run, &pruning.adapter(count), &out),
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

/// A mean of n squares has a relative error of about sqrt(2 / n).
fn warn_of_few(images: usize) {
    const ENOUGH: usize = 200;
    if images < ENOUGH {
        output::note(&format!(
            "warning: {images} training images say little about which ranks matter; with {ENOUGH} or more the order is \
             trustworthy to some 10 %"
        ));
    }
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
