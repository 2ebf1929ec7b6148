//! Temporary: `score` alone.

mod cli;

use clap::Parser;

#[derive(Parser)]
enum Command {
    Score(cli::score::ScoreArgs),
}

fn main() {
    let Command::Score(args) = Command::parse();
    if let Err(error) = cli::score::run(&args) {
        eprintln!("error: {error:#}");
        std::process::exit(2);
    }
}
