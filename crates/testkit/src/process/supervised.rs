//! The owner of one server: its program, its port and its current process.
//!
//! States: running (maybe frozen) and stopped. Port and data stay the same. A lock serialises the operations, all of which
//! block.
//!
//! Dropping the server ends its process before the program's workspace removes the files.

use std::fmt;
use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal};

use super::Workspace;
use super::running::Running;
use crate::Error;
use crate::wait::wait_until;

const STOP_LIMIT: Duration = Duration::from_secs(30);
const DROP_LIMIT: Duration = Duration::from_secs(10);
const PORT_LIMIT: Duration = Duration::from_secs(10);

/// A kind of server: how to run it, and how to see that it is ready.
pub(crate) trait Program: fmt::Debug + Send + Sync + 'static {
    /// Shuts the server down in order.
    const STOP: Signal;
    /// Ends the server at once. Its files are about to be removed.
    const ABORT: Signal;
    /// What the server's log contains if its port is in use.
    const PORT_TAKEN: &str;

    /// Returns where the server's files are. The arguments of [`command`](Self::command) must contain its path.
    fn workspace(&self) -> &Workspace;

    fn command(&self, port: u16) -> Command;

    /// Returns whether the process with this pid accepts connections.
    fn is_ready(&self, pid: Pid) -> bool;
}

#[derive(Debug)]
pub(crate) struct Supervised<P: Program> {
    port: u16,
    // Dropped before the program, whose workspace removes the files.
    running: Mutex<Option<Running>>,
    program: P,
}

impl<P: Program> Supervised<P> {
    /// Starts the server. Returns when it accepts connections.
    pub(crate) fn start(program: P) -> Result<Self, Error> {
        let (port, running) = with_free_ports(|| {
            let port = free_port()?;
            Ok((port, Running::start(&program, port)?))
        })?;
        Ok(Self {
            port,
            running: Mutex::new(Some(running)),
            program,
        })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn program(&self) -> &P {
        &self.program
    }

    pub(crate) fn start_again(&self) -> Result<(), Error> {
        let mut slot = self.slot();
        if slot.as_mut().is_some_and(Running::is_running) {
            return Ok(());
        }
        // While the server was down, the system may have given its port to an outgoing connection: try again.
        let mut result = Err(Error::port_taken(format!("port {} is taken", self.port)));
        wait_until(PORT_LIMIT, || {
            result = Running::start(&self.program, self.port);
            !matches!(&result, Err(error) if error.is_port_taken())
        });
        *slot = Some(result?);
        Ok(())
    }

    pub(crate) fn stop(&self) -> Result<(), Error> {
        let mut slot = self.slot();
        if let Some(running) = &mut *slot
            && !running.shut_down(P::STOP, STOP_LIMIT)?
        {
            return Err(Error::new(format!(
                "the server did not stop within {STOP_LIMIT:?}"
            )));
        }
        *slot = None;
        Ok(())
    }

    pub(crate) fn kill(&self) -> Result<(), Error> {
        let mut slot = self.slot();
        if let Some(running) = &mut *slot {
            running.kill()?;
        }
        *slot = None;
        Ok(())
    }

    pub(crate) fn pause(&self) -> Result<(), Error> {
        self.with_running(Running::freeze)
    }

    pub(crate) fn resume(&self) -> Result<(), Error> {
        self.with_running(Running::thaw)
    }

    pub(crate) fn is_running(&self) -> bool {
        self.slot().as_mut().is_some_and(Running::is_running)
    }

    fn with_running<T>(
        &self,
        action: impl FnOnce(&mut Running) -> Result<T, Error>,
    ) -> Result<T, Error> {
        if let Some(running) = &mut *self.slot()
            && running.is_running()
        {
            return action(running);
        }
        Err(Error::new("the server is not running"))
    }

    // After a panic under the lock, the slot may contain an ended process, which all operations expect.
    fn slot(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<P: Program> Drop for Supervised<P> {
    fn drop(&mut self) {
        if let Some(mut running) = self.slot().take() {
            let ended = running.shut_down(P::ABORT, DROP_LIMIT);
            if !matches!(ended, Ok(true))
                && let Err(error) = running.kill()
            {
                tracing::warn!(%error, "cannot end the server, it is left running");
            }
        }
    }
}

/// Calls `start`, which chooses free ports. Another process may take a port before the server does: then calls it again.
pub(crate) fn with_free_ports<T>(mut start: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
    const ATTEMPTS: u32 = 10;
    let mut attempt = 1;
    loop {
        match start() {
            Err(error) if error.is_port_taken() && attempt < ATTEMPTS => attempt += 1,
            result => return result,
        }
    }
}

/// Returns a free port below the range of ephemeral ports: an outgoing connection could take such a port while the server
/// is stopped.
pub(crate) fn free_port() -> Result<u16, Error> {
    (0..1000)
        .map(|_| fastrand::u16(15_000..32_000))
        .find(|&port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
        .ok_or_else(|| Error::new("no free port on 127.0.0.1"))
}
