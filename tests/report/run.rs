//! The page of one run: what it says, in what order, of whatever it is given.

use std::cell::RefCell;
use std::fs;

use bayeslora::low_level::formats::Temperature;
use bayeslora::low_level::metrics::{Predictions, RiskControl};
use bayeslora::low_level::predict::Calibration;
use bayeslora::low_level::report::{EpochPoint, LayerRanks, RunReport, RunResults, Score, Study};
use image::RgbImage;

use super::parse_svgs;

/// Answers with their probability, to images of a label.
type Answered = (u32, usize, f32);

/// A run with these answers among so many classes.
fn run(classes: &[&str], answered: &[Answered]) -> RunResults {
    let all = classes.len();
    let row = |(_, answer, probability): &Answered| {
        let rest = (1.0 - probability) / (all - 1) as f32;
        let each = (0..all).map(move |class| if class == *answer { *probability } else { rest });
        each.map(f32::ln).collect::<Vec<_>>()
    };
    RunResults {
        name: "first".into(),
        method: "BayesLoRA".into(),
        family: "bayeslora".into(),
        about: Study {
            classes: classes.iter().map(|name| (*name).to_owned()).collect(),
            commands: vec!["bayeslora train --data photos".into()],
            program: "bayeslora 0".into(),
            environments: vec!["a machine".into()],
            ..Study::default()
        },
        scored_on: "the test part of photos, 6 images".into(),
        samples: "8 samples".into(),
        labels: answered.iter().map(|one| one.0).collect(),
        log_probs: answered.iter().flat_map(row).collect(),
        mutual_information: vec![0.01; answered.len()],
        places: (0..answered.len())
            .map(|i| format!("test/{i}.png"))
            .collect(),
        ..RunResults::default()
    }
}

const CLASSES: [&str; 3] = ["cat", "dog", "ship"];

const ANSWERED: [Answered; 7] = [
    (0, 0, 0.9),
    (0, 1, 0.6),
    (0, 1, 0.95),
    (1, 1, 0.5),
    (1, 0, 0.7),
    (2, 2, 0.8),
    (2, 2, 0.99),
];

fn whole() -> RunResults {
    let mut results = run(&CLASSES, &ANSWERED);
    results.temperature = Some(Temperature {
        temperature: 1.5,
        samples: 8,
        seed: 1,
        images: 100,
        nll_before: 0.6,
        nll_after: 0.5,
    });
    let calibration = Calibration {
        samples: 8,
        seed: 1,
        risk_control: Some(RiskControl {
            max_risk: 0.25,
            confidence: 0.95,
            threshold: 0.75,
            images: 100,
            answered: 80,
            wrong: 9,
        }),
        prediction_sets: None,
    };
    let log_probs = results.log_probs.clone();
    let predictions = Predictions::from_log_probs(&log_probs, &results.labels, 3).unwrap();
    let held = calibration.held(&predictions, &[0.5; 7]);
    results.calibration = Some((calibration, held));
    let layer = |name: &str, left| LayerRanks {
        name: name.into(),
        initial: 8,
        left,
        effective: 0.8 * left as f64,
    };
    results.layers = vec![layer("layer3.0.conv1", 8), layer("layer4.0.conv1", 3)];
    let score = |mean| Score {
        mean,
        ..Score::default()
    };
    results.training = [(1, 8.0), (2, 3.0)]
        .map(|(epoch, rank)| EpochPoint {
            epoch,
            accuracy: score(0.5),
            nll: score(0.7),
            rank: score(8.0 + rank),
            ranks: vec![
                ("layer3.0.conv1".into(), 8.0),
                ("layer4.0.conv1".into(), rank),
            ],
            ..EpochPoint::default()
        })
        .to_vec();
    results
}

fn picture(image: usize) -> Result<RgbImage, Box<dyn std::error::Error>> {
    Ok(RgbImage::from_pixel(224, 224, image::Rgb([image as u8; 3])))
}

fn page(results: &RunResults) -> String {
    let html = RunReport::new(results, "report.html", picture)
        .unwrap()
        .html();
    parse_svgs(&html);
    html
}

