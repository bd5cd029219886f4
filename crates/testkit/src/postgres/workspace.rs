//! A temporary directory and the processes that work in it.
//!
//! Guarantees: dropping a [`Workspace`] removes the directory, and should the test process end without
//! dropping it (SIGKILL, abort, a `static`), its watchdog ends the processes started through
//! [`Workspace::command`] and removes the directory instead.
//!
//! The watchdog is a shell that reads from a pipe whose other end only this process holds. It exists
//! before the directory does, so there is no moment at which nobody would clean up.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::Error;
use crate::postgres::account::Account;
use crate::postgres::lockfile::LockFile;

const WATCHDOG: &str = include_str!("watchdog.sh");

#[derive(Debug)]
pub(super) struct Workspace {
    path: PathBuf,
    account: Option<Account>,
    watchdog: Watchdog,
}

impl Workspace {
    pub(super) fn create() -> Result<Self, Error> {
        let account = Account::for_server()?;
        let temp = std::path::absolute(std::env::temp_dir())
            .map_err(Error::during("no temporary directory"))?;
        // The watchdog removes only what carries this name.
        let name = format!(
            "pgherald-testkit-{}-{:08x}",
            std::process::id(),
            fastrand::u32(..)
        );
        let path = temp.join(name);

        let watchdog = Watchdog::start(&path)?;
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(Error::during(format!("cannot create {}", path.display())))?;
        let workspace = Self {
            path,
            account,
            watchdog,
        };
        workspace.hand_over(&workspace.path)?;
        Ok(workspace)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A server's data directory. The watchdog knows it by this name.
    pub(super) fn data_dir(&self) -> PathBuf {
        self.path.join("data")
    }

    pub(super) fn log_file(&self) -> PathBuf {
        self.path.join("server.log")
    }

    /// Writes a file that the server's user owns and nobody else can read.
    pub(super) fn write(&self, name: &str, contents: &str) -> Result<PathBuf, Error> {
        let path = self.path.join(name);
        let failed = || format!("cannot write {}", path.display());
        fs::write(&path, contents).map_err(Error::during(failed()))?;
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(&path, private).map_err(Error::during(failed()))?;
        self.hand_over(&path)?;
        Ok(path)
    }

    /// A command run as the server's user, in the watchdog's process group: a Ctrl-C at the terminal
    /// reaches the test process only.
    pub(super) fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        // PGDATA, PGPORT and the like are meant for somebody else's server.
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("PG")) {
                command.env_remove(name);
            }
        }
        command
            .env("LC_ALL", "C")
            .current_dir(&self.path)
            .stdin(Stdio::null())
            .process_group(self.watchdog.group());
        if let Some(account) = self.account {
            account.apply_to(&mut command);
        }
        command
    }

    /// Runs a command to its end.
    pub(super) fn run(&self, command: &mut Command) -> Result<(), Error> {
        let program = PathBuf::from(command.get_program());
        let output = command
            .output()
            .map_err(Error::during(format!("cannot run {}", program.display())))?;
        if output.status.success() {
            return Ok(());
        }
        let program = program.display();
        let complaint = String::from_utf8_lossy(&output.stderr);
        Err(Error::new(format!(
            "{program} failed, {}: {}",
            output.status,
            complaint.trim_end()
        )))
    }

    fn hand_over(&self, path: &Path) -> Result<(), Error> {
        self.account.map_or(Ok(()), |account| account.own(path))
    }
}

impl Drop for Workspace {
    /// Whoever started a server in here has ended it before.
    fn drop(&mut self) {
        remove_shared_memory(&self.data_dir());
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "temporary directory left behind");
        }
    }
}

/// Removes what a killed server leaves in the kernel. One that ended in order took its lock file along,
/// and its shared memory.
fn remove_shared_memory(data_dir: &Path) {
    let Some(segment) = LockFile::read(data_dir).and_then(|lock| lock.shared_memory()) else {
        return;
    };
    if let Err(error) = Command::new("ipcrm")
        .args(["-m", &segment.to_string()])
        .output()
    {
        tracing::warn!(segment, %error, "shared memory left behind");
    }
}

#[derive(Debug)]
struct Watchdog {
    // Its stdin, held open in here, is what tells it that this process lives.
    shell: Child,
}

impl Watchdog {
    fn start(path: &Path) -> Result<Self, Error> {
        let shell = Command::new("sh")
            .args(["-c", WATCHDOG, "pgherald-testkit-watchdog"])
            .arg(path)
            .current_dir("/")
            .stdin(Stdio::piped())
            // Inherited outputs would keep a pipe behind the test process open after its end.
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(Error::during("cannot start the watchdog shell"))?;
        Ok(Self { shell })
    }

    fn group(&self) -> i32 {
        // A pid fits: the kernel's own type for it is the signed one.
        self.shell.id().cast_signed()
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        // Nothing is left to watch over. It sits in a read, so there is nothing to interrupt either.
        if let Err(error) = self.shell.kill().and_then(|()| self.shell.wait()) {
            tracing::warn!(%error, "cannot end the watchdog shell");
        }
    }
}
