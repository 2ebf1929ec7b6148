//! Images of other kinds: how well scores tell them from the test set.

use crate::report::block::{Block, Cell, Section, Table};
use crate::report::chart::{Panel, histogram};
use crate::report::figure::{Figure, Numbers};
use crate::report::measure::several;
use crate::report::number::{counted, decimal, spread};
use crate::report::theme::Styles;
use crate::report::{Detection, Histogram, Results, UnfamiliarSet};

pub fn section(results: &Results) -> Section {
    let mut blocks = Vec::new();
    for set in &results.unfamiliar {
        if !set.detections.is_empty() {
            blocks.push(Block::Table(table(set)));
        }
        blocks.extend(figure(set).map(Block::Figure));
        if set.detections.is_empty() && set.histograms.is_empty() {
            blocks.push(Block::Missing(format!("{}: not scored yet.", title(set))));
        }
    }
    if blocks.is_empty() {
        blocks.push(Block::missing("No images of other kinds were scored."));
    }
    Section {
        id: "unfamiliar",
        title: "Unfamiliar images",
        blocks,
    }
}

fn title(set: &UnfamiliarSet) -> String {
    match set.like_pretraining {
        true => format!("{} (like the pre-training data)", set.title),
        false => set.title.clone(),
    }
}

fn score_title(score: &str) -> String {
    match score {
        "max_probability" => "max probability".into(),
        "covariance_trace" => "covariance trace".into(),
        other => other.replace('_', " "),
    }
}

fn table(set: &UnfamiliarSet) -> Table {
    let (mut scores, mut rows): (Vec<&str>, Vec<(&str, &str)>) = (Vec::new(), Vec::new());
    for detection in &set.detections {
        if !scores.contains(&detection.score.as_str()) {
            scores.push(&detection.score);
        }
        let row = (detection.row.as_str(), detection.title.as_str());
        if !rows.contains(&row) {
            rows.push(row);
        }
    }
    let cell = |row: &str, score: &str| {
        let wanted = |one: &&Detection| one.row == row && one.score == score;
        set.detections
            .iter()
            .find(wanted)
            .map_or(Cell::new("–"), |one| {
                let false_positives = format!("FPR95 {}", spread(&one.fpr95, 3));
                Cell::with(spread(&one.auroc, 3), false_positives)
            })
    };
    let seeds: Vec<_> = set
        .detections
        .iter()
        .map(|one| one.auroc.by_seed.len().max(1))
        .collect();
    let mut header = vec!["method".to_owned()];
    header.extend(scores.iter().map(|score| score_title(score)));
    Table {
        words: false,
        caption: format!(
            "{}: {} against the test set. AUROC (higher is better; .5 is chance) and, below it, FPR95 (lower is \
             better) by score, mean ± standard deviation over {}.{}",
            title(set),
            counted(set.images, "image"),
            several(&seeds, "seed"),
            match set.like_pretraining {
                true =>
                    " The backbone was trained on such images: unfamiliar to the task, not to the network.",
                false => "",
            }
        ),
        header,
        rows: rows
            .iter()
            .map(|(row, title)| {
                let cells = scores.iter().map(|score| cell(row, score));
                std::iter::once(Cell::new(*title)).chain(cells).collect()
            })
            .collect(),
    }
}

fn figure(set: &UnfamiliarSet) -> Option<Figure> {
    let usable = |one: &&Histogram| {
        one.edges.len() > 1
            && one.familiar.len() + 1 == one.edges.len()
            && one.unfamiliar.len() + 1 == one.edges.len()
    };
    let histograms: Vec<&Histogram> = set.histograms.iter().filter(usable).collect();
    if histograms.is_empty() {
        return None;
    }
    let style = Styles::default().next("unfamiliar");
    let panels = histograms.iter().map(|one| panel(one, &style)).collect();
    let header = ["row", "score", "low", "high", "familiar", "unfamiliar"];
    let mut numbers = Numbers::new(&header);
    for one in &histograms {
        for (index, ends) in one.edges.windows(2).enumerate() {
            numbers.rows.push(vec![
                one.row.clone(),
                one.score.clone(),
                ends[0].to_string(),
                ends[1].to_string(),
                one.familiar[index].to_string(),
                one.unfamiliar[index].to_string(),
            ]);
        }
    }
    let name: String = set
        .name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    Some(Figure {
        name: format!("unfamiliar-{name}"),
        title: title(set),
        caption: format!(
            "Share of images by score: the test set in grey, {} of this set as a line. The less the two overlap, \
             the better; higher scores should mean less familiar. First seed.",
            counted(set.images, "image")
        ),
        panels,
        columns: 5,
        legend: Vec::new(),
        numbers,
    })
}

fn panel(one: &Histogram, style: &crate::report::theme::Style) -> Panel {
    let shares = |counts: &[usize]| -> Vec<f64> {
        let all = counts.iter().sum::<usize>().max(1) as f64;
        counts.iter().map(|count| *count as f64 / all).collect()
    };
    let mut panel = histogram(
        &one.title,
        &score_title(&one.score),
        &one.edges,
        &shares(&one.familiar),
        &shares(&one.unfamiliar),
        style,
    );
    panel.description = format!(
        "{} from {} to {}: test set and unfamiliar images",
        score_title(&one.score),
        decimal(one.edges[0], 3),
        decimal(one.edges[one.edges.len() - 1], 3)
    );
    panel
}
