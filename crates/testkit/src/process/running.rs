//! One run of the server process, from its start to its end.
//!
//! States: running or frozen, then ended. All functions block.
//!
//! The server is a child of this process, which can wait for it. The server's own children, PostgreSQL's backends, are not.
//! They are found by their parent, because each one is the leader of its own session.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal};

use super::{Program, signals};
use crate::Error;
use crate::wait::wait_until;

const START_LIMIT: Duration = Duration::from_secs(30);
const FREEZE_LIMIT: Duration = Duration::from_secs(5);
const KILL_LIMIT: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    pid: Pid,
}

impl Running {
    /// Starts the server. Returns when it accepts connections.
    pub(super) fn start<P: Program>(program: &P, port: u16) -> Result<Self, Error> {
        let log = program.workspace().log_file();
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

        let mut command = program.command(port);
        let child = command
            .stdout(Stdio::from(output))
            .stderr(Stdio::from(errors))
            .spawn()
            .map_err(Error::during(format!(
                "cannot run {}",
                Path::new(command.get_program()).display()
            )))?;
        let pid = Pid::from_child(&child);
        let mut running = Self { child, pid };

        let mut ready = false;
        wait_until(START_LIMIT, || {
            ready = program.is_ready(pid);
            ready || !running.is_running()
        });
        if ready {
            return Ok(running);
        }
        let hung = running.is_running();
        running.kill()?;
        Err(start_error::<P>(&log, written_before, port, hung))
    }

    pub(super) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Shuts the server down by a signal. Returns whether it has ended within `limit`.
    pub(super) fn shut_down(&mut self, signal: Signal, limit: Duration) -> Result<bool, Error> {
        if !self.is_running() {
            return Ok(true);
        }
        self.thaw()?;
        signals::signal(self.pid, signal)?;
        Ok(wait_until(limit, || !self.is_running()))
    }

    /// Kills the server and its children.
    pub(super) fn kill(&mut self) -> Result<(), Error> {
        if !self.is_running() {
            return Ok(());
        }
        // Freeze the server first: otherwise it could fork a child that is not in this list. Each child needs a signal,
        // because a busy backend notices late that its postmaster is gone.
        let children = self.freeze_parent()?;
        signals::signal(self.pid, Signal::KILL)?;
        for &child in &children {
            signals::signal(child, Signal::KILL)?;
        }
        let all_gone = wait_until(KILL_LIMIT, || {
            !self.is_running() && children.iter().copied().all(signals::is_gone)
        });
        if all_gone {
            return Ok(());
        }
        Err(Error::new(format!(
            "the server (pid {}) or a child of it does not end after SIGKILL",
            self.pid
        )))
    }

    /// Suspends the server and all its children.
    pub(super) fn freeze(&mut self) -> Result<(), Error> {
        for child in self.freeze_parent()? {
            signals::signal(child, Signal::STOP)?;
            if !wait_until(FREEZE_LIMIT, || signals::is_frozen(child)) {
                return Err(Error::new(format!("process {child} does not stop")));
            }
        }
        Ok(())
    }

    pub(super) fn thaw(&mut self) -> Result<(), Error> {
        for child in signals::children(self.pid) {
            signals::signal(child, Signal::CONT)?;
        }
        signals::signal(self.pid, Signal::CONT)
    }

    fn freeze_parent(&mut self) -> Result<Vec<Pid>, Error> {
        signals::signal(self.pid, Signal::STOP)?;
        if !wait_until(FREEZE_LIMIT, || signals::is_frozen(self.pid)) {
            return Err(Error::new(format!(
                "the server (pid {}) does not stop",
                self.pid
            )));
        }
        Ok(signals::children(self.pid))
    }
}

fn start_error<P: Program>(log: &Path, from: u64, port: u16, hung: bool) -> Error {
    let output = read_from(log, from).unwrap_or_default();
    if output.contains(P::PORT_TAKEN) {
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
