//! The report of a study, and of a run: what the page says, and that its files are whole.

#[path = "report/run.rs"]
mod run;
#[path = "report/study.rs"]
mod study;

use std::fs;
use std::path::Path;

use bayeslora::low_level::metrics::Interval;
use bayeslora::low_level::report::{
    Comparison, Detection, Report, Results, Row, Score, UnfamiliarSet, Verdict,
};

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
        "comparisons it wins",
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
fn studies_of_scale_small_stand_beside_each_other() {
    let small = |train_images: usize| {
        let mut results = study::complete();
        results.study.scale = "small".into();
        results.study.train_images = train_images;
        // No method has its name everywhere.
        results.rows[1].title = format!("only at {train_images}");
        report(&results).0
    };
    let places = [small(200), small(2000)];
    let paths = places.each_ref().map(|place| place.path().to_owned());
    let html = Report::read(&paths).unwrap().html();
    for text in ["By training images", "N = 200", "N = 2,000", "scalars"] {
        assert!(html.contains(text), "{text}");
    }
    let (figure, first) = (
        html.find("<figure id").unwrap(),
        html.find("<table").unwrap(),
    );
    assert!(figure < first, "the figure comes first");
    assert!(html.contains("Scores by the number of training images"));
    let table = html.split("<table").nth(1).unwrap();
    let table = &table[..table.find("</table>").unwrap()];
    let line = |title: &str| {
        let from = &table[table.find(title).unwrap()..];
        from[..from.find("</tr>").unwrap()].matches('–').count()
    };
    assert_eq!(line("only at 200"), 1, "nothing at the other");
    assert_eq!(line("only at 2000"), 1);
    // One alone, or studies of other scales, are as they were.
    let other = report(&study::complete()).0;
    let others = [paths[0].clone(), other.path().to_owned()];
    for paths in [&paths[..1], &others] {
        let html = Report::read(paths).unwrap().html();
        assert!(!html.contains("By training images"));
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
    let of = |name: &str| csv(dir.path(), name).into_iter();
    let scores = of("scores-by-method").chain(of("scores-by-method-others"));
    let nll: Vec<_> = scores.filter(|line| line[3] == "nll").collect();
    for line in &nll {
        let row = results.row(&line[0]).unwrap();
        assert_eq!(line[4], row.scores["nll"].debiased().mean.to_string());
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
    assert_eq!(html.matches("class=\"missing\"").count(), 18);
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

/// The word and the number of a comparison's cell, and the counts of the sentence above: won, lost, undecided.
fn said(html: &str) -> (String, Vec<usize>) {
    let table = html.split("first − second").nth(1).unwrap();
    let cell = table.split("<div>").nth(1).unwrap();
    let lead = html.split("comparisons it wins").nth(1).unwrap();
    let lead = lead.split("undecided").next().unwrap();
    let digits = lead.split(|c: char| !c.is_ascii_digit());
    let counts = digits.filter_map(|text| text.parse().ok()).collect();
    (cell.split("<small>").next().unwrap().into(), counts)
}

/// A score of features on one set, this far from the largest probability, give or take a half.
fn told(estimate: f64, half: f64) -> Results {
    let interval = Interval {
        estimate,
        low: estimate - half,
        high: estimate + half,
    };
    let detection = |score: &str, difference: Option<Interval>| Detection {
        row: "ours".into(),
        title: "OURS, without two classes".into(),
        score: score.into(),
        difference: difference.map(|interval| Score {
            mean: interval.estimate,
            interval: Some(interval),
            ..Score::default()
        }),
        ..Detection::default()
    };
    Results {
        unfamiliar: vec![UnfamiliarSet {
            title: "SET".into(),
            detections: vec![
                detection("max_probability", None),
                detection("mahalanobis", Some(interval)),
            ],
            ..UnfamiliarSet::default()
        }],
        ..Results::default()
    }
}

#[test]
fn what_tells_unfamiliar_images_is_said_whichever_way_it_falls() {
    for (estimate, counts, word, cell) in [
        (
            0.31,
            "better than max probability does in 1 of 1 comparison by AUROC, worse in 0, undecided in 0",
            "better",
            " class=\"better\"",
        ),
        (
            -0.31,
            "in 0 of 1 comparison by AUROC, worse in 1, undecided in 0",
            "worse",
            " class=\"worse\"",
        ),
        (
            0.01,
            "in 0 of 1 comparison by AUROC, worse in 0, undecided in 1",
            "undecided",
            "",
        ),
    ] {
        let page = html(&told(estimate, 0.03));
        let section = page.split("Unfamiliar images</h3>").nth(1).unwrap();
        let first = section.split("</p>").next().unwrap();
        assert!(first.contains(counts), "{first}");
        let sign = if estimate > 0.0 { "+" } else { "−" };
        let number = format!("SET: OURS {sign}{}", &format!("{:.3}", estimate.abs())[1..]);
        let item = section
            .split(&number)
            .nth(1)
            .unwrap_or_else(|| panic!("{number}"));
        let item = item.split("</li>").next().unwrap();
        assert!(item.ends_with(&format!("), {word}")), "{item}");
        let row = section.split("Mahalanobis distance</th>").nth(1).unwrap();
        assert!(
            row.trim_start().starts_with(&format!(
                "<td data-label=\"OURS, without two classes\"{cell}>"
            )),
            "{row}"
        );
    }
    // Files of earlier versions have no differences, and nothing is said of them.
    let mut earlier = told(0.31, 0.03);
    for detection in &mut earlier.unfamiliar[0].detections {
        detection.difference = None;
    }
    assert!(!html(&earlier).contains("better than max probability"));
    // A lead that its own interval shows, and that is too small for one among many.
    let mut many = told(0.031, 0.03);
    let one = many.unfamiliar[0].clone();
    many.unfamiliar.extend(vec![one; 9]);
    assert!(html(&many).contains("in 0 of 10 comparisons by AUROC, worse in 0, undecided in 10"));
}

#[test]
fn words_follow_the_intervals() {
    let cases = [
        ("nll", -0.02, Verdict::Better, "better −.0200", [1, 0, 0]),
        ("nll", 0.02, Verdict::Worse, "worse +.0200", [0, 1, 0]),
        (
            "accuracy",
            0.02,
            Verdict::Better,
            "better +.0200",
            [1, 0, 0],
        ),
        ("accuracy", -0.02, Verdict::Worse, "worse −.0200", [0, 1, 0]),
        ("ece", 0.005, Verdict::Undecided, "+.0050", [0, 0, 1]),
    ];
    for (measure, estimate, verdict, cell, counts) in cases {
        let mut results = duel(measure, estimate, 0.01, verdict);
        let page = html(&results);
        assert_eq!(said(&page), (cell.into(), counts.to_vec()), "{measure}");
        assert!(!page.contains("do not support"));
        // Seen from the baseline, the same counts.
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
        assert_eq!(said(&html(&results)).1, counts, "{measure} turned");
    }
}

/// Intervals that just leave 0 out decide alone, not as two of a family; other measures are none of its business.
#[test]
fn verdicts_are_corrected_for_the_other_comparisons_of_the_measure() {
    // p = .0329 of an estimate of .02 with a half width of .0184.
    let single = duel("nll", -0.02, 0.0184, Verdict::Better);
    assert_eq!(
        said(&html(&single)),
        ("better −.0200".into(), vec![1, 0, 0])
    );
    let with = |measure: &str| {
        let mut results = single.clone();
        let mut other = results.comparisons[0].clone();
        other.measure = measure.into();
        other.baseline = "third".into();
        results.comparisons.push(other);
        results.rows.push(Row {
            name: "third".into(),
            headline: true,
            ..results.rows[1].clone()
        });
        html(&results)
    };
    let page = with("nll");
    assert_eq!(said(&page), ("−.0200".into(), vec![0, 0, 2]));
    assert!(page.contains("(up to 2); 2 more have"));
    // The file's verdict of an earlier version, which did not correct, is no contradiction.
    assert!(!page.contains("do not support"));
    assert_eq!(said(&with("brier")).1, [2, 0, 0]);
}

#[test]
fn what_kind_of_intervals_it_has_is_said() {
    let mut results = study::complete();
    assert!(html(&results).contains("BCa bootstrap"));
    assert!(html(&results).contains("chosen by validation NLL and ranks."));
    results.study.intervals.clear();
    let page = html(&results);
    assert!(page.contains("percentile bootstrap, which does not correct"));
}

#[test]
fn the_first_figure_comes_before_any_table() {
    let page = html(&study::complete());
    let figure = page.find("<figure").unwrap();
    assert!(figure < page.find("<table").unwrap());
    let before = &page[page.find("<main>").unwrap()..figure];
    assert_eq!(before.matches("<p>").count(), 1, "{before}");
    assert_eq!(
        page.matches("<details").count(),
        page.matches("</details>").count()
    );
}

#[test]
fn a_calibration_error_is_shown_with_its_own_interval() {
    let mut results = duel("ece", 0.005, 0.01, Verdict::Undecided);
    results.rows[0].scores.insert(
        "ece".into(),
        Score {
            mean: 0.0212,
            interval: Some(Interval {
                estimate: 0.0157,
                low: 0.0101,
                high: 0.0204,
            }),
            by_seed: vec![0.0212],
            ..Score::default()
        },
    );
    let page = html(&results);
    assert!(page.contains("<div>.0157<small>.0101 to .0204</small>"));
    assert!(!page.contains("<div>.0212"));
}

#[test]
fn nearly_empty_bins_are_hollow_and_counted() {
    let mut results = study::complete();
    results.rows.truncate(1);
    for bin in &mut results.rows[0].reliability {
        bin.count = 5000;
    }
    assert!(!html(&results).contains("\"bar nearly-empty c-lora\""));
    results.rows[0].reliability[3].count = 7;
    let page = html(&results);
    assert_eq!(page.matches("\"bar nearly-empty c-lora\"").count(), 1);
    assert!(page.contains("rotate(-90)\">7</text>"));
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
    assert_eq!(said(&html), ("worse +.0200".into(), vec![0, 1, 0]));
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
    // A line looks alike in both, though LoRA has none by alpha.
    let look = |run: &str| {
        let path = dir.path().join(format!("figures/cuts-{run}.svg"));
        let svg = fs::read_to_string(path).unwrap();
        let before = svg.split("as trained, by magnitude</text>").next().unwrap();
        let class = before.rsplit("class=\"line ").next().unwrap();
        class.split('"').next().unwrap().to_owned()
    };
    assert_eq!(look("lora"), look("bayeslora"));
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
