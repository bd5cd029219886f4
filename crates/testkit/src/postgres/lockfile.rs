//! `postmaster.pid`: what a running server says of itself, one fact a line.

use std::fs;
use std::path::Path;

use rustix::process::Pid;

use super::process;

#[derive(Debug)]
pub(super) struct LockFile {
    text: String,
}

impl LockFile {
    /// `None` when no server runs on this data directory, or the last one left in good order.
    pub(super) fn read(data_dir: &Path) -> Option<Self> {
        let text = fs::read_to_string(data_dir.join("postmaster.pid")).ok()?;
        Some(Self { text })
    }

    /// The file survives a killed server: only together with the right pid does `ready` mean anything.
    pub(super) fn says_ready(&self, pid: Pid) -> bool {
        self.line(1).and_then(process::pid) == Some(pid)
            && self.line(8).is_some_and(|status| status.trim() == "ready")
    }

    /// The id of the System V shared memory segment, for `ipcrm`.
    pub(super) fn shared_memory(&self) -> Option<u32> {
        self.line(7)?.split_ascii_whitespace().nth(1)?.parse().ok()
    }

    fn line(&self, number: usize) -> Option<&str> {
        self.text.lines().nth(number - 1)
    }
}
