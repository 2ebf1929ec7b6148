//! What the study set out to show, and whether it did.

use super::Material;
use crate::metrics::Interval;
use crate::report::number::{decimal, range, signed};
use crate::report::unfamiliar;
use crate::report::{Comparison, FinalRanks, PruneRecord, Results, Row, Target, Verdict};
use crate::study::RunSpec;
use crate::study::runs::SAMPLES;

/// Accuracy that BayesLoRA may lose to LoRA, and that a cut may cost.
const ACCURACY_LOSS: f64 = 0.003;
const CUT_ACCURACY: f64 = 0.001;
/// NLL that a cut may cost, in nats.
const CUT_NLL: f64 = 0.005;
/// NLL that half of the ranks may cost, in nats.
const HALF_NLL: f64 = 0.004;
/// NLL that `--rank auto` may differ by over initial ranks, in nats.
const AUTO_NLL: f64 = 0.005;
/// How far final ranks may lie apart, as a share of the smallest.
const RANK_SPREAD: f64 = 0.2;
/// Single passes that eight samples may cost.
const PASSES: f64 = 4.5;

/// The aims of the study, compared with its results.
pub fn targets(material: &Material, results: &Results) -> Vec<Target> {
    let [plain, gated] = material.headline();
    let lora = format!("{}/mean", plain.name);
    let bayes = format!("{}/samples-{SAMPLES}", gated.name);
    let comparison = |baseline: &str, measure: &str| {
        let mut all = results.comparisons.iter();
        all.find(|c| c.row == bayes && c.baseline == baseline && c.measure == measure)
    };
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
            // Stated before the study: a family of its own.
            let reached = found.uncorrected() == Verdict::Better;
            (in_words(found), Some(reached))
        }),
    );
    let tempered = format!("{lora}+temperature");
    for other in others(results, &tempered) {
        let beside = |measure| comparison(&other.name, measure).map(in_words);
        let found = match (beside("nll"), beside("ece")) {
            (Some(nll), Some(ece)) => Some((format!("NLL {nll}; ECE {ece}"), None)),
            _ => None,
        };
        let aim = format!(
            "NLL and ECE beside {}, whichever way they fall",
            other.title
        );
        add(&aim, found);
    }
    add(
        "at most half of the ranks left",
        results.row(&bayes).map(|row| {
            let initial = results.kappa_ranks(material);
            let found = format!("{} of {initial}", decimal(row.rank.mean, 1));
            (found, Some(row.rank.mean <= initial as f64 / 2.0))
        }),
    );
    add(
        "no cut costs more than 0.1 points or 0.005 NLL",
        worst_cuts(results, &gated.title),
    );
    for run in material.headline() {
        add(
            &format!(
                "half of the ranks of {} cut for at most .004 NLL and 0.1 points, by interval",
                run.title
            ),
            half_cut(results, run),
        );
    }
    add(
        "final ranks within 20 % over the initial ranks",
        final_ranks(results),
    );
    for method in ["LoRA", "BayesLoRA"] {
        let series = format!("{method}, rank auto");
        if !material.settings.auto_ranks.is_empty() {
            add(
                &format!(
                    "{series}: final NLL within .005 over the initial ranks, none above LoRA's, with temperatures"
                ),
                automatic_ranks(results, &series, material.settings.rank),
            );
        }
    }
    if material.settings.without_classes {
        add(
            "two classes held out: AUROC of the Mahalanobis distance above max probability's, by interval",
            held_out_classes(material, results),
        );
    }
    add(
        "8 samples cost at most 4.5 single passes",
        results
            .sample_counts
            .iter()
            .flat_map(|curve| &curve.points)
            .find(|point| point.samples == SAMPLES)
            .and_then(|point| point.passes)
            .map(|passes| (decimal(passes, 2), Some(passes <= PASSES))),
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

/// Tempered LoRA and every Laplace row.
fn others<'a>(results: &'a Results, tempered: &'a str) -> impl Iterator<Item = &'a Row> {
    let is_other = move |row: &&Row| row.name == tempered || row.family == "laplace";
    results.rows.iter().filter(is_other)
}

fn in_words(found: &Comparison) -> String {
    match found.difference {
        Some(d) => format!("{} ({})", signed(d.estimate, 4), range(&d, 4)),
        None => "not measured".into(),
    }
}

fn in_points(found: &Comparison) -> String {
    match found.difference {
        Some(d) => {
            let points = Interval {
                estimate: 100.0 * d.estimate,
                low: 100.0 * d.low,
                high: 100.0 * d.high,
            };
            format!(
                "{} points ({})",
                signed(points.estimate, 2),
                range(&points, 2)
            )
        }
        None => "not measured".into(),
    }
}

/// Whatever is trained without them: each method must tell them.
fn held_out_classes(material: &Material, results: &Results) -> Option<(String, Option<bool>)> {
    let runs = material.runs.iter().filter(|spec| spec.without_classes);
    let found = runs.map(|spec| {
        let mut detections = results.unfamiliar.iter().flat_map(|set| &set.detections);
        let ours = detections.find(|one| one.row == spec.name && one.score == "mahalanobis")?;
        let difference = ours.difference.as_ref()?.interval?;
        let words = format!(
            "{} {}",
            spec.config.method.title(),
            unfamiliar::difference(&difference)
        );
        Some((words, difference.low > 0.0))
    });
    let (words, above): (Vec<String>, Vec<bool>) =
        found.collect::<Option<Vec<_>>>()?.into_iter().unzip();
    Some((words.join("; "), Some(above.iter().all(|above| *above))))
}

fn worst_cuts(results: &Results, run: &str) -> Option<(String, Option<bool>)> {
    let cuts: Vec<_> = results.prunes.iter().filter(|cut| cut.run == run).collect();
    if cuts.is_empty() {
        return None;
    }
    let largest = |values: Vec<f64>| values.into_iter().fold(f64::NEG_INFINITY, f64::max);
    let accuracy = |cut: &&PruneRecord| cut.accuracy_before - cut.accuracy_after;
    let nll = |cut: &&PruneRecord| cut.nll_after - cut.nll_before;
    let worst = largest(cuts.iter().map(accuracy).collect());
    let worst_nll = largest(cuts.iter().map(nll).collect());
    let within = |cut: &&&PruneRecord| accuracy(cut) <= CUT_ACCURACY + 1e-9 && nll(cut) <= CUT_NLL;
    let good = cuts.iter().filter(within).count();
    let found = format!(
        "{good} of {} cuts; the worst costs {} points, the worst NLL {}",
        cuts.len(),
        decimal(100.0 * worst, 2),
        decimal(worst_nll, 4)
    );
    Some((found, Some(good == cuts.len())))
}

/// In the basis of the evidence, mean weights on the test images.
fn half_cut(results: &Results, run: &RunSpec) -> Option<(String, Option<bool>)> {
    let mut cuts = results.cuts.iter();
    let cut = cuts.find(|cut| {
        (cut.run.as_str(), cut.gauge.as_str(), cut.share) == (&run.name, "evidence", Some(0.5))
    })?;
    let test = cut.test.as_ref()?;
    let (nll, accuracy) = (test.nll_change.interval?, test.accuracy_change.interval?);
    let found = format!(
        "NLL {} ({}); accuracy {} ({})",
        signed(nll.estimate, 4),
        range(&nll, 4),
        signed(accuracy.estimate, 4),
        range(&accuracy, 4)
    );
    let reached = nll.high <= HALF_NLL && accuracy.low >= -CUT_ACCURACY;
    Some((found, Some(reached)))
}

/// Whatever the rank that training starts from.
fn automatic_ranks(results: &Results, series: &str, rank: usize) -> Option<(String, Option<bool>)> {
    let of = |series: &str| -> Vec<(usize, f64)> {
        let points = results.final_ranks.iter();
        let points = points.filter(|point| point.series == series);
        let tempered = points.filter_map(|point| {
            let nll = point.tempered_nll.as_ref()?;
            Some((point.initial_rank, nll.mean))
        });
        tempered.collect()
    };
    let found = of(series);
    let (_, plain) = of("LoRA")
        .into_iter()
        .find(|(initial, _)| *initial == rank)?;
    if found.len() < 2 {
        return None;
    }
    let nll = || found.iter().map(|(_, nll)| *nll);
    let (low, high) = (
        nll().fold(f64::INFINITY, f64::min),
        nll().fold(f64::NEG_INFINITY, f64::max),
    );
    let each = found
        .iter()
        .map(|(rank, nll)| format!("{} from rank {rank}", decimal(*nll, 4)));
    let words = each.collect::<Vec<_>>().join("; ");
    let beside = format!("{words}; LoRA of rank {rank}: {}", decimal(plain, 4));
    Some((beside, Some(high - low <= AUTO_NLL && high <= plain)))
}

fn final_ranks(results: &Results) -> Option<(String, Option<bool>)> {
    let gated = |point: &&FinalRanks| point.series == "BayesLoRA";
    let found: Vec<(usize, f64)> = results
        .final_ranks
        .iter()
        .filter(gated)
        .map(|point| (point.initial_rank, point.ranks.mean))
        .collect();
    if found.len() < 2 {
        return None;
    }
    let ranks = || found.iter().map(|(_, left)| *left);
    let (low, high) = (
        ranks().fold(f64::INFINITY, f64::min),
        ranks().fold(0.0, f64::max),
    );
    let each = found
        .iter()
        .map(|(rank, left)| format!("{} from rank {rank}", decimal(*left, 1)));
    let words = each.collect::<Vec<_>>().join("; ");
    Some((words, Some(high <= low * (1.0 + RANK_SPREAD))))
}
