//! `bench --against`: another build of this program, the two taking turns.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use bayeslora::low_level::bench::{Comparison, Paired, Report, Rounds, least_rounds, paired};
use serde::Serialize;

use super::{BenchArgs, Slower, number};
use crate::cli::context::{Bar, Context};
use crate::cli::{output, tables};

/// Enough for a row of twenty to fail.
const ROUNDS: usize = 11;

/// The smallest ratio that passes: what a change may cost without a word.
const FAIL_BELOW: f64 = 0.95;

/// The document of --json and --out.
#[derive(Serialize)]
struct Document {
    /// The other program's environment and this one's.
    base: serde_json::Value,
    head: serde_json::Value,
    fail_below: f64,
    results: Vec<Paired>,
    rounds: Vec<Rounds>,
}

pub fn run(context: &Context, args: &BenchArgs, other: &Path) -> Result<()> {
    let head = std::env::current_exe().context("this program's own path")?;
    let option = || format!("--against {}", other.display());
    ensure!(other.is_file(), "{}: there is no such program", option());
    let (count, fail_below) = (
        args.rounds.unwrap_or(ROUNDS),
        args.fail_below.unwrap_or(FAIL_BELOW),
    );
    let measure = |program: &Path| measure(context, args, program).with_context(option);
    let (bar, total) = (Bar::default(), 2 * (count + 1));
    let mut done = 0;
    let mut both = |round: usize| -> Result<[Report; 2]> {
        // Whatever the machine does meets both alike.
        let mut one = |program: &Path| {
            bar.show("taking turns", done, total);
            done += 1;
            measure(program)
        };
        match round % 2 {
            0 => Ok([one(other)?, one(&head)?]),
            _ => {
                let head = one(&head)?;
                Ok([one(other)?, head])
            }
        }
    };
    // Fills the caches, and shows before anything long whether there is something to compare.
    let [base, now] = both(0)?;
    Comparison::new(&base, &now, fail_below).with_context(option)?;
    let reports: Vec<[Report; 2]> = (1..=count).map(&mut both).collect::<Result<_>>()?;
    bar.show("taking turns", total, total);
    let rounds = Rounds::of(&reports);
    let least = least_rounds(rounds.len());
    if count < least {
        output::note(&format!(
            "note: with {} rows it takes {least} rounds or more to call one slower; nothing can fail",
            rounds.len()
        ));
    }
    let document = Document {
        results: paired(&rounds, fail_below),
        base: serde_json::to_value(&base.environment)?,
        head: serde_json::to_value(&now.environment)?,
        fail_below,
        rounds,
    };
    if let Some(path) = &args.out {
        let text = serde_json::to_string_pretty(&document)? + "\n";
        fs::write(path, text).with_context(|| format!("--out {}", path.display()))?;
    }
    match args.json {
        true => output::json(&document)?,
        false => output::text(&describe(&document, &base, other))?,
    }
    let failed = document.results.iter().filter(|row| row.failed);
    let slow: Vec<String> = failed
        .map(|row| format!("{} ({:.2})", row.name, row.ratio))
        .collect();
    match slow.is_empty() {
        true => Ok(()),
        false => Err(Slower {
            slow,
            of: document.results.len(),
            bound: fail_below,
        }
        .into()),
    }
}

/// One report of a program, with the settings of this one.
fn measure(context: &Context, args: &BenchArgs, program: &Path) -> Result<Report> {
    let mut command = Command::new(program);
    command.args(["--adapter", &context.adapter().to_string()]);
    command.args(["bench", "--json"]);
    for (flag, value) in [
        ("--batch", args.batch),
        ("--size", args.size),
        ("--rank", args.rank),
        ("--samples", args.samples),
    ] {
        command.args([flag, &value.to_string()]);
    }
    // Earlier builds have no such option.
    if !args.backbone_bits.is_full() {
        command.args(["--backbone-bits", &args.backbone_bits.to_string()]);
    }
    if let Some(filter) = &args.filter {
        command.args(["--filter", filter]);
    }
    let output = command.stdin(Stdio::null()).output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{} failed: {}", program.display(), said.trim());
    }
    serde_json::from_slice(&output.stdout)
        .with_context(|| format!("{} printed no report of bench --json", program.display()))
}

fn describe(document: &Document, base: &Report, other: &Path) -> String {
    let headings = ["", "base", "now", "unit", "ratio", "95 %", "slow", ""];
    let mut table = tables::new(&headings, &[1, 2, 4, 5, 6]);
    for row in &document.results {
        table.add_row([
            row.name.clone(),
            number(row.base),
            number(row.head),
            row.unit.clone(),
            format!("{:.2}", row.ratio),
            format!("{:.2} .. {:.2}", row.low, row.high),
            row.slow_rounds.to_string(),
            if row.failed { "too slow" } else { "" }.into(),
        ]);
    }
    let rounds = document.rounds.first().map_or(0, |row| row.base.len());
    format!(
        "{} ({}, {}), base {}\n{}\n\nmedians of {rounds} rounds in which the two take turns; ratio: the median over the \
         rounds, above 1 is better; slow: rounds below {}, so many of which fail a row that an unchanged program would in one \
         of a hundred comparisons",
        base.environment("adapter"),
        base.environment("backend"),
        base.environment("driver_info"),
        other.display(),
        table.trim_fmt(),
        document.fail_below,
    )
}