/// What stands between two pieces of text.
fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let from = text
        .find(start)
        .unwrap_or_else(|| panic!("{start} in {text}"))
        + start.len();
    let length = text[from..]
        .find(end)
        .unwrap_or_else(|| panic!("{end} after {start}"));
    &text[from..from + length]
}

#[test]
fn everything_of_a_run_is_on_its_page() {
    let html = page(&whole());
    for text in [
        "<h1>Run first</h1>",
        "4 of 7 images are classified right: accuracy .571",
        "Scored on the test part of photos, 6 images, with 8 samples.",
        // Recall of a third, a half and all.
        "it is .611",
        "at temperature 1.500",
        "Gruvaeus and Wainer 1972",
        "dog answered as cat: 1 of 2 images",
        "Recall and precision by class",
        "<th scope=\"row\">cat, dog</th>",
        "report-mistakes.csv, beside this page, has all 3 wrong answers",
        "Least sure",
        "Accuracy by confidence",
        "from a confidence of .750 on, so that at most 25\u{a0}% of the answers are wrong",
        "Here that answers 4 of 7 images, 1 of them wrong (25.0\u{a0}%)",
        "ring: the threshold",
        "class=\"ring\"",
        "11 of 16 are left",
        "Ranks left by layer and epoch",
        "Nothing that is known of.",
        "bayeslora train --data photos",
        "at most 48 pictures",
        "data:image/jpeg;base64,",
    ] {
        assert!(html.contains(text), "{text}");
    }
    assert!(!html.contains("class=\"missing\""));
    for outside in [
        "http-equiv",
        "<script",
        "<link",
        "src=",
        "href=\"http",
        "url(",
        "@import",
    ] {
        assert!(!html.contains(outside), "{outside}");
    }
    let (figure, table) = (html.find("<figure").unwrap(), html.find("<table").unwrap());
    assert!(figure < table, "the figure comes first");
    let ids: Vec<_> = html
        .split(" id=\"")
        .skip(1)
        .map(|part| part.split('"').next())
        .collect();
    let unique: std::collections::HashSet<_> = ids.iter().collect();
    assert_eq!(unique.len(), ids.len());
}

#[test]
fn what_is_not_there_is_said() {
    let html = page(&run(&CLASSES, &ANSWERED));
    for text in [
        "No temperature has been fitted",
        "No threshold has been chosen",
        "no record of its epochs",
    ] {
        // In its place, and in the list of what is missing.
        assert_eq!(html.matches(text).count(), 2, "{text}");
    }
    assert!(html.contains("The run has no ranks"));
    assert!(!html.contains("class=\"ring\""));
    let mut results = whole();
    results.missing = vec!["Training has done 1 of 2 epochs.".into()];
    results.left_out = vec!["photos/cat/9.png, which does not decode".into()];
    let html = page(&results);
    assert!(html.contains("<li>Training has done 1 of 2 epochs.</li>"));
    assert!(html.contains("photos&#x2f;cat&#x2f;9.png, which does not decode"));
}

#[test]
fn mistakes_are_listed_the_surest_first() {
    let dir = tempfile::tempdir().unwrap();
    let results = whole();
    let out = dir.path().join("my.page.html");
    let report = RunReport::new(&results, &out, picture).unwrap();
    report.write_page().unwrap();
    report.write_figures(|_, _| ()).unwrap();
    let mut reader = csv::Reader::from_path(dir.path().join("my.page-mistakes.csv")).unwrap();
    let rows: Vec<Vec<String>> = reader
        .records()
        .map(|row| row.unwrap().iter().map(String::from).collect())
        .collect();
    let of = |column: usize| {
        rows.iter()
            .map(|row| row[column].as_str())
            .collect::<Vec<_>>()
    };
    assert_eq!(of(0), ["test/2.png", "test/4.png", "test/1.png"]);
    assert_eq!(of(1), ["cat", "dog", "cat"]);
    assert_eq!(of(2), ["dog", "cat", "dog"]);
    let probability = |row: usize, column: usize| rows[row][column].parse::<f32>().unwrap();
    assert!((probability(0, 3) - 0.95).abs() < 1e-6 && (probability(0, 5) - 0.025).abs() < 1e-6);
    // Every figure three times, and the confusions as they were counted.
    let figures = dir.path().join("my.page-figures");
    assert_eq!(
        fs::read_dir(&figures).unwrap().count(),
        3 * report.figures()
    );
    let confusion = fs::read_to_string(figures.join("confusion.csv")).unwrap();
    assert_eq!(
        confusion,
        "label,answer,images,of\ncat,cat,1,3\ncat,dog,2,3\ndog,cat,1,2\ndog,dog,1,2\nship,ship,2,2\n"
    );
}

