//! `report`: the page and the figures of a run, or of finished or unfinished studies.

mod run;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use bayeslora::low_level::formats::printable;
use bayeslora::low_level::report::Report;
use clap::Args;

use super::context::{Bar, Context};
use super::output;

#[derive(Args)]
pub struct ReportArgs {
    /// Directories of studies, with the `results.json` that `reproduce` writes: make their page
    #[arg(value_name = "DIR")]
    dirs: Vec<PathBuf>,
    /// A run directory, as `train --out` writes it: make this run's page; the run is scored as in `eval`
    #[arg(long, value_name = "RUN")]
    run: Option<PathBuf>,
    /// The page to write [default: DIR/report.html or RUN/report.html]
    ///
    /// A study's figures go to DIR/figures. A run's figures and its wrong answers go beside its page, to report-figures and
    /// report-mistakes.csv.
    #[arg(long, value_name = "FILE.html")]
    out: Option<PathBuf>,
    #[command(flatten)]
    of_run: run::Options,
}

/// Writes the page and every figure as SVG, PNG and CSV.
pub fn run(context: &Context, args: &ReportArgs) -> Result<()> {
    if let Some(run) = &args.run {
        // Not a conflict of clap's, which would let a study have options of a run's page.
        ensure!(
            args.dirs.is_empty(),
            "--run {}: a run has a page of its own; leave the directories of studies out",
            printable(run.display())
        );
        return run::report(context, run, args.out.as_deref(), &args.of_run);
    }
    let out = match (&args.out, args.dirs.as_slice()) {
        (_, []) => bail!(
            "what is the page of? Name a run (--run RUN) or the directories of studies (of `bayeslora reproduce --out`)"
        ),
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
    output::text(&format!(
        "{}: {}, in figures/ as SVG, PNG and CSV too",
        out.display(),
        figures(report.figures())
    ))
}

/// The page of a run that has just been trained.
pub fn after_training(context: &Context, run: &Path) -> Result<()> {
    run::report(context, run, None, &run::Options::after_training()).context(
        "the run is whole, but its page is not written; `bayeslora report --run` tries again",
    )
}

/// `1 figure`, `3 figures`
fn figures(count: usize) -> String {
    match count {
        1 => "1 figure".to_owned(),
        count => format!("{count} figures"),
    }
}
