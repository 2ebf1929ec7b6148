//! `bench`: what this program reaches on this machine, against an earlier report or another build.

mod against;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail, ensure};
use bayeslora::low_level::bench::{
    Better, Comparison, Incomparable, Kind, Report, Row, SCHEMA, Scenario, Settings, Spread,
    Subject, Suite, Target, Verdict, targets,
};
use bayeslora::low_level::gpu::Gpu;
use bayeslora::low_level::model::BackboneBits;
use clap::Args;
use comfy_table::Table;
use serde::Serialize;
use serde_json::Value;

use super::context::{Bar, Context};
use super::{environment, output, tables};

/// Of --compare: two reports of one program on a busy machine differ by a fifth.
const FAIL_BELOW: f64 = 0.8;

#[derive(Args)]
pub struct BenchArgs {
    /// Run only scenarios whose name contains TEXT: forward, train, train-cached, predictive, peak, kernels,
    /// memory, start, session, pruned, merged, host
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Images per batch
    #[arg(long, value_name = "N", default_value_t = 32)]
    batch: usize,
    /// Side of the network's input in pixels
    #[arg(long, value_name = "N", default_value_t = 64)]
    size: usize,
    /// Ranks of every adapter
    #[arg(long, value_name = "N", default_value_t = 8)]
    rank: usize,
    /// Gate samples per image in the predictive
    #[arg(long, value_name = "S", default_value_t = 8)]
    samples: usize,
    /// Bits of each weight of the frozen convolutions in GPU memory
    #[arg(long, value_name = "8|32", default_value_t = BackboneBits::F32)]
    backbone_bits: BackboneBits,
    /// Compare with an earlier report (from --out or --json); status 1 if a speed has fallen too far
    #[arg(long, value_name = "BASELINE.json")]
    compare: Option<PathBuf>,
    /// Compare with another build of this program: the two alternate, and a speed fails if it is slower in more rounds than
    /// chance explains; status 1 if one fails
    #[arg(long, value_name = "PROGRAM", conflicts_with = "compare")]
    against: Option<PathBuf>,
    /// Rounds of --against, each a whole `bench` of both builds [default: 11]
    #[arg(long, value_name = "N", requires = "against")]
    rounds: Option<usize>,
    /// The smallest ratio of a speed to the baseline's that passes [default: 0.8; with --against, 0.95]
    #[arg(long, value_name = "RATIO")]
    fail_below: Option<f64>,
    /// Also write the report as JSON to FILE
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print one JSON object and nothing else
    #[arg(long)]
    json: bool,
}

/// A comparison that has failed, which does not make the input wrong.
#[derive(Debug, thiserror::Error)]
#[error("{} of {} speeds fell below {} of the baseline: {}", .slow.len(), .of, .bound, .slow.join(", "))]
pub struct Slower {
    slow: Vec<String>,
    of: usize,
    bound: f64,
}

/// The report, and what follows from it.
#[derive(Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    report: &'a Report,
    /// On llvmpipe at the default settings, else empty.
    targets: Vec<Target>,
    comparison: Option<&'a Comparison>,
}

pub fn run(context: &Context, args: &BenchArgs) -> Result<()> {
    let scenarios = scenarios(args.filter.as_deref())?;
    if let Some(other) = &args.against {
        return against::run(context, args, other);
    }
    let fail_below = args.fail_below.unwrap_or(FAIL_BELOW);
    // Before anything long starts.
    let baseline = args.compare.as_deref().map(read).transpose()?;
    let settings = Settings {
        batch: args.batch,
        size: args.size,
        rank: args.rank,
        samples: args.samples,
        backbone_bits: args.backbone_bits,
        ..Settings::default()
    };
    let gpu = context.tuned_gpu()?;
    let environment = |gpu: &Gpu| match environment::describe(gpu) {
        Value::Object(fields) => fields.into_iter().collect(),
        _ => unreachable!("an environment is an object"),
    };
    let mut report = Report {
        schema: SCHEMA,
        date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        environment: environment(&gpu),
        settings: settings.clone(),
        results: Vec::new(),
    };
    if let (Some(baseline), Some(path)) = (&baseline, &args.compare) {
        match Comparison::new(baseline, &report, fail_below) {
            Ok(_) | Err(Incomparable::NothingShared) => {}
            Err(error) => bail!("--compare {}: {error}", path.display()),
        }
    }
    let subject = Subject::new(&gpu, settings)?;
    let bar = Bar::default();
    let suite = Suite {
        subject: &subject,
        scenarios,
        executable: std::env::current_exe().context("this program's own path")?,
    };
    report.results = suite.run(&mut |what, done, total| bar.show(what, done, total))?;
    // Now with the kernels that were measured.
    report.environment = environment(&subject.network.gpu);

    let comparison = baseline.map(|baseline| Comparison::new(&baseline, &report, fail_below));
    let comparison = comparison
        .transpose()
        .with_context(|| format!("--compare {}", shown(args.compare.as_deref())))?;
    let default = Settings::default() == report.settings;
    let targets = match default && report.is_llvmpipe() {
        true => targets(&report.results),
        false => Vec::new(),
    };
    let document = Document {
        report: &report,
        targets,
        comparison: comparison.as_ref(),
    };
    if let Some(path) = &args.out {
        let text = serde_json::to_string_pretty(&document)? + "\n";
        fs::write(path, text).with_context(|| format!("--out {}", path.display()))?;
    }
    match args.json {
        true => output::json(&document)?,
        false => output::text(&describe(&document))?,
    }
    comparison.map_or(Ok(()), |comparison| judge(&comparison))
}

