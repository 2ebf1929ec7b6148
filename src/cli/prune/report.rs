//! The report of a prune.

use bayeslora::low_level::model::AdapterLayout;
use bayeslora::low_level::train::gauge::{Order, Posterior, Ranks};
use bayeslora::low_level::train::{PruneEvent, PruneGauge};
use serde::Serialize;

use super::PruneArgs;
use super::bench::HeldOutSet;
use super::choices::title;
use super::cuts::CurvePoint;
use crate::cli::location::Location;
use crate::cli::tables;

/// Each field is printed under its name.
#[derive(Serialize)]
pub struct Report {
    pub held_out: HeldOutSet,
    pub gauge: PruneGauge,
    pub by: Order,
    pub posterior: Option<Posterior>,
    /// Ranks that may go: at or above the threshold (all, without one), as far as --min-rank lets them.
    pub candidates: usize,
    #[serde(flatten)]
    pub event: PruneEvent,
    pub nll_before: f64,
    pub nll_after: f64,
    pub accuracy_before: f64,
    pub accuracy_after: f64,
    /// As the gates' gradients foretell it: the slope of the NLL on the held-out images, and the KL; null without evidence.
    pub predicted_nll: Option<f64>,
    /// KL of the cut model from the uncut one, nats per image.
    pub kl: f64,
    /// The same as the gates' gradients foretell it, cross terms included; null without evidence.
    pub predicted_kl: Option<f64>,
    /// Training images that the evidence is from; null without.
    pub evidence_images: Option<usize>,
    pub effective_rank_before: f64,
    pub effective_rank_after: f64,
    /// Numbers that the adapter has.
    pub scalars_before: usize,
    pub scalars_after: usize,
    pub layers: Vec<LayerReport>,
    pub curve: Vec<CurvePoint>,
    /// Directory of the pruned run; null where nothing was written.
    pub written: Option<Location>,
}

#[derive(Serialize)]
pub struct LayerReport {
    layer: String,
    before: usize,
    after: usize,
    kept: Vec<Rank>,
    cut: Vec<Rank>,
}

#[derive(Serialize)]
struct Rank {
    /// Its number in the basis of the cut: where that is the trained one, its number before any pruning.
    rank: u32,
    /// What it was chosen by.
    score: f64,
}

impl LayerReport {
    pub fn all(ranks: &Ranks, scores: &[Vec<f64>], kept: &[Vec<usize>], by: Order) -> Vec<Self> {
        let AdapterLayout { layers, .. } = &ranks.layout;
        let layers = layers.iter().zip(scores).zip(kept);
        layers
            .map(|((layer, scores), kept)| {
                let all = (0..layer.rank()).map(|place| Rank {
                    rank: layer.rank_ids[place],
                    score: match by {
                        Order::Alpha => -scores[place],
                        _ => scores[place],
                    },
                });
                let (left, cut): (Vec<_>, Vec<_>) =
                    all.enumerate().partition(|(place, _)| kept.contains(place));
                let ranks = |of: Vec<(usize, Rank)>| of.into_iter().map(|(_, rank)| rank).collect();
                Self {
                    layer: layer.name.clone(),
                    before: layer.rank(),
                    after: kept.len(),
                    kept: ranks(left),
                    cut: ranks(cut),
                }
            })
            .collect()
    }
}

pub fn describe(report: &Report, args: &PruneArgs) -> String {
    let HeldOutSet {
        data,
        split,
        images,
    } = &report.held_out;
    let changed = match report.event.max_log_prob_change {
        Some(change) => format!("largest change of a log probability: {change:.4}\n"),
        None => String::new(),
    };
    format!(
        "{}\n\n{images} {split} images of {data}, mean weights\n{}\n{changed}\n{}\n{}\n\n{}",
        layer_table(report).trim_fmt(),
        cost(report).trim_fmt(),
        basis(report),
        curve(report).trim_fmt(),
        outcome(report, args)
    )
}

fn layer_table(report: &Report) -> comfy_table::Table {
    let by = title(report.by);
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

fn range(ranks: &[Rank], by: Order) -> String {
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
fn cost(report: &Report) -> comfy_table::Table {
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

fn basis(report: &Report) -> String {
    let basis = match report.gauge {
        PruneGauge::None => "in the basis of their training",
        PruneGauge::Svd => "in the singular directions of B A",
        PruneGauge::Evidence => "in the basis of the evidence",
    };
    let images = match report.evidence_images {
        Some(images) => format!("; evidence from {images} training images"),
        None => String::new(),
    };
    format!("cuts {basis}, by {}{images}", title(report.by))
}

fn curve(report: &Report) -> comfy_table::Table {
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
    let cut = report.event.ranks_before - report.event.ranks_after;
    let ranks = match cut {
        1 => "1 rank".into(),
        _ if cut == report.event.ranks_before => format!("all {cut} ranks"),
        _ => format!("{cut} ranks"),
    };
    let rest = match report.event.ranks_after {
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
    let limit = match cut < report.candidates && !limits.is_empty() {
        true => {
            let candidates = report.candidates;
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
