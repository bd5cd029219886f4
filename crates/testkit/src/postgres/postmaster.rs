//! One run of the server process, from its start to its end.
//!
//! States: running or frozen, then ended. All functions block.
//!
//! The postmaster is a child of this process, which can wait for it. Its backends are not. They are found by their parent,
//! because each one is the leader of its own session.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal};

use crate::postgres::lockfile::LockFile;
use crate::postgres::process;
use crate::postgres::workspace::Workspace;
use crate::wait::wait_until;
use crate::{Binaries, Error};

const START_LIMIT: Duration = Duration::from_secs(30);
const FREEZE_LIMIT: Duration = Duration::from_secs(5);
const KILL_LIMIT: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Postmaster {
    child: Child,
    pid: Pid,
    data_dir: PathBuf,
}

impl Postmaster {
    /// Starts the server. Returns when it accepts connections.
    pub(super) fn start(
        workspace: &Workspace,
        binaries: &Binaries,
        port: u16,
    ) -> Result<Self, Error> {
        let log = workspace.log_file();
        let unreadable = || format!("cannot open {}", log.display());
        let output = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .map_err(Error::during(unreadable()))?;
        let written_before = output
            .metadata()
            .map(|meta| meta.len())
            .map_err(Error::during(unreadable()))?;
        let errors = output.try_clone().map_err(Error::during(unreadable()))?;

        let child = workspace
            .command(binaries.postgres())
            .arg("-D")
            .arg(workspace.data_dir())
            .args(["-p", &port.to_string()])
            .stdout(Stdio::from(output))
            .stderr(Stdio::from(errors))
            .spawn()
            .map_err(Error::during(format!(
                "cannot run {}",
                binaries.postgres().display()
            )))?;
        let pid = Pid::from_child(&child);
        let mut postmaster = Self {
            child,
            pid,
            data_dir: workspace.data_dir(),
        };

        let mut ready = false;
        wait_until(START_LIMIT, || {
            ready = LockFile::read(&postmaster.data_dir).is_some_and(|lock| lock.is_ready(pid));
            ready || !postmaster.is_running()
        });
        if ready {
            return Ok(postmaster);
        }
        let hung = postmaster.is_running();
        postmaster.kill()?;
        Err(start_error(&log, written_before, port, hung))
    }

    pub(super) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Shuts the server down: fast by signal `INT`, immediately by `QUIT`. Returns whether it has ended within `limit`.
    pub(super) fn shut_down(&mut self, signal: Signal, limit: Duration) -> Result<bool, Error> {
        if !self.is_running() {
            return Ok(true);
        }
        self.thaw()?;
        process::signal(self.pid, signal)?;
        Ok(wait_until(limit, || !self.is_running()))
    }

    /// Kills the server and its backends.
    pub(super) fn kill(&mut self) -> Result<(), Error> {
        if !self.is_running() {
            return Ok(());
        }
        // Freeze the postmaster first: otherwise it could fork a backend that is not in this list. Each backend needs a
        // signal, because a busy one notices late that the postmaster is gone.
        let backends = self.freeze_postmaster()?;
        process::signal(self.pid, Signal::KILL)?;
        for &backend in &backends {
            process::signal(backend, Signal::KILL)?;
        }
        let all_gone = wait_until(KILL_LIMIT, || {
            !self.is_running() && backends.iter().copied().all(process::is_gone)
        });
        if all_gone {
            return Ok(());
        }
        Err(Error::new(format!(
            "the server (pid {}) or a backend does not end after SIGKILL",
            self.pid
        )))
    }

    /// Suspends the postmaster and all its children.
    pub(super) fn freeze(&mut self) -> Result<(), Error> {
        for backend in self.freeze_postmaster()? {
            process::signal(backend, Signal::STOP)?;
            if !wait_until(FREEZE_LIMIT, || process::is_frozen(backend)) {
                return Err(Error::new(format!("backend {backend} does not stop")));
            }
        }
        Ok(())
    }

    pub(super) fn thaw(&mut self) -> Result<(), Error> {
        for backend in process::children(self.pid) {
            process::signal(backend, Signal::CONT)?;
        }
        process::signal(self.pid, Signal::CONT)
    }

    fn freeze_postmaster(&mut self) -> Result<Vec<Pid>, Error> {
        process::signal(self.pid, Signal::STOP)?;
        if !wait_until(FREEZE_LIMIT, || process::is_frozen(self.pid)) {
            return Err(Error::new(format!(
                "the server (pid {}) does not stop",
                self.pid
            )));
        }
        Ok(process::children(self.pid))
    }
}

fn start_error(log: &Path, from: u64, port: u16, hung: bool) -> Error {
    let output = read_from(log, from).unwrap_or_default();
    if output.contains("could not create any TCP/IP sockets") {
        return Error::port_taken(format!("port {port} is taken"));
    }
    let problem = if hung {
        "did not become ready in time"
    } else {
        "ended while starting"
    };
    let lines: Vec<&str> = output.lines().collect();
    let tail = lines[lines.len().saturating_sub(20)..].join("\n  ");
    Error::new(format!(
        "the server {problem}; the end of its log:\n  {tail}"
    ))
}

fn read_from(log: &Path, offset: u64) -> std::io::Result<String> {
    let mut file = File::open(log)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
