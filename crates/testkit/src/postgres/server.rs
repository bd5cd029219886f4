//! PostgreSQL as a supervised program: its files, its command line and its signals.

use std::path::PathBuf;
use std::process::Command;

use rustix::process::{Pid, Signal};

use super::cluster;
use super::lockfile::LockFile;
use crate::process::{Program, Supervised, User, Workspace};
use crate::{Binaries, Error};

/// The options of a server.
#[derive(Clone, Debug, Default)]
pub(super) struct Options {
    pub(super) settings: Vec<(String, String)>,
    pub(super) password: Option<String>,
    pub(super) tls: bool,
}

#[derive(Debug)]
pub(super) struct Server {
    pub(super) password: Option<String>,
    pub(super) authority: Option<PathBuf>,
    pub(super) data_dir: PathBuf,
    pub(super) log_file: PathBuf,
    binaries: Binaries,
    workspace: Workspace,
}

impl Server {
    pub(super) fn start(options: Options) -> Result<Supervised<Self>, Error> {
        let binaries = Binaries::find()?;
        let workspace = Workspace::create(User::Unprivileged)?;
        cluster::create(&workspace, &binaries, options.password.as_deref())?;
        let authority = cluster::configure(&workspace, &options.settings, options.tls)?;
        Supervised::start(Self {
            password: options.password,
            authority,
            data_dir: workspace.data_dir(),
            log_file: workspace.log_file(),
            binaries,
            workspace,
        })
    }
}

impl Program for Server {
    /// A fast shutdown.
    const STOP: Signal = Signal::INT;
    /// An immediate shutdown.
    const ABORT: Signal = Signal::QUIT;
    const PORT_TAKEN: &str = "could not create any TCP/IP sockets";

    fn workspace(&self) -> &Workspace {
        &self.workspace
    }

    fn command(&self, port: u16) -> Command {
        let mut command = self.workspace.command(self.binaries.postgres());
        command
            .arg("-D")
            .arg(&self.data_dir)
            .args(["-p", &port.to_string()]);
        command
    }

    fn is_ready(&self, pid: Pid) -> bool {
        LockFile::read(&self.data_dir).is_some_and(|lock| lock.is_ready(pid))
    }
}

impl Drop for Server {
    /// Removes the shared memory of a killed server. A server that was shut down has removed it, and its lock file.
    fn drop(&mut self) {
        let Some(segment) = LockFile::read(&self.data_dir).and_then(|lock| lock.shared_memory())
        else {
            return;
        };
        if let Err(error) = Command::new("ipcrm")
            .args(["-m", &segment.to_string()])
            .output()
        {
            tracing::warn!(segment, %error, "cannot remove the server's shared memory");
        }
    }
}
