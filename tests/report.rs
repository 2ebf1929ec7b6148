//! The report of a study: what the page says, and that its files are whole.

#[path = "report/study.rs"]
mod study;

use std::fs;
use std::path::Path;

use bayeslora::metrics::Interval;
use bayeslora::report::{Comparison, Report, Results, Row, Verdict};

/// The report of one study, with its directory.
fn report(results: &Results) -> (tempfile::TempDir, Report) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(
        dir.path().join("results.json"),
        serde_json::to_vec(results).unwrap(),
    )
    .unwrap();
    let report = Report::read(&[dir.path().to_owned()]).unwrap();
    (dir, report)
}

fn html(results: &Results) -> String {
    report(results).1.html()
}

/// The inline SVGs, each checked to be well-formed XML.
fn parse_svgs(html: &str) -> usize {
    let mut count = 0;
    for part in html.split("<svg").skip(1) {
        let end = part.find("</svg>").expect("an end of every svg");
        let svg = format!("<svg{}</svg>", &part[..end]);
        roxmltree::Document::parse(&svg).unwrap_or_else(|error| panic!("{error} in {svg}"));
        count += 1;
    }
    count
}

/// (numbers of the file `figures/NAME.csv`) by row.
fn csv(dir: &Path, name: &str) -> Vec<Vec<String>> {
    let mut reader =
        csv::Reader::from_path(dir.join("figures").join(format!("{name}.csv"))).unwrap();
    reader
        .records()
        .map(|record| record.unwrap().iter().map(String::from).collect())
        .collect()
}

#[test]
fn everything_is_on_the_page() {
    let html = html(&study::complete());
    assert!(parse_svgs(&html) > 50);
    for text in [
        "Where BayesLoRA does not win",
        "LoRA, temperature",
        "like the pre-training data",
        "gaussian noise",
        "these runs cannot say",
        "Seeds 4 and 5 of the ensemble.",
        "bayeslora reproduce --data cifar-10-batches-bin",
        "★",
        "data:image/png;base64,",
    ] {
        assert!(html.contains(text), "{text}");
    }
    assert!(!html.contains("class=\"missing\""));
    let outside = [
        "http-equiv",
        "<script",
        "<link",
        "src=\"http",
        "href=\"http",
        "url(",
    ];
    for reference in outside {
        assert!(!html.contains(reference), "{reference}");
    }
}

#[test]
fn ids_are_unique_and_links_lead_somewhere() {
    let (dir, _) = report(&study::complete());
    let twice = Report::read(&[dir.path().to_owned(), dir.path().to_owned()]).unwrap();
    let html = twice.html();
    let values = |start: &str| -> Vec<String> {
        let parts = html.split(start).skip(1);
        parts
            .map(|part| part[..part.find('"').unwrap()].to_owned())
            .collect()
    };
    let ids = values(" id=\"");
    let unique: std::collections::HashSet<_> = ids.iter().collect();
    assert_eq!(unique.len(), ids.len());
    for link in values("href=\"#") {
        assert!(unique.contains(&link), "{link}");
    }
    for labels in values("aria-labelledby=\"") {
        for label in labels.split(' ') {
            assert!(unique.contains(&label.to_owned()), "{label}");
        }
    }
}

