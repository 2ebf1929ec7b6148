//! What the study set out to show, and whether it did.

use super::Material;
use crate::report::{Comparison, Results, Row, Target, Verdict};
use crate::study::runs::SAMPLES;
use crate::train::Method;

/// Accuracy that BayesLoRA may lose to LoRA, and that a cut may cost.
const ACCURACY_LOSS: f64 = 0.003;
const CUT_ACCURACY: f64 = 0.001;
/// NLL that a cut may cost, in nats.
const CUT_NLL: f64 = 0.005;
/// How far final ranks may lie apart, as a share of the smallest.
const RANK_SPREAD: f64 = 0.2;
/// Single passes that eight samples may cost.
const PASSES: f64 = 4.5;

/// The aims of the study, held against its results.
pub fn targets(material: &Material, results: &Results) -> Vec<Target> {
    let [plain, gated] = material.headline();
    let lora = format!("{}/mean", plain.name);
    let bayes = format!("{}/samples-{SAMPLES}", gated.name);
    let comparison = |baseline: &str, measure: &str| {
        let mut all = results.comparisons.iter();
        all.find(|c| c.row == bayes && c.baseline == baseline && c.measure == measure)
    };
    let row = |name: &str| results.rows.iter().find(|row| row.name == name);
    let mut targets = Vec::new();
    let mut add = |aim: &str, found: Option<(String, Option<bool>)>| {
        let (found, reached) = found.unwrap_or(("not measured".into(), None));
        targets.push(Target {
            aim: aim.into(),
            found,
            reached,
        });
    };
    add(
        "accuracy within 0.3 points of LoRA's",
        comparison(&lora, "accuracy").map(|found| {
            let loss = -found.difference.map_or(f64::NAN, |d| d.estimate);
            (in_points(found), Some(loss <= ACCURACY_LOSS))
        }),
    );
    add(
        "NLL below LoRA's, the paired interval without 0",
        comparison(&lora, "nll").map(|found| {
            let reached = found.verdict == Verdict::Better;
            (in_words(found), Some(reached))
        }),
    );
    let tempered = format!("{lora}+temperature");
    for (title, baseline) in others(results, &tempered) {
        for measure in ["nll", "ece"] {
            let name = measure.to_uppercase();
            add(
                &format!("{name} beside {title}, whichever way it falls"),
                comparison(&baseline, measure).map(|found| (in_words(found), None)),
            );
        }
    }
    add(
        "at most half of the ranks left",
        row(&bayes).map(|row| {
            let initial = results.kappa_ranks(material);
            let found = format!("{:.1} of {initial}", row.rank.mean);
            (found, Some(row.rank.mean <= initial as f64 / 2.0))
        }),
    );
    add(
        "no cut costs more than 0.1 points or 0.005 NLL",
        worst_cuts(results, &gated.title),
    );
    add(
        "final ranks within 20 % over the initial ranks",
        final_ranks(material, results),
    );
    add(
        "8 samples cost at most 4.5 single passes",
        results
            .sample_counts
            .iter()
            .flat_map(|curve| &curve.points)
            .find(|point| point.samples == SAMPLES)
            .and_then(|point| point.passes)
            .map(|passes| (format!("{passes:.2}"), Some(passes <= PASSES))),
    );
    targets
}

impl Results {
    /// Ranks of the headline run before any cut.
    fn kappa_ranks(&self, material: &Material) -> usize {
        let layers = self.rows.iter().find_map(|row| {
            let first = row.training.first()?;
            Some(first.ranks.len())
        });
        layers.unwrap_or(0) * material.settings.rank
    }
}

/// Tempered LoRA and every Laplace row: title and name.
fn others(results: &Results, tempered: &str) -> Vec<(String, String)> {
    let is_other = |row: &&Row| row.name == tempered || row.family == "laplace";
    let rows = results.rows.iter().filter(is_other);
    rows.map(|row| (row.title.clone(), row.name.clone()))
        .collect()
}

fn in_words(found: &Comparison) -> String {
    match found.difference {
        Some(d) => format!("{:+.4} ({:+.4} to {:+.4})", d.estimate, d.low, d.high),
        None => "not measured".into(),
    }
}

fn in_points(found: &Comparison) -> String {
    match found.difference {
        Some(d) => {
            let [estimate, low, high] = [d.estimate, d.low, d.high].map(|value| 100.0 * value);
            format!("{estimate:+.2} points ({low:+.2} to {high:+.2})")
        }
        None => "not measured".into(),
    }
}

fn worst_cuts(results: &Results, run: &str) -> Option<(String, Option<bool>)> {
    let cuts: Vec<_> = results.prunes.iter().filter(|cut| cut.run == run).collect();
    if cuts.is_empty() {
        return None;
    }
    let largest = |values: Vec<f64>| values.into_iter().fold(f64::NEG_INFINITY, f64::max);
    let accuracy = |cut: &&crate::report::PruneRecord| cut.accuracy_before - cut.accuracy_after;
    let nll = |cut: &&crate::report::PruneRecord| cut.nll_after - cut.nll_before;
    let worst = largest(cuts.iter().map(accuracy).collect());
    let worst_nll = largest(cuts.iter().map(nll).collect());
    let within = |cut: &&&crate::report::PruneRecord| {
        accuracy(cut) <= CUT_ACCURACY + 1e-9 && nll(cut) <= CUT_NLL
    };
    let good = cuts.iter().filter(within).count();
    let found = format!(
        "{good} of {} cuts; the worst {:.2} points, {worst_nll:.4} NLL",
        cuts.len(),
        100.0 * worst
    );
    Some((found, Some(good == cuts.len())))
}

fn final_ranks(material: &Material, results: &Results) -> Option<(String, Option<bool>)> {
    // The same kappa throughout.
    let end = format!("-kappa-{}/mean", material.chosen.kl_multiplicity);
    let is_bayes = |row: &&Row| row.family == Method::BayesLora.name() && row.name.ends_with(&end);
    let rows: Vec<&Row> = results.rows.iter().filter(is_bayes).collect();
    if rows.len() < 2 {
        return None;
    }
    let ranks = || rows.iter().map(|row| row.rank.mean);
    let (low, high) = (
        ranks().fold(f64::INFINITY, f64::min),
        ranks().fold(0.0, f64::max),
    );
    let each = rows
        .iter()
        .map(|row| format!("{}: {:.1}", row.title, row.rank.mean));
    let found = each.collect::<Vec<_>>().join("; ");
    Some((found, Some(high <= low * (1.0 + RANK_SPREAD))))
}
