//! The command line: one file per command.

mod bench;
mod calibrate;
mod chosen;
mod class_balance;
mod class_prior;
mod context;
mod corruption;
mod demo;
mod devices;
mod earlier;
mod ensemble;
mod environment;
mod epochs;
mod eval;
mod explain;
mod export;
mod failure;
mod handed_out;
mod import;
mod laplace;
mod live;
mod location;
mod lr_range;
mod near;
mod ood;
mod output;
mod pictures;
mod plan;
mod predict;
mod probs_out;
mod promised;
mod prune;
mod ranges;
mod report;
mod reproduce;
mod run;
mod run_images;
mod score;
mod shard;
#[cfg(unix)]
mod signals;
mod tables;
mod tensorboard;
mod test_set;
mod thumbnails;
mod train;
mod train_options;
mod tune;
mod unfamiliar;

use std::process::ExitCode;

use bayeslora::low_level::formats::printable;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

/// Bayesian low-rank adapters with rank-wise variational dropout, on GPUs and CPUs through WebGPU.
#[derive(Parser)]
#[command(version, about, arg_required_else_help = true)]
struct Cli {
    /// The GPU adapter to use: a part of its name, its number in `bayeslora devices`, `gpu` or `cpu`
    #[arg(
        long,
        global = true,
        env = "BAYESLORA_ADAPTER",
        value_name = "NAME|INDEX|cpu|gpu"
    )]
    adapter: Option<String>,
    /// Use the default kernels instead of those measured fastest on this GPU
    #[arg(long, global = true)]
    no_tune: bool,
    /// Precision of the convolutions' operands: f16 rounds them and is used where it is measured faster; sums are always
    /// f32 [default: f32; with --resume, the run's own]
    #[arg(long, global = true, value_enum)]
    precision: Option<context::Precision>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// LoRA and BayesLoRA side by side on the sample of images, in minutes
    Demo(demo::DemoArgs),
    /// Train adapters on a set of labelled images
    Train(Box<train::TrainArgs>),
    /// Train a run again with other KL multiplicities and compare them on its validation split
    Tune(tune::TuneArgs),
    /// Score a trained adapter on a test set
    Eval(eval::EvalArgs),
    /// Score a Laplace approximation around a trained adapter on a test set
    Laplace(laplace::LaplaceArgs),
    /// Find when a trained adapter's answers can be relied on, by its validation split
    Calibrate(calibrate::CalibrateArgs),
    /// Classify image files, with uncertainty
    Predict(predict::PredictArgs),
    /// Show where in image files a trained adapter sees what it answers
    Explain(explain::ExplainArgs),
    /// Cut ranks of a trained adapter and report what it costs
    Prune(prune::PruneArgs),
    /// Write a trained adapter for other programs: PEFT, safetensors, a merged backbone, ONNX
    Export(export::ExportArgs),
    /// Make a run of an adapter that PEFT has saved
    Import(import::ImportArgs),
    /// Run the paper's comparison on your images: train, predict, score, report
    Reproduce(reproduce::ReproduceArgs),
    /// Score the predictions of any other program
    Score(score::ScoreArgs),
    /// Make an HTML page and figures of a run, or of the results of studies
    Report(report::ReportArgs),
    /// List the GPU adapters of this system
    Devices(devices::DevicesArgs),
    /// Show what a training step or a prediction runs on the GPU, and what that costs
    Plan(plan::PlanArgs),
    /// Measure speed and memory on this machine, and compare with an earlier report
    Bench(bench::BenchArgs),
    /// Print a completion script for a shell
    Completions(handed_out::CompletionsArgs),
    /// Print the manual page, or write those of all commands
    Man(handed_out::ManArgs),
}

/// Wrong input, as opposed to 1 for a failure outside the program (a full disk) or of a comparison.
const BAD_INPUT: u8 = 2;

/// The GPU device was lost; what the host had is on disk.
const DEVICE_LOST: u8 = 3;

/// Stopped by Ctrl-C, SIGTERM or SIGHUP; shells report Ctrl-C like this.
const INTERRUPTED: u8 = 130;

/// Runs the command line.
pub fn main() -> ExitCode {
    // First of all: drivers read the environment once, and no thread runs yet.
    // SAFETY: and so no other thread reads the environment.
    unsafe { bayeslora::low_level::gpu::prepare_environment() };
    bayeslora::low_level::gpu::silence_caught_panics();
    let matches = program().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let context = context::Context::new(cli.adapter, cli.precision, !cli.no_tune);
    let result = dispatch(&context, &cli.command);
    match result {
        Ok(()) if context.interrupted() => ExitCode::from(INTERRUPTED),
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Whatever files are called, an error is text.
            let text = format!("error: {}", failure::text(&error, &program()));
            let lines: Vec<_> = text.lines().map(printable).collect();
            output::note(&lines.join("\n"));
            if failure::is_device_lost(&error) {
                ExitCode::from(DEVICE_LOST)
            } else if error.is::<bench::Slower>() || failure::is_unkept(&error) {
                ExitCode::FAILURE
            } else {
                ExitCode::from(BAD_INPUT)
            }
        }
    }
}

fn program() -> clap::Command {
    ranges::stated(Cli::command())
}

fn dispatch(context: &context::Context, command: &Command) -> anyhow::Result<()> {
    context.catch_signals()?;
    match command {
        Command::Demo(args) => demo::run(context, args),
        Command::Train(args) => train::run(context, args),
        Command::Tune(args) => tune::run(context, args),
        Command::Eval(args) => eval::run(context, args),
        Command::Laplace(args) => laplace::run(context, args),
        Command::Calibrate(args) => calibrate::run(context, args),
        Command::Predict(args) => predict::run(context, args),
        Command::Explain(args) => explain::run(context, args),
        Command::Prune(args) => prune::run(context, args),
        Command::Export(args) => export::run(args),
        Command::Import(args) => import::run(args),
        Command::Reproduce(args) => reproduce::run(context, args),
        Command::Score(args) => score::run(args),
        Command::Report(args) => report::run(context, args),
        Command::Devices(args) => devices::run(context, args),
        Command::Plan(args) => plan::run(context, args),
        Command::Bench(args) => bench::run(context, args),
        Command::Completions(args) => handed_out::completions(args, program()),
        Command::Man(args) => handed_out::man(args, program()),
    }
}
