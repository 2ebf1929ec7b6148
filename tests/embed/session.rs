//! A session answers as a predictor does, whatever is asked beside it, and builds its plans once.

use bayeslora::low_level::data::{DataError, Picture};
use bayeslora::low_level::gpu::GpuOptions;
use bayeslora::low_level::predict::{
    Answer, Ensemble, PredictError, Predictor, Samples, Session, SessionOptions,
};

use super::subject::{ADAPTER, SIDE, images};
use crate::common;
use crate::properties::{GPU, tiny_backbone};

fn session(options: SessionOptions) -> Session {
    Session::new(&GPU, &tiny_backbone(), &ADAPTER, options).unwrap()
}

fn pictures(pixels: &[u8]) -> Vec<Picture<'_>> {
    let each = pixels.chunks_exact(SIDE * SIDE * 3);
    each.map(|pixels| Picture::Rgb {
        width: SIDE as u32,
        height: SIDE as u32,
        pixels,
    })
    .collect()
}

/// By label.
fn probabilities(answer: &Answer) -> Vec<f32> {
    let mut all = vec![0.0; answer.classes.len()];
    for class in &answer.classes {
        all[class.label] = class.probability;
    }
    all
}

#[test]
fn it_answers_as_a_predictor_does() {
    let predictor = Predictor::new(&GPU, &tiny_backbone(), &ADAPTER).unwrap();
    // More draws than a pass computes, too.
    for samples in [0, 1, 5, 200] {
        let drawn = Samples {
            shared: true,
            ..Samples::new(samples, 7)
        };
        let options = SessionOptions {
            samples,
            seed: 7,
            batch: 4,
            ..Default::default()
        };
        let mut session = session(options);
        for count in [1, 3, 7] {
            let set = images(count);
            let all: Vec<usize> = (0..count).collect();
            let pixels = set.read(&all).unwrap();
            let expected = predictor.predict(set, drawn, false).unwrap();
            let answers = session.predict(&pictures(&pixels)).unwrap();
            assert_eq!(answers.len(), count);
            for (row, answer) in answers.iter().enumerate() {
                let wanted = &expected.mean[3 * row..][..3];
                let found = probabilities(answer);
                let close = |a: &f32, b: &f32| (a - b).abs() < 1e-6;
                assert!(
                    found.iter().zip(wanted).all(|(a, b)| close(a, b)),
                    "{samples}"
                );
                assert!(close(&answer.entropy, &expected.entropy[row]));
                let information = expected.mutual_information[row];
                assert!(close(&answer.mutual_information, &information));
                let first = &answer.classes[0];
                assert!(close(&first.std, &expected.std[3 * row + first.label]));
                assert!(
                    answer
                        .classes
                        .is_sorted_by(|a, b| a.probability >= b.probability)
                );
            }
        }
    }
}

#[test]
fn a_picture_is_answered_alike_whatever_is_beside_it() {
    let mut session = session(SessionOptions::default());
    let pixels = images(6).read(&[0, 1, 2, 3, 4, 5]).unwrap();
    let all = pictures(&pixels);
    let together = session.predict(&all).unwrap();
    let alone = session.predict(&all[4..5]).unwrap();
    // Batches of other sizes may round otherwise.
    let pairs = probabilities(&together[4]);
    let pairs = pairs.iter().zip(probabilities(&alone[0]));
    assert!(pairs.into_iter().all(|(a, b)| (a - b).abs() < 1e-6));
    assert_eq!(session.predict(&all).unwrap(), together, "warm as cold");
}

#[test]
fn thresholds_and_temperatures_are_kept_to() {
    let pixels = images(5).read(&[0, 1, 2, 3, 4]).unwrap();
    let all = pictures(&pixels);
    let sure = session(SessionOptions::default()).predict(&all).unwrap();
    assert!(sure.iter().all(|answer| !answer.abstains));
    let threshold = sure[2].classes[0].probability;
    let options = SessionOptions {
        threshold,
        ..Default::default()
    };
    for answer in session(options).predict(&all).unwrap() {
        assert_eq!(answer.abstains, answer.classes[0].probability < threshold);
    }
    let warm = SessionOptions {
        temperature: Some(3.0),
        ..Default::default()
    };
    for (cold, warm) in sure.iter().zip(session(warm).predict(&all).unwrap()) {
        let (p, t) = (probabilities(cold), probabilities(&warm));
        let ratio = |row: &[f32]| f64::from(row[0] / row[1]).ln();
        assert!((ratio(&p) / 3.0 - ratio(&t)).abs() < 1e-4);
        assert!(warm.entropy > cold.entropy);
    }
}

