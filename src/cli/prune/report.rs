//! The report of a prune.

use bayeslora::low_level::train::gauge::{Order, Posterior};
use bayeslora::low_level::train::{PruneGauge, PruneReport, ScoredRank};
use serde::Serialize;

use super::PruneArgs;
use super::images::HeldOutSet;
use crate::cli::location::Location;
use crate::cli::tables;

/// Each field is printed under its name.
#[derive(Serialize)]
pub struct Report {
    pub held_out: HeldOutSet,
    #[serde(flatten)]
    pub found: PruneReport,
    /// Directory of the pruned run; null where nothing was written.
    pub written: Option<Location>,
}

pub fn describe(report: &Report, args: &PruneArgs) -> String {
    let HeldOutSet {
        data,
        split,
        images,
    } = &report.held_out;
    let changed = match report.found.event.max_log_prob_change {
        Some(change) => format!("largest change of a log probability: {change:.4}\n"),
        None => String::new(),
    };
    format!(
        "{}\n\n{images} {split} images of {data}, mean weights\n{}\n{changed}\n{}\n{}\n\n{}",
        layer_table(&report.found).trim_fmt(),
        cost(&report.found).trim_fmt(),
        basis(&report.found),
        curve(&report.found).trim_fmt(),
        outcome(report, args)
    )
}

fn layer_table(report: &PruneReport) -> comfy_table::Table {
    let by = report.by.title();
    let (left, cut) = (format!("{by} left"), format!("{by} cut"));
    let header = ["layer", "ranks", "left", &left, &cut];
    let mut table = tables::new(&header, &[1, 2]);
    for layer in &report.layers {
        table.add_row([
            layer.layer.clone(),
            layer.before.to_string(),
            layer.after.to_string(),
            range(&layer.kept, report.by),
            range(&layer.cut, report.by),
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

fn range(ranks: &[ScoredRank], by: Order) -> String {
    let values = || ranks.iter().map(|rank| rank.score);
    let (low, high) = (
        values().fold(f64::INFINITY, f64::min),
        values().fold(f64::NEG_INFINITY, f64::max),
    );
    let [low, high] = [low, high].map(|value| match by {
        Order::Alpha => format!("{value:.2}"),
        _ => format!("{value:.2e}"),
    });
    match ranks.len() {
        0 => String::new(),
        _ if low == high => low,
        _ => format!("{low} to {high}"),
    }
}

/// Scores and sizes before and after.
fn cost(report: &PruneReport) -> comfy_table::Table {
    let mut table = tables::new(&["", "before", "after", "change"], &[1, 2, 3]);
    let mut row = |name: &str, before: f64, after: f64, digits: usize| {
        table.add_row([
            name.into(),
            format!("{before:.digits$}"),
            format!("{after:.digits$}"),
            tables::change(after - before, digits),
        ]);
    };
    if let (Some(before), Some(after)) = (&report.event.before, &report.event.after) {
        row("accuracy", before.accuracy, after.accuracy, 4);
        row("NLL", before.nll, after.nll, 4);
        row("ECE", before.ece, after.ece, 4);
    }
    let (before, after) = (report.effective_rank_before, report.effective_rank_after);
    row("effective rank", before, after, 1);
    let (before, after) = (report.scalars_before, report.scalars_after);
    let scalars = match report.posterior {
        Some(Posterior::Mixed) => "scalars, mixed gates included",
        _ => "scalars",
    };
    row(scalars, before as f64, after as f64, 0);
    table
}

fn basis(report: &PruneReport) -> String {
    let basis = match report.gauge {
        PruneGauge::None => "in the basis of their training",
        PruneGauge::Svd => "in the singular directions of B A",
        PruneGauge::Evidence => "in the basis of the evidence",
    };
    let images = match report.evidence_images {
        Some(images) => format!("; evidence from {images} training images"),
        None => String::new(),
    };
    format!("cuts {basis}, by {}{images}", report.by.title())
}

fn curve(report: &PruneReport) -> comfy_table::Table {
    let header = [
        "ranks left",
        "scalars",
        "NLL",
        "change",
        "foretold",
        "KL",
        "foretold",
        "accuracy",
    ];
    let mut table = tables::new(&header, &[0, 1, 2, 3, 4, 5, 6, 7]);
    for point in &report.curve {
        table.add_row([
            point.ranks.to_string(),
            point.scalars.to_string(),
            format!("{:.4}", point.nll),
            format!(
                "{} ± {:.4}",
                tables::change(point.nll_change, 4),
                point.nll_change_se
            ),
            point.predicted_nll.map_or(String::new(), |nll| {
                tables::change(nll - report.nll_before, 4)
            }),
            // Rounding can leave a KL of zero just below it.
            format!("{:.4}", point.kl.max(0.0)),
            point
                .predicted_kl
                .map_or(String::new(), |kl| format!("{:.4}", kl.max(0.0))),
            format!("{:.4}", point.accuracy),
        ]);
    }
    table
}

/// What was done, in words.
fn outcome(report: &Report, args: &PruneArgs) -> String {
    let found = &report.found;
    let cut = found.event.ranks_before - found.event.ranks_after;
    let ranks = match cut {
        1 => "1 rank".into(),
        _ if cut == found.event.ranks_before => format!("all {cut} ranks"),
        _ => format!("{cut} ranks"),
    };
    let rest = match found.event.ranks_after {
        0 => "; what is left is the backbone with its new head",
        _ => "",
    };
    let limits = [
        args.max_nll_increase
            .map(|most| format!("raise the NLL by over {most}")),
        args.max_accuracy_drop
            .map(|most| format!("lower the accuracy by over {most}")),
    ];
    let limits: Vec<_> = limits.into_iter().flatten().collect();
    let limit = match cut < found.candidates && !limits.is_empty() {
        true => {
            let candidates = found.candidates;
            format!(
                " (of {candidates} candidates; the next would {})",
                limits.join(" or ")
            )
        }
        false => String::new(),
    };
    match &report.written {
        None if args.dry_run => {
            format!("dry run: {ranks} would be cut{limit}{rest}; nothing was written")
        }
        None if cut == 0 => format!("nothing to cut{limit}; nothing was written"),
        None => format!("{ranks} to cut{limit}"),
        Some(new) => {
            format!(
                "{ranks} cut{limit}{rest}: the pruned run is {new}, the run itself is as it was"
            )
        }
    }
}
