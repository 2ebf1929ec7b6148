//! The promises of risk control and prediction sets, by simulation: what they guarantee must hold over many draws of the held-out
//! images, for a model of which the truth is known.

use bayeslora::low_level::metrics::{PredictionSets, Predictions, RiskControl, SetOptions};
use bayeslora::low_level::predict::Calibration;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

const CLASSES: usize = 4;

/// Images of a model that is overconfident: probabilities `[n, 4]`, labels, and a number for each image.
struct Drawn {
    probabilities: Vec<f32>,
    labels: Vec<u32>,
    ties: Vec<f64>,
}

impl Drawn {
    fn new(random: &mut Pcg64, n: usize) -> Self {
        let mut drawn = Self {
            probabilities: Vec::new(),
            labels: Vec::new(),
            ties: Vec::new(),
        };
        for _ in 0..n {
            let logits: [f64; CLASSES] = std::array::from_fn(|_| 3.0 * random.random::<f64>());
            let softmax = |scale: f64| -> Vec<f64> {
                let each = logits.map(|logit| (scale * logit).exp());
                let sum: f64 = each.iter().sum();
                each.iter().map(|value| value / sum).collect()
            };
            // The truth is softer than what the model says.
            let (truth, said) = (softmax(2.5), softmax(5.0));
            let mut left: f64 = random.random();
            let label = truth.iter().position(|p| {
                left -= p;
                left < 0.0
            });
            drawn.probabilities.extend(said.iter().map(|p| *p as f32));
            drawn.labels.push(label.unwrap_or(CLASSES - 1) as u32);
            drawn.ties.push(random.random());
        }
        drawn
    }

    fn predictions(&self) -> Predictions<'_> {
        Predictions::new(&self.probabilities, &self.labels, CLASSES).unwrap()
    }

    fn fit(&self, coverage: f64, by_class: bool) -> PredictionSets {
        let options = SetOptions { coverage, by_class };
        PredictionSets::fit(
            &self.probabilities,
            &self.labels,
            &self.ties,
            CLASSES,
            options,
        )
        .unwrap()
    }

    fn sets(&self, of: &PredictionSets) -> Vec<Vec<usize>> {
        let rows = self.probabilities.chunks_exact(CLASSES).zip(&self.ties);
        rows.map(|(row, tie)| of.of(row, *tie)).collect()
    }
}

/// With 95 % confidence at most 20 % of the answers are wrong: in at most 5 % of the draws is the true risk higher. Of 400
/// draws 20 may fail by the promise; 31 is what chance allows on top (two and a half standard deviations).
#[test]
fn the_promised_risk_holds_in_the_promised_share_of_draws() {
    let mut random = Pcg64::seed_from_u64(1);
    let truth = Drawn::new(&mut random, 100_000);
    let predictions = truth.predictions();
    let outcomes: Vec<(f32, bool)> = predictions
        .confidence()
        .into_iter()
        .zip(predictions.correct())
        .collect();
    assert!(
        outcomes.iter().filter(|one| !one.1).count() > 20_000,
        "answering all would break it"
    );
    let (mut broken, mut found, mut answered) = (0, 0, 0.0);
    for _ in 0..400 {
        let held_out = Drawn::new(&mut random, 500);
        let predictions = held_out.predictions();
        let (confidence, correct) = (predictions.confidence(), predictions.correct());
        let Some(control) = RiskControl::fit(&confidence, &correct, 0.2, 0.95) else {
            continue;
        };
        let given: Vec<_> = outcomes
            .iter()
            .filter(|one| control.answers(one.0))
            .collect();
        let wrong = given.iter().filter(|one| !one.1).count();
        let risk = wrong as f64 / given.len().max(1) as f64;
        broken += usize::from(risk > 0.2);
        found += 1;
        answered += given.len() as f64 / outcomes.len() as f64;
    }
    assert!(broken <= 31, "{broken} of 400");
    // And it is of use: it answers about as much as a risk of .2 allows.
    assert!(found > 350, "{found} of 400");
    assert!(
        answered / f64::from(found) > 0.3,
        "{}",
        answered / f64::from(found)
    );
}

#[test]
fn where_nothing_can_be_promised_there_is_no_threshold() {
    assert_eq!(RiskControl::fit(&[], &[], 0.1, 0.95), None);
    assert_eq!(
        RiskControl::fit(&[0.9; 500], &[false; 500], 0.1, 0.95),
        None
    );
    // 500 that are right promise the risk of an error that they would have missed.
    let least = RiskControl::least_risk(500, 0.95);
    // (.05 / 12)^(1 / 500) of all are right at least: the error is divided over twelve sequences.
    assert!((least - 0.010_901).abs() < 1e-5, "{least}");
    let fit = |max_risk| RiskControl::fit(&[0.99; 500], &[true; 500], max_risk, 0.95);
    assert_eq!(fit(least - 1e-9), None);
    let control = fit(least + 1e-9).unwrap();
    assert_eq!(
        (control.images, control.answered, control.wrong),
        (500, 500, 0)
    );
    assert!(control.answers(0.99));
}

