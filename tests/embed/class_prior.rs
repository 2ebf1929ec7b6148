//! A session's answers for another balance of the classes than that of training.

use bayeslora::low_level::data::Picture;
use bayeslora::low_level::formats::Adapter;
use bayeslora::low_level::predict::{
    Answer, ClassPrior, PredictError, Predictor, Samples, Session, SessionOptions, Source,
};

use super::subject::{ADAPTER, SIDE, images};
use crate::properties::{GPU, tiny_backbone};

/// Twelve images of class 0 to four and eight of the others: what the adapter is told that it was trained on.
fn uneven() -> Adapter {
    let mut adapter = ADAPTER.clone();
    let balance = adapter.class_balance.as_mut().unwrap();
    balance.images = vec![12, 4, 8];
    balance.prior = vec![0.5, 1.0 / 6.0, 1.0 / 3.0];
    adapter
}

fn asked(samples: usize, class_prior: Option<ClassPrior>) -> SessionOptions {
    SessionOptions {
        samples,
        seed: 7,
        class_prior,
        batch: 4,
        ..Default::default()
    }
}

fn weights(of: [f64; 3]) -> ClassPrior {
    let names = ["three", "one", "two"].map(str::to_owned);
    ClassPrior::Weights(names.into_iter().zip([of[2], of[0], of[1]]).collect())
}

fn answers(session: &mut Session, count: usize) -> Vec<Answer> {
    let pixels = images(count).read(&(0..count).collect::<Vec<_>>()).unwrap();
    let pictures = pixels.chunks_exact(SIDE * SIDE * 3);
    let pictures = pictures.map(|pixels| Picture::Rgb {
        width: SIDE as u32,
        height: SIDE as u32,
        pixels,
    });
    session.predict(&pictures.collect::<Vec<_>>()).unwrap()
}

fn entropy(row: &[f64]) -> f64 {
    row.iter().map(|p| -p * p.ln()).sum()
}

/// Worked in f64 from the probabilities of each draw.
#[test]
fn every_draw_is_adjusted_before_they_are_averaged() {
    const IMAGES: usize = 5;
    let trained = [0.5, 1.0 / 6.0, 1.0 / 3.0];
    let predictor = Predictor::new(&GPU, &tiny_backbone(), &uneven()).unwrap();
    let mut session = Session::new(&GPU, &tiny_backbone(), &uneven(), asked(1, None)).unwrap();
    for (prior, target) in [
        (ClassPrior::Uniform, [1.0 / 3.0; 3]),
        (weights([1.0, 6.0, 3.0]), [0.1, 0.6, 0.3]),
    ] {
        for samples in [0, 1, 6] {
            let drawn = Samples {
                shared: true,
                ..Samples::new(samples, 7)
            };
            let source = Source::images(images(IMAGES), SIDE);
            let logs = predictor.log_probs(&source, drawn, &mut |_| ()).unwrap();
            let adjusted: Vec<[f64; 3]> = logs
                .chunks_exact(3)
                .map(|row| {
                    let each = |c: usize| f64::from(row[c]).exp() * target[c] / trained[c];
                    let each = [0, 1, 2].map(each);
                    each.map(|p| p / each.iter().sum::<f64>())
                })
                .collect();
            session
                .set_options(asked(samples, Some(prior.clone())))
                .unwrap();
            for (image, answer) in answers(&mut session, IMAGES).iter().enumerate() {
                let draws = adjusted.iter().skip(image).step_by(IMAGES);
                let count = samples.max(1) as f64;
                let mean =
                    |of: &dyn Fn(&[f64; 3]) -> f64| draws.clone().map(of).sum::<f64>() / count;
                let means = [0, 1, 2].map(|c| mean(&|row| row[c]));
                let near = |found: f32, expected: f64| {
                    let found = f64::from(found);
                    assert!((found - expected).abs() < 2e-6, "{found} {expected}");
                };
                for class in &answer.classes {
                    let c = class.label;
                    near(class.probability, means[c]);
                    // By the second moments it loses digits.
                    let square = mean(&|row| (row[c] - means[c]).powi(2));
                    assert!((f64::from(class.std) - square.sqrt()).abs() < 1e-5);
                }
                let total = entropy(&means);
                near(answer.entropy, total);
                near(answer.mutual_information, total - mean(&|row| entropy(row)));
                assert!(
                    answer
                        .classes
                        .is_sorted_by(|a, b| a.probability >= b.probability)
                );
            }
        }
    }
}

