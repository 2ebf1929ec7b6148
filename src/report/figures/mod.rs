//! The figures of a study, one file per group: each turns the results into a section.

mod by_images;
mod corruptions;
mod cuts;
mod examples;
mod final_ranks;
mod kappa;
mod prunes;
mod ranks;
mod reliability;
mod samples;
mod scores;
mod selective;
mod training;
mod unfamiliar;

use super::block::{Block, Section};
use super::figure::Figure;
use super::number::counted;
use super::{Results, Row};

pub use by_images::figure as by_images;
pub use ranks::figure as ranks;
pub use reliability::figure as reliability;
pub use scores::blocks as scores;
pub use training::figure as training;

/// In the order of the page.
pub fn sections(results: &Results) -> Vec<Section> {
    vec![
        training::section(results),
        kappa::section(results),
        ranks::section(results),
        final_ranks::section(results),
        prunes::section(results),
        cuts::section(results),
        reliability::section(results),
        selective::section(results),
        samples::section(results),
        unfamiliar::section(results),
        corruptions::section(results),
        examples::section(results),
    ]
}

/// One figure of the headline rows and another of the rest, to be opened; or what to say where there is nothing to show.
fn headline_first(
    rows: &[&Row],
    figure: impl Fn(&str, &[&Row]) -> Option<Figure>,
    missing: &str,
) -> Vec<Block> {
    let (headline, others): (Vec<&Row>, Vec<&Row>) = rows.iter().partition(|row| row.headline);
    let Some(main) = figure("", &headline) else {
        return one(figure("", &others), missing);
    };
    let more = figure("-others", &others).map(|figure| {
        let title = format!("The same of {}", counted(others.len(), "other row"));
        Block::folded(title, vec![Block::Figure(figure)])
    });
    std::iter::once(Block::Figure(main)).chain(more).collect()
}

/// One figure, or what to say where there is nothing to show.
fn one(figure: Option<Figure>, missing: &str) -> Vec<Block> {
    match figure {
        Some(figure) => vec![Block::Figure(figure)],
        None => vec![Block::missing(missing)],
    }
}
