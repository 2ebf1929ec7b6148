//! `bayeslora completions` and `bayeslora man`: what a package of the program installs beside it.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;

use super::output::{self, Unkept};

/// Print a completion script for a shell
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell that will read it
    pub shell: Shell,
}

/// Print the manual page, or write those of all commands
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Write `bayeslora.1` and a page for every command, `bayeslora-train.1` and so on, into this directory
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// # Errors
/// Standard output cannot be written.
pub fn completions(args: &CompletionsArgs, mut program: Command) -> anyhow::Result<()> {
    let (mut script, name) = (Vec::new(), program.get_name().to_owned());
    clap_complete::generate(args.shell, &mut program, name, &mut script);
    output::text(String::from_utf8(script)?.trim_end())
}

/// # Errors
/// Standard output or the directory cannot be written.
pub fn man(args: &ManArgs, program: Command) -> anyhow::Result<()> {
    match &args.out {
        Some(out) => std::fs::create_dir_all(out)
            .and_then(|()| clap_mangen::generate_to(program, out))
            .with_context(|| Unkept(format!("cannot write pages into `{}`", out.display())))
            .context("--out"),
        None => {
            let mut page = Vec::new();
            Man::new(program).render(&mut page)?;
            output::text(String::from_utf8(page)?.trim_end())
        }
    }
}
