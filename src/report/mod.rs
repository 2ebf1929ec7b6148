//! From the results of a study to tables, figures and one HTML page.
//!
//! [`Results`] become sections of blocks (`words`, `tables`, `figures`), and those a page
//! (`page.html`), SVG, PNG and CSV files.

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
mod tables;
mod theme;
mod words;
mod write;

pub use error::ReportError;
pub use results::*;
pub use write::{RESULTS_FILE, Report};
