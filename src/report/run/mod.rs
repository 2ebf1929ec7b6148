//! The page of one run: what it answers to images that it was not trained on, where it is wrong, and how sure it is.

mod classes;
mod confidence;
mod confusion;
mod material;
mod mistakes;
mod pairs;
mod pictures;
mod ranks;
mod results;
mod summary;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use image::RgbImage;

use super::ReportError;
use super::block::{Block, Section};
use super::figure::Numbers;
use super::page::{Part, render};
use super::provenance;
use super::write::write;
use crate::metrics::PredictionsError;
use material::Material;

pub use results::{LayerRanks, RunResults};

/// Pictures that a page has at most.
const PICTURES: usize = pairs::SHOWN * pairs::PICTURES + 2 * mistakes::PICTURES;

/// What the name of the file with the wrong answers ends in.
const MISTAKES: &str = "-mistakes.csv";

/// A page ready to be written.
pub struct RunReport {
    part: Part,
    mistakes: Numbers,
    page: PathBuf,
}

impl RunReport {
    /// A page that will be the file `page`, with what `picture` gives of some images, square and of any size.
    ///
    /// # Errors
    /// Those of `picture`, and that the answers are no probabilities.
    ///
    /// # Panics
    /// If there is not one place and one mutual information an image.
    pub fn new<E: From<PredictionsError>>(
        results: &RunResults,
        page: impl Into<PathBuf>,
        picture: impl Fn(usize) -> Result<RgbImage, E>,
    ) -> Result<Self, E> {
        let page = page.into();
        let csv = beside(&page, MISTAKES);
        let csv = csv.file_name().unwrap_or_default().display().to_string();
        let material = Material::new(results)?;
        let mut sections = vec![
            summary::section(&material)?,
            classes::section(&material),
            pairs::section(&material, &picture)?,
            mistakes::surest(&material, &csv, &picture)?,
            mistakes::least_sure(&material, &picture)?,
            confidence::reliability(&material)?,
            confidence::selective(&material),
            ranks::training(&material),
            ranks::section(&material),
            left_out(results),
            made(results),
        ];
        let nothing = "Nothing.";
        sections.push(provenance::missing(&results.missing, nothing, &sections));
        Ok(Self {
            mistakes: mistakes::numbers(&material),
            part: Part {
                title: results.name.clone(),
                facts: format!("{} · {}", results.method, provenance::facts(&results.about)),
                sections,
            },
            page,
        })
    }

    /// The page, complete in itself.
    pub fn html(&self) -> String {
        let heading = format!("Run {}", self.part.title);
        render(&heading, "run", std::iter::once(&self.part))
    }

    /// Figures of the page.
    pub fn figures(&self) -> usize {
        self.part.figures().count()
    }

    /// Where its figures go: `report-figures` beside `report.html`.
    pub fn figures_dir(&self) -> PathBuf {
        beside(&self.page, "-figures")
    }

    /// Where its wrong answers go: `report-mistakes.csv` beside `report.html`.
    pub fn mistakes_file(&self) -> PathBuf {
        beside(&self.page, MISTAKES)
    }

    /// Writes every figure as `NAME.svg`, `.png` and `.csv`; after each, `done` hears from any thread how many are there
    /// and how many there will be.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write_figures(&self, done: impl Fn(usize, usize) + Sync) -> Result<(), ReportError> {
        let (written, all) = (AtomicUsize::new(0), self.figures());
        self.part.write_figures(&self.figures_dir(), || {
            done(written.fetch_add(1, Ordering::Relaxed) + 1, all);
        })
    }

    /// Writes the page, and beside it all wrong answers.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write_page(&self) -> Result<(), ReportError> {
        write(&self.mistakes_file(), self.mistakes.csv().as_bytes())?;
        write(&self.page, self.html().as_bytes())
    }
}

/// A file that belongs to a page.
fn beside(page: &Path, ending: &str) -> PathBuf {
    let mut name = page.file_stem().unwrap_or_default().to_owned();
    name.push(ending);
    page.with_file_name(name)
}

fn left_out(results: &RunResults) -> Section {
    let block = match results.left_out.is_empty() {
        true => Block::Text("Nothing that is known of.".into()),
        false => Block::List {
            title: String::new(),
            items: results.left_out.clone(),
        },
    };
    Section {
        id: "left-out",
        title: "What was left out",
        blocks: vec![block],
    }
}

fn made(results: &RunResults) -> Section {
    let mut made = provenance::made(&results.about);
    made.blocks.push(Block::Text(format!(
        "The page is one file and loads nothing. It holds at most {PICTURES} pictures, as the network sees them, and none \
         with more than {0}×{0} pixels, so that it stays small.",
        pictures::SIDE
    )));
    made
}
