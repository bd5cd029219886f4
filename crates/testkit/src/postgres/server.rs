//! The owner of one server: its files, its port and its current process.
//!
//! States: running (maybe frozen) and stopped. Port and data stay the same. A lock serialises the operations, all of which
//! block.
//!
//! Dropping the server ends its process before the workspace removes the files.

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::Signal;

use crate::postgres::cluster;
use crate::postgres::postmaster::Postmaster;
use crate::postgres::workspace::Workspace;
use crate::wait::wait_until;
use crate::{Binaries, Error};

const STOP_LIMIT: Duration = Duration::from_secs(30);
const DROP_LIMIT: Duration = Duration::from_secs(10);
const PORT_LIMIT: Duration = Duration::from_secs(10);

/// The options of a server.
#[derive(Clone, Debug, Default)]
pub(super) struct Options {
    pub(super) settings: Vec<(String, String)>,
    pub(super) password: Option<String>,
    pub(super) tls: bool,
}

#[derive(Debug)]
pub(super) struct Server {
    pub(super) port: u16,
    pub(super) password: Option<String>,
    pub(super) authority: Option<PathBuf>,
    pub(super) data_dir: PathBuf,
    pub(super) log_file: PathBuf,
    binaries: Binaries,
    postmaster: Mutex<Option<Postmaster>>,
    workspace: Workspace,
}

impl Server {
    pub(super) fn start(options: Options) -> Result<Self, Error> {
        let binaries = Binaries::find()?;
        let workspace = Workspace::create()?;
        cluster::create(&workspace, &binaries, options.password.as_deref())?;
        let authority = cluster::configure(&workspace, &options.settings, options.tls)?;
        let (port, postmaster) = start_on_free_port(&workspace, &binaries)?;
        Ok(Self {
            port,
            password: options.password,
            authority,
            data_dir: workspace.data_dir(),
            log_file: workspace.log_file(),
            binaries,
            postmaster: Mutex::new(Some(postmaster)),
            workspace,
        })
    }

    pub(super) fn start_again(&self) -> Result<(), Error> {
        let mut slot = self.slot();
        if slot.as_mut().is_some_and(Postmaster::is_running) {
            return Ok(());
        }
        // While the server was down, the system may have given its port to an outgoing connection: try again.
        let mut result = Err(Error::port_taken(format!("port {} is taken", self.port)));
        wait_until(PORT_LIMIT, || {
            result = Postmaster::start(&self.workspace, &self.binaries, self.port);
            !matches!(&result, Err(error) if error.is_port_taken())
        });
        *slot = Some(result?);
        Ok(())
    }

    pub(super) fn stop(&self) -> Result<(), Error> {
        let mut slot = self.slot();
        if let Some(postmaster) = &mut *slot
            && !postmaster.shut_down(Signal::INT, STOP_LIMIT)?
        {
            return Err(Error::new(format!(
                "the server did not stop within {STOP_LIMIT:?}"
            )));
        }
        *slot = None;
        Ok(())
    }

    pub(super) fn kill(&self) -> Result<(), Error> {
        let mut slot = self.slot();
        if let Some(postmaster) = &mut *slot {
            postmaster.kill()?;
        }
        *slot = None;
        Ok(())
    }

    pub(super) fn pause(&self) -> Result<(), Error> {
        self.running(Postmaster::freeze)
    }

    pub(super) fn resume(&self) -> Result<(), Error> {
        self.running(Postmaster::thaw)
    }

    pub(super) fn is_running(&self) -> bool {
        self.slot().as_mut().is_some_and(Postmaster::is_running)
    }

    fn running(
        &self,
        action: impl FnOnce(&mut Postmaster) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if let Some(postmaster) = &mut *self.slot()
            && postmaster.is_running()
        {
            return action(postmaster);
        }
        Err(Error::new("the server is not running"))
    }

    // After a panic under the lock, the slot may contain an ended process, which all operations expect.
    fn slot(&self) -> MutexGuard<'_, Option<Postmaster>> {
        self.postmaster
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut postmaster) = self.slot().take() {
            let ended = postmaster.shut_down(Signal::QUIT, DROP_LIMIT);
            if !matches!(ended, Ok(true))
                && let Err(error) = postmaster.kill()
            {
                tracing::warn!(%error, "cannot end the server, it is left running");
            }
        }
    }
}

fn start_on_free_port(
    workspace: &Workspace,
    binaries: &Binaries,
) -> Result<(u16, Postmaster), Error> {
    // Another process may take the port before the server does: try another port.
    const ATTEMPTS: u32 = 10;
    let mut attempt = 1;
    loop {
        let port = free_port()?;
        match Postmaster::start(workspace, binaries, port) {
            Ok(postmaster) => return Ok((port, postmaster)),
            Err(error) if error.is_port_taken() && attempt < ATTEMPTS => attempt += 1,
            Err(error) => return Err(error),
        }
    }
}

/// Returns a free port below the range of ephemeral ports: an outgoing connection could take such a port while the server
/// is stopped.
fn free_port() -> Result<u16, Error> {
    (0..1000)
        .map(|_| fastrand::u16(15_000..32_000))
        .find(|&port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
        .ok_or_else(|| Error::new("no free port on 127.0.0.1"))
}