fn shown(path: Option<&Path>) -> String {
    path.map_or(String::new(), |path| path.display().to_string())
}

fn scenarios(filter: Option<&str>) -> Result<Vec<Scenario>> {
    let wanted = filter.unwrap_or_default();
    let mut chosen = Scenario::ALL.to_vec();
    chosen.retain(|scenario| scenario.name().contains(wanted));
    let names = Scenario::ALL.map(Scenario::name).join(", ");
    ensure!(
        !chosen.is_empty(),
        "--filter {wanted}: no scenario has that in its name; there are {names}"
    );
    Ok(chosen)
}

fn read(path: &Path) -> Result<Report> {
    let option = || format!("--compare {}", path.display());
    let text = fs::read_to_string(path).with_context(option)?;
    serde_json::from_str(&text)
        .context("not a report of `bayeslora bench --out` or `--json`")
        .with_context(option)
}

fn judge(comparison: &Comparison) -> Result<()> {
    let slow: Vec<String> = comparison
        .failures()
        .map(|row| format!("{} ({:.2})", row.name, row.ratio))
        .collect();
    if slow.is_empty() {
        return Ok(());
    }
    let speeds = comparison.rows.iter();
    Err(Slower {
        slow,
        of: speeds.filter(|row| row.kind == Kind::Speed).count(),
        bound: comparison.fail_below,
    }
    .into())
}

fn describe(document: &Document) -> String {
    let report = document.report;
    let settings = &report.settings;
    let mut text = format!(
        "{} ({}, {}), bayeslora {}, {}\nResNet-18 {}at {size}x{size}, batch {}, rank {} on {}, \
         {} samples\n{}\n\nspread: quartiles of the runs; of percentages, a 95 % bootstrap interval \
         over paired runs",
        report.environment("adapter"),
        report.environment("backend"),
        report.environment("driver_info"),
        report.environment("bayeslora"),
        report.date,
        match settings.backbone_bits.is_full() {
            true => String::new(),
            false => format!("with weights of {} bits ", settings.backbone_bits),
        },
        settings.batch,
        settings.rank,
        settings.targets.join(" and "),
        settings.samples,
        results(&report.results).trim_fmt(),
        size = settings.size,
    );
    if !document.targets.is_empty() {
        let table = target_table(&document.targets, &report.results).trim_fmt();
        text += &format!("\n\ntargets for llvmpipe on two CPU cores\n{table}");
    }
    if let Some(comparison) = document.comparison {
        text += &format!("\n\n{}", compared(comparison));
    }
    text
}

fn results(rows: &[Row]) -> Table {
    let mut table = tables::new(&["", "median", "unit", "spread", "runs"], &[1, 3, 4]);
    for row in rows {
        let (spread, runs) = match row.spread {
            Spread::Exact => (String::new(), String::new()),
            _ => (
                format!("{} .. {}", number(row.low), number(row.high)),
                row.runs.to_string(),
            ),
        };
        let cells = [
            row.name.clone(),
            number(row.value),
            row.unit.clone(),
            spread,
            runs,
        ];
        table.add_row(cells);
    }
    table
}

fn target_table(targets: &[Target], rows: &[Row]) -> Table {
    let mut table = tables::new(&["", "measured", "unit", "floor", "aim", ""], &[1, 3, 4]);
    for target in targets {
        let row = rows.iter().find(|row| row.name == target.name);
        let (unit, better) = row.map_or(("", Better::Higher), |row| (&row.unit, row.better));
        let bound = |value: f64| match better {
            Better::Higher => format!(">= {value}"),
            Better::Lower => format!("<= {value}"),
        };
        let verdict = match target.verdict {
            Verdict::AimMet => "aim met",
            Verdict::FloorMet => "floor met",
            Verdict::BelowFloor => "below the floor",
        };
        table.add_row([
            target.name.into(),
            number(target.value),
            unit.into(),
            bound(target.floor),
            target.aim.map_or(String::new(), bound),
            verdict.into(),
        ]);
    }
    table
}

fn compared(comparison: &Comparison) -> String {
    let mut table = tables::new(&["", "baseline", "now", "unit", "ratio", ""], &[1, 2, 4]);
    for row in &comparison.rows {
        table.add_row([
            row.name.clone(),
            number(row.baseline),
            number(row.now),
            row.unit.clone(),
            format!("{:.2}", row.ratio),
            if row.failed { "too slow" } else { "" }.into(),
        ]);
    }
    let drivers = match &comparison.drivers {
        Some([old, new]) => format!(", driver then {old}, now {new}"),
        None => String::new(),
    };
    format!(
        "against the baseline of {}{drivers}; a ratio above 1 is better, speeds fail below {}\n{}\n\
         {} rows of the baseline were not measured now, {} are new",
        comparison.baseline_date,
        comparison.fail_below,
        table.trim_fmt(),
        comparison.missing,
        comparison.new
    )
}

/// Three significant digits or more.
fn number(value: f64) -> String {
    let digits = match value.abs() {
        0.0 => 0,
        size if size < 1.0 => 3,
        size if size < 10.0 => 2,
        size if size < 1000.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$}")
}