/// Split conformal sets hold the right class with probability c to c + 1 / (n + 1), over draws of n held-out images and one
/// more. Over 400 draws, each judged on 500 others, the mean's standard deviation is about
/// sqrt(c (1 - c) / (n + 2) / 400) = .0011 for n = 200, the judging's .0007: four of both together are .005.
#[test]
fn sets_hold_the_right_class_as_often_as_promised() {
    let mut random = Pcg64::seed_from_u64(2);
    for coverage in [0.9, 0.95] {
        let (mut held, n) = (0.0, 200);
        for _ in 0..400 {
            let (held_out, others) = (Drawn::new(&mut random, n), Drawn::new(&mut random, 500));
            let sets = held_out.fit(coverage, false);
            let found = others.sets(&sets);
            let pairs = found.iter().zip(&others.labels);
            let right = pairs.filter(|(set, label)| set.contains(&(**label as usize)));
            held += right.count() as f64 / others.labels.len() as f64 / 400.0;
        }
        // The most probable class is in whatever its score, which adds a little.
        assert!(held > coverage - 0.005, "{held} of {coverage}");
        assert!(held < coverage + 0.03, "{held} of {coverage}");
    }
}

#[test]
fn by_class_each_class_is_covered() {
    let mut random = Pcg64::seed_from_u64(3);
    let (mut held, mut all) = ([0.0; CLASSES], [0.0; CLASSES]);
    for _ in 0..200 {
        let (held_out, others) = (Drawn::new(&mut random, 400), Drawn::new(&mut random, 400));
        let sets = held_out.fit(0.9, true);
        assert_eq!(sets.limits.len(), CLASSES);
        for (set, label) in others.sets(&sets).iter().zip(&others.labels) {
            let label = *label as usize;
            all[label] += 1.0;
            held[label] += f64::from(u8::from(set.contains(&label)));
        }
    }
    for (held, all) in held.iter().zip(all) {
        assert!(held / all > 0.89, "{}", held / all);
    }
}

/// Kept for each predictive; for another adapter, or with limits of other classes, there is none.
#[test]
fn a_calibration_is_that_of_its_predictive() {
    let dir = tempfile::tempdir().unwrap();
    let of = |samples, seed, limits: usize| Calibration {
        samples,
        seed,
        risk_control: None,
        prediction_sets: Some(PredictionSets {
            coverage: 0.9,
            images: 100,
            limits: vec![Some(0.5); limits],
        }),
    };
    let all = [of(0, 1, 1), of(8, 1, 3), of(8, 2, 1)];
    for one in &all {
        one.save(dir.path(), "this").unwrap();
    }
    let load =
        |adapter, predictive, classes| Calibration::load(dir.path(), adapter, predictive, classes);
    for one in &all {
        let found = load("this", (one.samples, one.seed), 3).unwrap();
        assert_eq!(found.as_ref(), Some(one));
    }
    // The mean weights draw nothing, whatever the seed.
    assert!(load("this", (0, 7), 3).unwrap().is_some());
    assert_eq!(load("this", (8, 3), 3).unwrap(), None);
    for (adapter, classes, part) in [("that", 3, "another adapter"), ("this", 4, "classes")] {
        let error = load(adapter, (8, 1), classes).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}

/// Worked by hand: scores of the right classes with ties of one half are .25, .7 and .3; of three, the ceil(4 x .7) = third
/// is the limit of 70 %.
#[test]
fn sets_by_hand() {
    let probabilities = [0.5, 0.3, 0.2, 0.2, 0.6, 0.2, 0.3, 0.1, 0.6];
    let labels = [0, 0, 2];
    let options = SetOptions {
        coverage: 0.7,
        by_class: false,
    };
    let sets = PredictionSets::fit(&probabilities, &labels, &[0.5; 3], 3, options).unwrap();
    assert!((sets.limits[0].unwrap() - 0.7).abs() < 1e-6);
    // .25, .65 and .9 against .7.
    assert_eq!(sets.of(&probabilities[..3], 0.5), [0, 1]);
    // The most probable class is always in.
    assert_eq!(sets.of(&[0.9, 0.1, 0.0], 1.0), [0]);
    // Too few for a limit: everything is in.
    let few = PredictionSets::fit(
        &probabilities,
        &labels,
        &[0.5; 3],
        3,
        SetOptions {
            coverage: 0.8,
            by_class: false,
        },
    )
    .unwrap();
    assert_eq!(few.limits, [None]);
    assert_eq!(few.of(&probabilities[..3], 0.5), [0, 1, 2]);
    assert_eq!(PredictionSets::least_images(0.8), 4);
    assert_eq!(PredictionSets::least_images(0.9), 9);
}
