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

/// All methods: the five scores that are compared with what they cost; then the other scores.
pub fn methods(results: &Results) -> Section {
    let mut rows: Vec<&Row> = results.rows.iter().filter(|row| row.headline).collect();
    rows.extend(results.rows.iter().filter(|row| !row.headline));
    let blocks = match rows.is_empty() {
        true => vec![Block::missing("No method has been scored yet.")],
        false => {
            let (main, others) = MEASURES.split_at(COMPARED);
            let mut main = scores(&rows, main);
            main.caption = format!(
                "Mean over seeds ± standard deviation over seeds; below it the 95 % bootstrap interval of the \
                 mean over test images. {}; the rows on the whole test set with all seeds come first. Lower is \
                 better but for accuracy. ★ marks the best of a column where paired intervals decide it \
                 against every other row on as many images.",
                on_what(rows.iter().copied())
            );
            costs(&rows, &mut main);
            let mut others = scores(&rows, others);
            others.caption = "More scores of the same predictions. Signed gap: mean confidence minus accuracy, \
                 above 0 where too sure. Risk at 80 %: share of wrong answers among the surest 80 %."
                .into();
            let has_others = others.header.len() > 1;
            let others = has_others.then_some(Block::Table(others));
            std::iter::once(Block::Table(main)).chain(others).collect()
        }
    };
    Section {
        id: "methods",
        title: "All methods",
        blocks,
    }
}

/// Methods by those measures that any of them has.
fn scores(rows: &[&Row], measures: &[Measure]) -> Table {
    let present = |measure: &&Measure| rows.iter().any(|row| row.scores.contains_key(measure.name));
    let measures: Vec<_> = measures.iter().filter(present).collect();
    let mut header = vec!["method".to_owned()];
    header.extend(measures.iter().map(|measure| measure.title.to_owned()));
    let cell = |row: &Row, measure: &Measure| match row.scores.get(measure.name) {
        Some(score) => Cell {
            text: spread(score, measure.digits),
            small: score
                .interval
                .map_or(String::new(), |interval| range(&interval, measure.digits)),
            best: row.best_in.iter().any(|name| name == measure.name),
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

fn costs(rows: &[&Row], table: &mut Table) {
    let ranks = |score: &Score| match score.mean == 0.0 {
        true => "–".to_owned(),
        false => spread(score, 1),
    };
    let time = |value: Option<f64>| Cell::new(value.map_or("–".into(), |value| decimal(value, 2)));
    let titles = [
        "ranks left",
        "effective rank",
        "trained scalars",
        "ms a training step",
        "ms an image",
        "images × seeds",
    ];
    table.header.extend(titles.map(String::from));
    for (row, cells) in rows.iter().zip(&mut table.rows) {
        cells.extend([
            Cell::new(ranks(&row.rank)),
            Cell::new(ranks(&row.soft_rank)),
            Cell::new(count(row.adapter_parameters.round() as usize)),
            time(row.step_milliseconds),
            time(row.image_milliseconds),
            Cell::new(format!("{} × {}", count(row.test_images), row.seeds.len())),
        ]);
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
