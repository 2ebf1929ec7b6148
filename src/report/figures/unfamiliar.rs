//! Images of other kinds: how well scores tell them from the test set.

use crate::report::block::{Block, Section};
use crate::report::chart::{Panel, histogram};
use crate::report::figure::{Figure, Numbers};
use crate::report::number::{counted, decimal};
use crate::report::theme::Styles;
use crate::report::unfamiliar::{lead, score_title, table, title};
use crate::report::{Histogram, Results, UnfamiliarSet};

pub fn section(results: &Results) -> Section {
    let mut blocks = lead(results);
    for set in &results.unfamiliar {
        if !set.detections.is_empty() {
            blocks.push(Block::Table(table(results, set)));
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
             the better; higher scores should mean less familiar. First seed; what lies beyond an axis is in its outermost bins.",
            counted(set.images, "image")
        ),
        panels,
        columns: 4,
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
