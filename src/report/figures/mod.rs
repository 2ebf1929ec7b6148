//! The figures of a study, one file per group: each turns the results into a section.

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

use super::Results;
use super::block::{Block, Section};
use super::figure::Figure;

/// In the order of the page.
pub fn sections(results: &Results) -> Vec<Section> {
    vec![
        training::section(results),
        scores::section(results),
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

/// One figure, or what to say where there is nothing to show.
fn one(figure: Option<Figure>, missing: &str) -> Vec<Block> {
    match figure {
        Some(figure) => vec![Block::Figure(figure)],
        None => vec![Block::missing(missing)],
    }
}
