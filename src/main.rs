//! The command line of bayeslora.

// Both panic when the reader is gone; `cli::output` does not.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