/// It goes by the answers as they are given.
#[test]
fn the_threshold_is_that_of_the_adjusted_answers() {
    let mut session = Session::new(&GPU, &tiny_backbone(), &uneven(), asked(0, None)).unwrap();
    let plain = answers(&mut session, 1)[0].classes[0].probability;
    let prior = Some(weights([1e-9, 1.0, 1e-9]));
    session.set_options(asked(0, prior.clone())).unwrap();
    let sure = answers(&mut session, 1)[0].clone();
    assert!(sure.classes[0].label == 1 && sure.classes[0].probability > plain);
    let threshold = (plain + sure.classes[0].probability) / 2.0;
    for (prior, abstains) in [(None, true), (prior, false)] {
        let options = SessionOptions {
            threshold,
            ..asked(0, prior)
        };
        session.set_options(options).unwrap();
        assert_eq!(answers(&mut session, 1)[0].abstains, abstains);
    }
}

/// What the adapter was trained for changes no bit, by whichever name; and nothing of another prior is left behind.
#[test]
fn the_prior_of_training_changes_nothing() {
    let mut session = Session::new(&GPU, &tiny_backbone(), &uneven(), asked(3, None)).unwrap();
    let plain = answers(&mut session, 3);
    for prior in [ClassPrior::Train, weights([3.0, 1.0, 2.0])] {
        session
            .set_options(asked(3, Some(ClassPrior::Uniform)))
            .unwrap();
        assert_ne!(answers(&mut session, 3), plain);
        session.set_options(asked(3, Some(prior))).unwrap();
        assert_eq!(answers(&mut session, 3), plain);
    }
    session
        .set_options(asked(3, Some(ClassPrior::Uniform)))
        .unwrap();
    session.set_options(asked(3, None)).unwrap();
    assert_eq!(answers(&mut session, 3), plain);
}

#[test]
fn a_trainer_says_what_its_adapter_was_trained_for() {
    // 24 images, class by class in turn.
    let balance = ADAPTER.class_balance.clone().unwrap();
    assert_eq!(balance.images, [8, 8, 8]);
    assert!(balance.prior.iter().all(|p| (p - 1.0 / 3.0).abs() < 1e-12));
}

#[test]
fn priors_that_cannot_be_used_are_refused() {
    let refused = |adapter: &Adapter, options: SessionOptions| {
        let session = Session::new(&GPU, &tiny_backbone(), adapter, options);
        let error = session.err().expect("an error");
        bayeslora::in_full(&error)
    };
    let given = |class, weight| {
        ClassPrior::Weights(vec![("one".into(), 1.0), (String::from(class), weight)])
    };
    for (prior, says) in [
        (
            given("two", 1.0),
            "class_prior: there is no weight for the class three",
        ),
        (
            given("four", 1.0),
            "class_prior: the run does not know the class four",
        ),
        (given("two", -1.0), "class_prior: the weight of two is -1"),
        (
            given("one", 1.0),
            "class_prior: the class one has two weights",
        ),
    ] {
        let error = refused(&uneven(), asked(1, Some(prior)));
        assert!(error.starts_with(says), "{error}");
    }
    let mut unknown = uneven();
    unknown.class_balance = None;
    let error = refused(&unknown, asked(1, Some(ClassPrior::Uniform)));
    assert!(
        error.contains("does not say how many training images"),
        "{error}"
    );
    let mut without = uneven();
    let balance = without.class_balance.as_mut().unwrap();
    (balance.images, balance.prior) = (vec![12, 0, 8], vec![0.6, 0.0, 0.4]);
    let error = refused(&without, asked(1, Some(ClassPrior::Train)));
    assert!(
        error.contains("no training images of the class two"),
        "{error}"
    );
    let tempered = |temperature| SessionOptions {
        temperature: Some(temperature),
        ..asked(1, Some(ClassPrior::Uniform))
    };
    let error = Session::new(&GPU, &tiny_backbone(), &uneven(), tempered(2.0)).err();
    assert!(matches!(error, Some(PredictError::TemperedPrior)));
    // That is none.
    assert!(Session::new(&GPU, &tiny_backbone(), &uneven(), tempered(1.0)).is_ok());
}