#[test]
fn every_figure_is_written_three_times_with_its_numbers() {
    let results = study::complete();
    let (dir, report) = report(&results);
    report.write_figures(|_, _| ()).unwrap();
    let names: Vec<_> = fs::read_dir(dir.path().join("figures"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(names.len(), 3 * report.figures());
    for path in names {
        match path.extension().unwrap().to_str().unwrap() {
            "svg" => {
                let svg = fs::read_to_string(&path).unwrap();
                roxmltree::Document::parse(&svg).unwrap();
                assert!(!svg.contains("var(--"), "{}", path.display());
            }
            "csv" => {
                assert!(csv(dir.path(), path.file_stem().unwrap().to_str().unwrap()).len() > 1)
            }
            _ => assert!(dark_pixels(&path) > 200, "{}", path.display()),
        }
    }
    let nll = csv(dir.path(), "nll-by-method");
    for (line, row) in nll.iter().zip(&results.rows) {
        assert_eq!(line[0], row.name);
        assert_eq!(line[3], row.scores["nll"].mean.to_string());
    }
    assert_eq!(nll.len(), results.rows.len());
    let prunes = csv(dir.path(), "prunes");
    assert_eq!(prunes.len(), results.prunes.len());
    assert_eq!(prunes[0][8], results.prunes[0].nll_after.to_string());
    let points: usize = results.rows.iter().map(|row| row.training.len()).sum();
    assert_eq!(csv(dir.path(), "training").len(), 4 * points);
    assert_eq!(
        csv(dir.path(), "corruptions").len(),
        5 * results.corruptions.len()
    );
}

/// As text leaves them: a PNG without its font has hardly any.
fn dark_pixels(path: &Path) -> usize {
    let image = image::open(path).unwrap().to_luma8();
    image.pixels().filter(|pixel| pixel.0[0] < 70).count()
}

#[test]
fn nothing_at_all_is_said_to_be_missing() {
    let (dir, report) = report(&Results::default());
    let html = report.html();
    assert_eq!((report.figures(), parse_svgs(&html)), (0, 0));
    assert_eq!(html.matches("class=\"missing\"").count(), 17);
    report.write_figures(|_, _| ()).unwrap();
    assert_eq!(fs::read_dir(dir.path().join("figures")).unwrap().count(), 0);
}

/// A file of the future or a half-finished study: every part may come alone.
#[test]
fn each_part_may_come_alone() {
    let whole = serde_json::to_value(study::complete()).unwrap();
    for (name, part) in whole.as_object().unwrap() {
        let alone = serde_json::json!({ name: part });
        let html = html(&serde_json::from_value(alone).unwrap());
        parse_svgs(&html);
        assert!(html.contains("class=\"missing\""), "{name}");
    }
}

#[test]
fn titles_are_escaped() {
    let mut results = study::complete();
    for row in &mut results.rows {
        row.title = format!("<b>&\"{}'", row.title);
    }
    for curve in &mut results.sample_counts {
        curve.title = "<i>&\"".into();
    }
    results.unfamiliar[0].title = "<i>&\"".into();
    results.study.data = "<i>&\"".into();
    results.kappa[0].kl_multiplicity = "<i>&\"".into();
    results.examples[0].answer = "<i>&\"".into();
    let (dir, report) = report(&results);
    let html = report.html();
    parse_svgs(&html);
    assert!(!html.contains("<i>") && !html.contains("<b>&"));
    assert!(html.contains("&lt;b&gt;&amp;&quot;LoRA"));
    report.write_figures(|_, _| ()).unwrap();
    for entry in fs::read_dir(dir.path().join("figures")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().unwrap() == "svg" {
            roxmltree::Document::parse(&fs::read_to_string(path).unwrap()).unwrap();
        }
    }
}

/// Two rows and one comparison of the first with the second.
fn duel(measure: &str, estimate: f64, half: f64, verdict: Verdict) -> Results {
    let row = |name: &str, title: &str, family: &str| Row {
        name: name.into(),
        title: title.into(),
        family: family.into(),
        headline: true,
        test_images: 100,
        scores: [(measure.to_owned(), Default::default())].into(),
        ..Row::default()
    };
    Results {
        rows: vec![
            row("ours", "OURS", "bayeslora"),
            row("theirs", "THEIRS", "lora"),
        ],
        comparisons: vec![Comparison {
            row: "ours".into(),
            baseline: "theirs".into(),
            measure: measure.into(),
            difference: Some(Interval {
                estimate,
                low: estimate - half,
                high: estimate + half,
            }),
            verdict,
            ..Comparison::default()
        }],
        ..Results::default()
    }
}

/// The row that the main table marks.
fn starred(html: &str) -> Option<&str> {
    let row = html
        .split("<tr>")
        .find(|row| row.contains("class=\"best\""))?;
    let title = row.split("<th scope=\"row\">").nth(1)?;
    title.split('<').next()
}

#[test]
fn words_follow_the_intervals() {
    let cases = [
        (
            "nll",
            -0.02,
            Verdict::Better,
            "OURS, against THEIRS, has the lower NLL",
        ),
        (
            "nll",
            0.02,
            Verdict::Worse,
            "THEIRS, against OURS, has the lower NLL",
        ),
        (
            "accuracy",
            0.02,
            Verdict::Better,
            "OURS, against THEIRS, has the higher accuracy",
        ),
        (
            "accuracy",
            -0.02,
            Verdict::Worse,
            "THEIRS, against OURS, has the higher accuracy",
        ),
        (
            "ece",
            0.005,
            Verdict::Undecided,
            "OURS and THEIRS cannot be told apart in ECE",
        ),
    ];
    for (measure, estimate, verdict, sentence) in cases {
        let mut results = duel(measure, estimate, 0.01, verdict);
        for turned in [false, true] {
            // Seen from the baseline, the same words.
            if turned {
                let one = &mut results.comparisons[0];
                std::mem::swap(&mut one.row, &mut one.baseline);
                let d = one.difference.unwrap();
                one.difference = Some(Interval {
                    estimate: -d.estimate,
                    low: -d.high,
                    high: -d.low,
                });
                one.verdict = match verdict {
                    Verdict::Better => Verdict::Worse,
                    Verdict::Worse => Verdict::Better,
                    Verdict::Undecided => Verdict::Undecided,
                };
            }
            let html = html(&results);
            assert!(html.contains(sentence), "{measure} {estimate} {turned}");
            let heading = match verdict {
                Verdict::Better => "Where BayesLoRA wins",
                Verdict::Worse => "Where BayesLoRA does not win",
                Verdict::Undecided => "What these runs do not decide",
            };
            assert_eq!(
                html.matches("Where BayesLoRA").count() + html.matches("What these runs").count(),
                1
            );
            assert!(html.contains(heading), "{measure} {estimate} {turned}");
            assert!(!html.contains("do not support"));
        }
    }
}

#[test]
fn the_best_of_a_column_is_marked() {
    let mut results = duel("nll", 0.02, 0.01, Verdict::Worse);
    assert_eq!(starred(&html(&results)), None);
    results.rows[1].best_in.push("accuracy".into());
    assert_eq!(starred(&html(&results)), None, "no column of this table");
    results.rows[1].best_in.push("nll".into());
    assert_eq!(starred(&html(&results)), Some("THEIRS"));
}

#[test]
fn a_verdict_against_its_interval_is_told_and_not_used() {
    let html = html(&duel("nll", 0.02, 0.01, Verdict::Better));
    assert!(html.contains("THEIRS, against OURS, has the lower NLL"));
    assert!(html.contains("do not support"));
}

#[test]
fn errors_name_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let read = || {
        Report::read(&[dir.path().to_owned()])
            .err()
            .unwrap()
            .to_string()
    };
    assert!(read().contains("results.json") && read().contains("reproduce"));
    fs::write(dir.path().join("results.json"), "{\"rows\": 3}").unwrap();
    assert!(read().contains("results.json") && read().contains("the results of a study"));
}

#[test]
fn cuts_are_drawn_by_run_and_line() {
    let (dir, report) = report(&study::complete());
    report.write_figures(|_, _| ()).unwrap();
    let rows = csv(dir.path(), "cuts-bayeslora");
    assert_eq!((rows.len(), csv(dir.path(), "cuts-lora").len()), (42, 36));
    assert!(
        rows.iter()
            .all(|row| row.iter().all(|cell| !cell.is_empty()))
    );
    let foretold = csv(dir.path(), "cuts-foretold");
    assert!(
        foretold
            .iter()
            .any(|row| row[0] == "LoRA" && row[3] == "KL")
    );
    let html = report.html();
    for text in [
        "gates drawn",
        "SVD, by singular value",
        "as trained, at random",
    ] {
        assert!(html.contains(text), "{text}");
    }
    // A cut that costs too much for the picture is in its numbers all the same.
    let drawn = |name: &str| {
        let path = dir.path().join("figures").join(name);
        fs::read_to_string(path).unwrap()
    };
    assert!(drawn("cuts-lora.csv").contains("at random\",10,"));
}

#[test]
fn cuts_of_earlier_versions_are_drawn() {
    let desk = Path::new("docs/results/2026-11-24-desk/results.json");
    let results: Results = serde_json::from_str(&fs::read_to_string(desk).unwrap()).unwrap();
    assert_eq!(results.cuts.len(), 12);
    let alone = Results {
        cuts: results.cuts,
        ..Results::default()
    };
    let (dir, report) = report(&alone);
    report.write_figures(|_, _| ()).unwrap();
    let rows = csv(dir.path(), "cuts");
    assert_eq!(rows.len(), 12);
    assert!(rows.iter().any(|row| row[0] == "as trained, by α"));
    assert!(report.html().contains("Change of NLL"));
}
