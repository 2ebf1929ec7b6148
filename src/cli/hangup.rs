//! SIGHUP, which `nohup` has ignored.

use anyhow::{Context as _, Result};
use nix::sys::signal::{SigHandler, Signal, signal};

/// Has `catch` catch signals, all but SIGHUP where whoever has started the program ignores that.
pub fn unless_ignored(catch: impl FnOnce() -> Result<()>) -> Result<()> {
    let was_ignored = matches!(ignore()?, SigHandler::SigIgn);
    catch()?;
    if was_ignored {
        ignore()?;
    }
    Ok(())
}

/// Returns what was done about it before.
fn ignore() -> Result<SigHandler> {
    // SAFETY: no code of ours runs in a handler that ignores.
    let before = unsafe { signal(Signal::SIGHUP, SigHandler::SigIgn) };
    before.context("cannot look after SIGHUP")
}
