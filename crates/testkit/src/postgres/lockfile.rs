//! `postmaster.pid`: the state of a running server, one value in each line.

use std::fs;
use std::path::Path;

use rustix::process::Pid;

use crate::process;

#[derive(Debug)]
pub(super) struct LockFile {
    text: String,
}

impl LockFile {
    /// Returns `None` if there is no file: no server runs on this data directory, and the last one was shut down.
    pub(super) fn read(data_dir: &Path) -> Option<Self> {
        let text = fs::read_to_string(data_dir.join("postmaster.pid")).ok()?;
        Some(Self { text })
    }

    /// Returns whether the server with this pid is ready. The pid is compared because the file of a killed server remains.
    pub(super) fn is_ready(&self, pid: Pid) -> bool {
        self.line(1).and_then(process::pid) == Some(pid)
            && self.line(8).is_some_and(|status| status.trim() == "ready")
    }

    /// Returns the id of the System V shared memory segment, for `ipcrm`.
    pub(super) fn shared_memory(&self) -> Option<u32> {
        self.line(7)?.split_ascii_whitespace().nth(1)?.parse().ok()
    }

    fn line(&self, number: usize) -> Option<&str> {
        self.text.lines().nth(number - 1)
    }
}
