//! One writer per directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::FormatError;
use super::files::{io_error, json_error};

/// The file that says which process writes a directory. When none does, it stays, empty.
pub const LOCK: &str = "lock";

/// Keeps other processes from writing a directory for as long as it lives.
#[derive(Debug)]
pub struct Lock(File);

/// Who has it, as the file says.
#[derive(Debug, Serialize, Deserialize)]
struct Holder {
    process: u32,
    host: String,
    command: String,
}

impl Lock {
    /// Takes the lock of a directory, if need be from a process that is gone.
    ///
    /// # Errors
    /// Another process has it, on this machine or another one that shares the directory, or the file cannot be
    /// written.
    pub fn take(dir: impl AsRef<Path>) -> Result<Self, FormatError> {
        let (dir, path) = (dir.as_ref(), dir.as_ref().join(LOCK));
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(&path).map_err(io_error("lock", &path))?;
        let me = Holder::me();
        let taken = file.try_lock();
        let other = Holder::read(&mut file);
        let held = match &taken {
            Ok(()) => false,
            Err(TryLockError::WouldBlock) => true,
            // The file system has no locks: what the file says has to do.
            Err(TryLockError::Error(_)) => other.as_ref().is_some_and(Holder::runs_here),
        };
        // A lock of another machine may not reach this one.
        let elsewhere = other.as_ref().is_some_and(|other| other.host != me.host);
        if held || elsewhere {
            return Err(FormatError::Locked {
                path: dir.to_owned(),
                holder: other.map_or("another process".into(), |other| other.to_string()),
                lock: path,
                elsewhere,
            });
        }
        let text = serde_json::to_string(&me).map_err(json_error(&path.display().to_string()))?;
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{text}"))
            .map_err(io_error("lock", &path))?;
        Ok(Self(file))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Nobody can be told, and the next process takes over from one that is gone.
        let _ = self.0.set_len(0);
    }
}

impl Holder {
    fn me() -> Self {
        let arguments = std::env::args_os();
        let arguments = arguments.map(|argument| argument.to_string_lossy().into_owned());
        Self {
            process: std::process::id(),
            host: host_name(),
            command: arguments.collect::<Vec<_>>().join(" "),
        }
    }

    /// Nobody where the file is empty or half written.
    fn read(file: &mut File) -> Option<Self> {
        let mut text = String::new();
        file.read_to_string(&mut text).ok()?;
        serde_json::from_str(&text).ok()
    }

    #[cfg(unix)]
    fn runs_here(&self) -> bool {
        use rustix::process::{Pid, test_kill_process};

        let process = i32::try_from(self.process).ok().and_then(Pid::from_raw);
        // One of another user is there, though it may not be signalled.
        process.is_some_and(|process| test_kill_process(process) != Err(rustix::io::Errno::SRCH))
    }

    /// Nothing says that it does not.
    #[cfg(not(unix))]
    fn runs_here(&self) -> bool {
        true
    }
}

#[cfg(unix)]
fn host_name() -> String {
    let names = rustix::system::uname();
    names.nodename().to_string_lossy().into_owned()
}

#[cfg(not(unix))]
fn host_name() -> String {
    std::env::var("COMPUTERNAME").unwrap_or_default()
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let Self {
            process,
            host,
            command,
        } = self;
        write!(f, "process {process} on {host} (`{command}`)")
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_gone_does_not_run() {
        let mut gone = std::process::Command::new("true").spawn().unwrap();
        gone.wait().unwrap();
        let holder = |process| Holder {
            process,
            ..Holder::me()
        };
        assert!(Holder::me().runs_here());
        assert!(holder(1).runs_here(), "another user's, perhaps");
        for process in [gone.id(), 0, u32::MAX] {
            assert!(!holder(process).runs_here(), "{process}");
        }
    }
}
