//! `report`: the page and the figures of finished or unfinished studies.

use std::path::PathBuf;

use anyhow::{Result, bail};
use bayeslora::low_level::formats::printable;
use bayeslora::low_level::report::Report;
use clap::Args;

use super::context::Bar;
use super::output;

/// Make tables, figures and one HTML page from the results of studies
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Directories with a `results.json`, as `reproduce` writes them
    #[arg(required = true, value_name = "DIR")]
    dirs: Vec<PathBuf>,
    /// The page; figures go to DIR/figures [default: DIR/report.html]
    #[arg(long, value_name = "FILE.html")]
    out: Option<PathBuf>,
}

/// Writes the page and every figure as SVG, PNG and CSV.
///
/// # Errors
/// If there are no results in a directory, or a file cannot be written.
pub fn run(args: &ReportArgs) -> Result<()> {
    let out = match (&args.out, args.dirs.as_slice()) {
        (Some(out), _) => out.clone(),
        (None, [dir]) => dir.join("report.html"),
        (None, _) => bail!("say where one page for several studies goes: --out FILE.html"),
    };
    if let Some(file) = args.dirs.iter().find(|dir| dir.is_file()) {
        bail!(
            "{} is a file, expected the directory of a study, in which `bayeslora reproduce --out` has put its \
             results.json",
            printable(file.display())
        );
    }
    let report = Report::read(&args.dirs)?;
    for path in report.unsealed() {
        output::note(&format!(
            "warning: {} has no checksum, as early versions wrote it: nothing tells whether it is damaged",
            printable(path.display())
        ));
    }
    let bar = Bar::default();
    report.write_figures(|done, total| bar.show("drawing figures", done, total))?;
    report.write_page(&out)?;
    let figures = match report.figures() {
        1 => "1 figure".to_owned(),
        count => format!("{count} figures"),
    };
    output::text(&format!(
        "{}: {figures}, in figures/ as SVG, PNG and CSV too",
        out.display()
    ))
}
