//! `bayeslora train`
use clap::Args;
use super::context::Context;
#[derive(Args)]
pub struct TrainArgs {}
pub fn run(_context: &Context, _args: &TrainArgs) -> anyhow::Result<()> { Ok(()) }
