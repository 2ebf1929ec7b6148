//! From the results of a study to tables, figures and one HTML page.

mod results;

pub use results::*;
