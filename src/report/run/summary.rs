//! The outcome in a few numbers.

use super::confusion;
use super::material::{LEVEL, Material};
use crate::metrics::{
    Bootstrap, DEFAULT_BINS, Gaps, Interval, Predictions, PredictionsError, aurc, brier_each,
    expected_calibration_error, nll_each, tempered_log_probs,
};
use crate::report::block::{Block, Cell, Section, Table};
use crate::report::number::{count, counted, decimal, range};

pub fn section(material: &Material) -> Result<Section, PredictionsError> {
    let results = material.results;
    let mut blocks = vec![Block::Text(lead(material)), Block::Text(on_what(material))];
    blocks.push(Block::Figure(confusion::figure(material)));
    let mut columns = vec![("as it is".to_owned(), scores(&material.predictions))];
    let mut missing = None;
    match &results.temperature {
        Some(fitted) => {
            let classes = material.names.len();
            let tempered = tempered_log_probs(&results.log_probs, classes, fitted.temperature);
            let predictions = Predictions::from_log_probs(&tempered, &results.labels, classes)?;
            let title = format!("at temperature {}", decimal(fitted.temperature, 3));
            columns.push((title, scores(&predictions)));
        }
        None => {
            missing = Some(Block::missing(
                "No temperature has been fitted to these samples: bayeslora eval --temperature does that.",
            ));
        }
    }
    blocks.push(Block::Table(table(material, &columns)));
    blocks.extend(missing);
    Ok(Section {
        id: "summary",
        title: "Summary",
        blocks,
    })
}

fn lead(material: &Material) -> String {
    let accuracy = material.confusion.accuracy();
    let micro = accuracy.wilson(LEVEL).expect("there are images");
    let macro_recall = material.confusion.macro_recall(LEVEL);
    let macro_recall = macro_recall.expect("there are images");
    format!(
        "{} of {} are classified right: accuracy {} (95\u{a0}% interval {}). Each class weighing the same, whatever its \
         number of images (macro), it is {} ({}).",
        count(accuracy.count),
        counted(accuracy.of, "image"),
        decimal(micro.estimate, 3),
        range(&micro, 3),
        decimal(macro_recall.estimate, 3),
        range(&macro_recall, 3),
    )
}

fn on_what(material: &Material) -> String {
    let results = material.results;
    format!(
        "Scored on {}, with {}. No image is scored that the run was trained on or chosen by, as far as it is recorded.",
        results.scored_on, results.samples
    )
}

/// What has a line of the table for every way to predict.
struct Scores {
    nll: Interval,
    ece: f64,
    /// Around the error without its bias.
    ece_interval: Interval,
    brier: Interval,
    aurc: f64,
}

fn scores(predictions: &Predictions) -> Scores {
    let bootstrap = Bootstrap {
        level: LEVEL,
        ..Bootstrap::default()
    };
    let (confidence, correct) = (predictions.confidence(), predictions.correct());
    let gaps = Gaps::expected(&confidence, &correct, DEFAULT_BINS);
    Scores {
        nll: bootstrap.mean(&nll_each(predictions)),
        ece: expected_calibration_error(&confidence, &correct, DEFAULT_BINS),
        ece_interval: bootstrap.calibration(&gaps),
        brier: bootstrap.mean(&brier_each(predictions)),
        aurc: aurc(&confidence, &correct),
    }
}

fn table(material: &Material, columns: &[(String, Scores)]) -> Table {
    let accuracy = material.confusion.accuracy().wilson(LEVEL);
    let with_interval = |interval: Interval, digits: usize| {
        Cell::with(decimal(interval.estimate, digits), range(&interval, digits))
    };
    // No temperature changes which class is the most probable.
    let same = |title: &str, interval: Option<Interval>| {
        let cell = interval.map_or(Cell::new("–"), |interval| with_interval(interval, 3));
        let cells = std::iter::repeat_n(cell, columns.len());
        std::iter::once(Cell::new(title)).chain(cells).collect()
    };
    let each = |title: &str, cell: &dyn Fn(&Scores) -> Cell| {
        let cells = columns.iter().map(|(_, scores)| cell(scores));
        std::iter::once(Cell::new(title)).chain(cells).collect()
    };
    let rows = vec![
        same("accuracy (micro)", accuracy),
        same(
            "accuracy, mean over classes (macro)",
            material.confusion.macro_recall(LEVEL),
        ),
        each("NLL, nats", &|scores| with_interval(scores.nll, 4)),
        each("ECE", &|scores| {
            let Interval { estimate, .. } = scores.ece_interval;
            let without = decimal(estimate, 4);
            let interval = range(&scores.ece_interval, 4);
            Cell::with(
                decimal(scores.ece, 4),
                format!("without its bias {without}, {interval}"),
            )
        }),
        each("Brier score", &|scores| with_interval(scores.brier, 4)),
        each("AURC", &|scores| Cell::new(decimal(scores.aurc, 4))),
    ];
    let mut header = vec!["score".to_owned()];
    header.extend(columns.iter().map(|(title, _)| title.clone()));
    let (bootstrap, bins) = (Bootstrap::default(), DEFAULT_BINS);
    Table {
        words: false,
        caption: format!(
            "Scores with 95\u{a0}% intervals over images. Accuracy: Wilson; its mean over classes: the classes' Wilson \
             intervals put together (Zou, Huang and Zhang 2009); others: bootstrap with {} resamples. ECE with {bins} bins \
             of equal width: on few images it is too high even for an honest model, so its interval is around the error \
             without that bias. Accuracy is better higher, all others lower.",
            count(bootstrap.resamples)
        ),
        header,
        rows,
    }
}