/// As if it had been opened with them.
#[test]
fn options_change_between_calls() {
    let pixels = images(5).read(&[0, 1, 2, 3, 4]).unwrap();
    let all = pictures(&pixels);
    let mut changing = session(SessionOptions::default());
    changing.predict(&all).unwrap();
    for (samples, seed, temperature, batch) in [
        (3, 1, None, 16),
        (0, 1, Some(2.0), 16),
        (3, 7, None, 2),
        (8, 1, None, 16),
    ] {
        let options = SessionOptions {
            samples,
            seed,
            temperature,
            batch,
            ..Default::default()
        };
        changing.set_options(options.clone()).unwrap();
        assert_eq!(
            changing.predict(&all).unwrap(),
            session(options.clone()).predict(&all).unwrap(),
            "{options:?}"
        );
    }
    let before = changing.options().clone();
    let wrong = SessionOptions {
        batch: 0,
        ..before.clone()
    };
    assert!(changing.set_options(wrong).is_err());
    assert_eq!(*changing.options(), before);
}

/// Samples of an adapter without gates would all be the same.
#[test]
fn where_nothing_is_drawn_the_mean_answers() {
    let mut plain = ADAPTER.clone();
    plain
        .layers
        .iter_mut()
        .for_each(|layer| layer.log_alpha = None);
    let session = Session::new(&GPU, &tiny_backbone(), &plain, SessionOptions::default()).unwrap();
    assert_eq!(session.options().samples, 0);
    assert_eq!(
        self::session(SessionOptions::default()).options().samples,
        8
    );
}

#[test]
fn what_cannot_be_answered_is_refused() {
    let with = |change: &dyn Fn(&mut SessionOptions)| {
        let mut options = SessionOptions::default();
        change(&mut options);
        Session::new(&GPU, &tiny_backbone(), &ADAPTER, options).err()
    };
    for (option, error) in [
        (
            "temperature",
            with(&|options| options.temperature = Some(0.0)),
        ),
        ("threshold", with(&|options| options.threshold = 1.5)),
        ("threshold", with(&|options| options.threshold = f32::NAN)),
        ("batch", with(&|options| options.batch = 0)),
        ("samples", with(&|options| options.samples = 10_001)),
    ] {
        let error = error.expect(option).to_string();
        assert!(error.starts_with(option), "{error}");
    }
    let mut session = session(SessionOptions::default());
    assert!(matches!(session.predict(&[]), Err(PredictError::Empty)));
    let short = Picture::Rgb {
        width: 5,
        height: 5,
        pixels: &[0; 3],
    };
    assert!(matches!(
        session.predict(&[short]),
        Err(PredictError::Data(DataError::BadPicture { .. }))
    ));
    let mut unknown = ADAPTER.clone();
    unknown.resolution = 0;
    let unknown = Session::new(&GPU, &tiny_backbone(), &unknown, Default::default());
    assert!(matches!(unknown.err(), Some(PredictError::NoResolution)));
    let none = Ensemble::new(&GPU, &tiny_backbone(), &[]);
    assert!(matches!(none.err(), Some(PredictError::NoMembers)));
}

#[test]
fn memory_stays_as_it_is_from_the_second_call_on() {
    let gpu = common::gpu(GpuOptions::default());
    let mut session =
        Session::new(&gpu, &tiny_backbone(), &ADAPTER, SessionOptions::default()).unwrap();
    let pixels = images(3).read(&[0, 1, 2]).unwrap();
    let all = pictures(&pixels);
    let mut counts = Vec::new();
    for _ in 0..200 {
        session.predict(&all).unwrap();
        gpu.wait().unwrap();
        // Where the back end tells.
        let report = gpu.device().generate_allocator_report();
        counts.push(report.map(|report| (report.allocations.len(), report.total_allocated_bytes)));
    }
    assert!(
        counts[20..].iter().all(|count| *count == counts[20]),
        "{counts:?}"
    );
}

#[test]
fn a_head_that_was_never_trained_answers_nothing() {
    let mut adapter = ADAPTER.clone();
    adapter.head.trained = false;
    let refused = Session::new(&GPU, &tiny_backbone(), &adapter, SessionOptions::default());
    let error = refused.err().unwrap();
    assert!(matches!(error, PredictError::UntrainedHead), "{error}");
    let refused = Predictor::new(&GPU, &tiny_backbone(), &adapter);
    assert!(matches!(
        refused.err().unwrap(),
        PredictError::UntrainedHead
    ));
}
