//! How well a score tells unfamiliar images: areas under ROC curves, beside those of the largest probability, and histograms.

use super::scores::{mean_of, over_seeds};
use crate::metrics::{Bootstrap, auroc, drawn_scores, fpr95, quantile};
use crate::report::{Detection, Histogram, Score};
use crate::study::RunSpec;

/// Bins of a histogram.
const BINS: usize = 30;

/// Share of the images on each side that a histogram's range leaves out at most, in its outermost bins.
const TAIL: f64 = 0.01;

/// One seed's scores of the familiar images and of the unfamiliar ones.
pub type Sides = [Vec<f64>; 2];

/// A score's sides and those of the score that it is compared with.
pub type Pair<'a> = (&'a Sides, &'a Sides);

/// Of one score of a run over the seeds that there are.
pub fn detection(spec: &RunSpec, score: &str, seeds: &[Pair], bootstrap: &Bootstrap) -> Detection {
    let by_seed = |pair: &Pair| {
        let ([known, unknown], [base_known, base_unknown]) = pair;
        let area = auroc(known, unknown);
        let lead = area - auroc(base_known, base_unknown);
        [area, fpr95(known, unknown), lead]
    };
    let drawn_of = |drawn: &[usize], (ours, base): &Pair| {
        let sides = |[known, unknown]: &Sides| drawn_scores(drawn, known, unknown);
        match (sides(ours), sides(base)) {
            (Some(ours), Some(base)) => by_seed(&(&ours, &base)),
            _ => [0.5, 1.0, 0.0],
        }
    };
    let all = seeds[0].0.iter().map(Vec::len).sum();
    let intervals = bootstrap.intervals(all, |drawn| {
        mean_of(seeds.iter().map(|pair| drawn_of(drawn, pair)), seeds.len())
    });
    let found: Vec<[f64; 3]> = seeds.iter().map(by_seed).collect();
    let over = |place: usize| Score {
        interval: Some(intervals[place]),
        ..over_seeds(found.iter().map(|values| values[place]).collect())
    };
    Detection {
        row: spec.name.clone(),
        title: spec.title.clone(),
        family: spec.config.method.name().into(),
        score: score.into(),
        auroc: over(0),
        fpr95: over(1),
        difference: Some(over(2)),
    }
}

/// Of both sides, over what most of their images have.
pub fn histogram(spec: &RunSpec, score: &str, sides: &Sides) -> Histogram {
    let ends = sides.each_ref().map(|values| {
        let mut values = values.clone();
        values.sort_unstable_by(f64::total_cmp);
        [TAIL, 1.0 - TAIL].map(|share| quantile(&values, share))
    });
    let low = ends[0][0].min(ends[1][0]);
    let high = ends[0][1].max(ends[1][1]);
    let width = ((high - low) / BINS as f64).max(f64::MIN_POSITIVE);
    let [familiar, unfamiliar] = sides.each_ref().map(|values| {
        let mut counts = vec![0; BINS];
        for value in values {
            // What lies below the range is in its first bin.
            counts[(((value - low) / width) as usize).min(BINS - 1)] += 1;
        }
        counts
    });
    Histogram {
        row: spec.name.clone(),
        title: spec.title.clone(),
        score: score.into(),
        edges: (0..=BINS).map(|bin| low + width * bin as f64).collect(),
        familiar,
        unfamiliar,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::{Chosen, Scale, runs};
    use crate::train::kl::KlMultiplicity;

    fn spec() -> RunSpec {
        let chosen = Chosen {
            kl_multiplicity: KlMultiplicity::Unit,
            default_multiplicity: KlMultiplicity::Unit,
            weight_decay: None,
            rank_per_layer: 4,
        };
        runs(&Scale::Smoke.settings(), &chosen).remove(0)
    }

    /// Areas counted by hand, pair by pair, on two seeds.
    #[test]
    fn differences_are_paired_by_seed() {
        let sides = |known: &[f64], unknown: &[f64]| [known.to_vec(), unknown.to_vec()];
        // Of six pairs 5 and 4 1/2 are in order, of the base 3 and 6.
        let ours = [
            sides(&[1.0, 2.0, 4.0], &[3.0, 5.0]),
            sides(&[1.0, 2.0, 3.0], &[2.0, 4.0]),
        ];
        let base = [
            sides(&[1.0, 3.0, 3.0], &[3.0, 2.0]),
            sides(&[0.0, 0.0, 0.0], &[1.0, 1.0]),
        ];
        let pairs = [(&ours[0], &base[0]), (&ours[1], &base[1])];
        let found = detection(&spec(), "energy", &pairs, &Bootstrap::default());
        let close = |found: &[f64], expected: [f64; 2]| {
            let near = found
                .iter()
                .zip(expected)
                .all(|(a, b)| (a - b).abs() < 1e-12);
            assert!(near && found.len() == 2, "{found:?} {expected:?}");
        };
        close(&found.auroc.by_seed, [5.0 / 6.0, 4.5 / 6.0]);
        let difference = found.difference.unwrap();
        close(&difference.by_seed, [2.0 / 6.0, -1.5 / 6.0]);
        assert!((difference.mean - 0.25 / 6.0).abs() < 1e-12);
        let interval = difference.interval.unwrap();
        assert!((interval.estimate - difference.mean).abs() < 1e-12);
        assert!(interval.low < difference.mean && difference.mean < interval.high);
    }

    /// One image far off does not make a single bin of all others.
    #[test]
    fn histograms_show_what_most_images_have() {
        let known: Vec<f64> = (0..1000).map(f64::from).collect();
        let mut unknown: Vec<f64> = (500..1500).map(f64::from).collect();
        unknown[7] = 1e9;
        unknown[8] = -1e9;
        let found = histogram(&spec(), "mahalanobis", &[known, unknown]);
        assert!(found.edges[0] < 20.0 && (1400.0..1600.0).contains(&found.edges[BINS]));
        for counts in [&found.familiar, &found.unfamiliar] {
            assert_eq!(counts.iter().sum::<usize>(), 1000);
            assert!(counts.iter().filter(|count| **count > 20).count() > BINS / 2);
        }
    }
}