#[test]
fn names_from_files_are_text() {
    let hostile = [
        "<script>alert(1)</script>",
        "\"'&<i>",
        "\u{1b}[31m\u{202e}gpj",
    ];
    let mut results = run(&hostile, &ANSWERED);
    results.places[2] = "test/<img src=x onerror=alert(1)>.png".into();
    results.name = "<b>run</b>".into();
    results.left_out = vec!["<i>left</i>".into()];
    results.missing = vec!["<i>missing</i>".into()];
    results.about.commands = vec!["bayeslora train --data <i>".into()];
    let html = page(&results);
    for raw in ["<script", "<img", "<i>", "<b>run", "\u{1b}", "\u{202e}"] {
        assert!(!html.contains(raw), "{raw}");
    }
    assert!(html.contains("&lt;script&gt;") || html.contains("&lt;script"));
}

#[test]
fn odd_sets_have_pages() {
    // Images of one class alone, all right; the other classes have none.
    let html = page(&run(&CLASSES, &[(1, 1, 0.9), (1, 1, 0.8)]));
    for text in [
        "2 of 2 images are classified right: accuracy 1.000",
        "2 classes of 3 without images here.",
        "Classes with fewer than 10 images here: 3 of 3.",
        "There are no mistakes.",
        "No image is classified wrong.",
    ] {
        assert!(html.contains(text), "{text}");
    }
    assert!(!html.contains("NaN") && !html.contains(">inf"));
    // A class without images that is answered all the same.
    let html = page(&run(&CLASSES, &[(0, 2, 0.9), (1, 1, 0.8)]));
    assert!(html.contains("cat answered as ship: 1 of 1 image"));
    assert!(html.contains("<title>ship") || html.contains(">ship</text>"));
    assert!(!html.contains("NaN"));
    // Certain answers: all the others have no probability.
    page(&run(&CLASSES, &[(0, 0, 1.0), (1, 1, 1.0)]));
    // No images, or labels that name no class: nothing to make a page of.
    for answered in [&[][..], &[(3, 0, 0.9)]] {
        assert!(RunReport::new(&run(&CLASSES, answered), "report.html", picture).is_err());
    }
}

#[test]
fn many_classes_and_images_still_make_a_small_page() {
    let names: Vec<String> = (0..100).map(|i| format!("class {i}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let answered: Vec<Answered> = (0..5000)
        .map(|i| {
            (
                i % 100,
                ((i + i / 100 % 3) % 100) as usize,
                0.5 + (i % 97) as f32 / 200.0,
            )
        })
        .collect();
    let results = run(&names, &answered);
    let drawn = RefCell::new(0);
    let count = |image| {
        *drawn.borrow_mut() += 1;
        picture(image)
    };
    let html = RunReport::new(&results, "report.html", count)
        .unwrap()
        .html();
    assert_eq!(*drawn.borrow(), 48);
    assert!(html.contains("Of 100 classes the 60 in the most confused pairs"));
    assert!(html.contains("The first 10 of 200 pairs"));
    assert!(html.contains("the 30 classes with the lowest recall"));
    assert!(html.len() < 1_500_000, "{} bytes", html.len());
    let rows = between(&html, "Wrong answers, the surest first, with", "</table>");
    assert_eq!(rows.matches("<tr>").count(), 101, "a header and a hundred");
}
