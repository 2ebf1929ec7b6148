//! What Unix makes of signals: SIGHUP, which `nohup` has ignored, and an exit that nothing delays.

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
    // SAFETY: ignoring a signal runs no handler code.
    let before = unsafe { signal(Signal::SIGHUP, SigHandler::SigIgn) };
    before.context("cannot look after SIGHUP")
}

/// Ends the program without what libraries have registered for an exit: drivers' threads are still at work, and
/// llvmpipe's crash where LLVM is taken down under them.
pub fn exit_at_once(status: u8) -> ! {
    // SAFETY: it ends the process. Nothing is lost: output is written as it is made, and files are whole at any time.
    unsafe { nix::libc::_exit(status.into()) }
}
