//! The command line of bayeslora.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
