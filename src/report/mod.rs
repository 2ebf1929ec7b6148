//! From the results of a study, or of one run, to tables, figures and one HTML page.
//!
//! [`Results`] become sections of blocks (`words`, `tables`, `figures`), and so do [`RunResults`] (`run`); those become
//! a page (`page.html`), SVG, PNG and CSV files.

mod block;
mod by_images;
mod chart;
mod error;
mod figure;
mod figures;
pub(crate) mod measure;
pub(crate) mod number;
mod page;
mod provenance;
mod raster;
mod results;
mod run;
mod tables;
mod theme;
pub(crate) mod unfamiliar;
mod words;
mod write;

pub use error::ReportError;
pub use results::*;
pub use run::{LayerRanks, RunReport, RunResults};
pub use write::{RESULTS_FILE, Report};
