//! The targets and the main tables.

use super::block::{Block, Cell, Section, Table};
use super::measure::{COMPARED, MEASURES, Measure, on_what};
use super::number::{count, counted, decimal, range, spread};
use super::{DecayPoint, Results, Row, Score};

/// What the study set out to show, and whether it did.
pub fn targets(results: &Results) -> Section {
    let reached = |reached| match reached {
        Some(true) => "yes",
        Some(false) => "no",
        None => "–",
    };
    let block = match results.targets.is_empty() {
        true => Block::missing("The file names no targets."),
        false => Block::Table(Table {
            words: true,
            caption: "What the study set out to show; – where these runs cannot say, or there was nothing to reach."
                .into(),
            header: ["aim", "found", "reached"].map(String::from).to_vec(),
            rows: results
                .targets
                .iter()
                .map(|target| {
                    [&target.aim, &target.found, &reached(target.reached).into()]
                        .map(Cell::new)
                        .to_vec()
                })
                .collect(),
        }),
    };
    Section {
        id: "targets",
        title: "Targets",
        blocks: vec![block],
    }
}

/// So many columns of numbers fit beside the names.
const COLUMNS: usize = 6;

/// The five scores that are compared, for the headline rows; the other rows, other scores and costs to be
/// opened.
pub fn methods(results: &Results) -> Section {
    let (headline, others): (Vec<&Row>, Vec<&Row>) =
        results.rows.iter().partition(|row| row.headline);
    let all: Vec<&Row> = headline.iter().chain(&others).copied().collect();
    let mut blocks = Vec::new();
    if all.is_empty() {
        blocks.push(Block::missing("No method has been scored yet."));
    }
    if !headline.is_empty() {
        blocks.push(Block::Table(main(results, &headline)));
    }
    if !others.is_empty() {
        let title = format!(
            "{} on {}",
            counted(others.len(), "row"),
            on_what(others.iter().copied())
        );
        blocks.push(Block::folded(
            title,
            vec![Block::Table(main(results, &others))],
        ));
    }
    let present = |measure: &&Measure| all.iter().any(|row| row.scores.contains_key(measure.name));
    let more: Vec<Measure> = MEASURES[COMPARED..]
        .iter()
        .filter(present)
        .copied()
        .collect();
    if !more.is_empty() {
        let tables = more.chunks(COLUMNS).map(|measures| {
            let mut table = scores(&all, measures);
            table.caption = "More scores of the same predictions. Signed gap: mean confidence minus accuracy, above 0 \
                             where too sure. Risk at 80 %: share of wrong answers among the surest 80 %."
                .into();
            Block::Table(table)
        });
        blocks.push(Block::folded("More scores", tables.collect()));
    }
    if !all.is_empty() {
        blocks.push(Block::folded("Times", vec![Block::Table(times(&all))]));
    }
    Section {
        id: "methods",
        title: "All methods",
        blocks,
    }
}

fn main(results: &Results, rows: &[&Row]) -> Table {
    let mut table = scores(rows, &MEASURES[..COMPARED]);
    table.caption = format!(
        "Mean over seeds ± standard deviation over seeds; below it the 95 % interval of the mean over test images ({}). \
         {}. Lower is better but for accuracy. ★ marks the best of a column where paired intervals decide it against every \
         other row on as many images, after Holm's correction over these.",
        results.study.intervals(),
        on_what(rows.iter().copied())
    );
    let ranks = |score: &Score| match score.mean == 0.0 {
        true => "–".to_owned(),
        false => spread(score, 1),
    };
    table
        .header
        .extend(["ranks left", "trained scalars"].map(String::from));
    for (row, cells) in rows.iter().zip(&mut table.rows) {
        cells.extend([
            Cell::new(ranks(&row.rank)),
            Cell::new(count(row.adapter_parameters.round() as usize)),
        ]);
    }
    table
}

/// Methods by those measures that any of them has.
fn scores(rows: &[&Row], measures: &[Measure]) -> Table {
    let present = |measure: &&Measure| rows.iter().any(|row| row.scores.contains_key(measure.name));
    let measures: Vec<_> = measures.iter().filter(present).collect();
    let mut header = vec!["method".to_owned()];
    header.extend(measures.iter().map(|measure| measure.title.to_owned()));
    let cell = |row: &Row, measure: &Measure| match row.scores.get(measure.name) {
        Some(score) => Cell {
            text: spread(&score.debiased(), measure.digits),
            small: score
                .interval
                .map_or(String::new(), |interval| range(&interval, measure.digits)),
            best: row.best_in.iter().any(|name| name == measure.name),
            verdict: "",
        },
        None => Cell::new("–"),
    };
    let line = |row: &&Row| {
        let cells = measures.iter().map(|measure| cell(row, measure));
        std::iter::once(Cell::new(row.title.clone()))
            .chain(cells)
            .collect()
    };
    Table {
        header,
        rows: rows.iter().map(line).collect(),
        ..Table::default()
    }
}

/// How the weight decay of plain LoRA was chosen; `None` where it was not.
pub fn weight_decays(results: &Results) -> Option<Table> {
    let points = &results.weight_decays;
    let line = |point: &DecayPoint| {
        let values = [
            point.accuracy,
            point.nll,
            point.temperature,
            point.tempered_nll,
        ];
        let mut cells = vec![Cell::new(point.weight_decay.to_string())];
        cells.extend(values.map(|value| Cell::new(decimal(value, 4))));
        cells[4].best = point.chosen;
        cells
    };
    let header = [
        "weight decay",
        "accuracy",
        "NLL",
        "temperature",
        "tempered NLL",
    ];
    (!points.is_empty()).then(|| Table {
        words: false,
        caption: format!(
            "Plain LoRA by --weight-decay, one seed a value, on {}; ★ marks the value that has a row of its own. The \
             test set took no part.",
            counted(results.study.validation_images, "validation image")
        ),
        header: header.map(String::from).to_vec(),
        rows: points.iter().map(line).collect(),
    })
}

fn times(rows: &[&Row]) -> Table {
    let time = |value: Option<f64>| Cell::new(value.map_or("–".into(), |value| decimal(value, 2)));
    let header = [
        "method",
        "effective rank",
        "ms a training step",
        "ms an image",
        "images × seeds",
    ];
    let line = |row: &&Row| {
        let effective = match row.soft_rank.mean == 0.0 {
            true => "–".to_owned(),
            false => spread(&row.soft_rank, 1),
        };
        vec![
            Cell::new(row.title.clone()),
            Cell::new(effective),
            time(row.step_milliseconds),
            time(row.image_milliseconds),
            Cell::new(format!("{} × {}", count(row.test_images), row.seeds.len())),
        ]
    };
    Table {
        caption: "What each method costs, and on what it was scored.".into(),
        header: header.map(String::from).to_vec(),
        rows: rows.iter().map(line).collect(),
        words: false,
    }
}

impl Results {
    /// The row with this name.
    pub fn row(&self, name: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.name == name)
    }

    /// Its title; the name itself where there is none.
    pub fn title<'a>(&'a self, name: &'a str) -> &'a str {
        self.row(name).map_or(name, |row| &row.title)
    }
}
