//! A temporary directory and the processes that run in it.
//!
//! Guarantee: dropping a [`Workspace`] removes the directory. If the test process ends without dropping it (SIGKILL, abort,
//! a `static`), its watchdog ends the processes started by [`Workspace::command`] and removes the directory.
//!
//! The watchdog is a shell that reads from a pipe whose other end only this process holds. It is started before the
//! directory is created, so the directory is removed at whatever moment the process ends.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::account::Account;
use crate::Error;

const WATCHDOG: &str = include_str!("watchdog.sh");

/// The operating system user that a server runs as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum User {
    /// The user of the test process.
    #[cfg(feature = "nats")]
    Current,
    /// An unprivileged user: that of the test process, or another one if that is root.
    Unprivileged,
}

#[derive(Debug)]
pub(crate) struct Workspace {
    path: PathBuf,
    account: Option<Account>,
    watchdog: Watchdog,
}

impl Workspace {
    pub(crate) fn create(user: User) -> Result<Self, Error> {
        let account = match user {
            #[cfg(feature = "nats")]
            User::Current => None,
            User::Unprivileged => Account::for_server()?,
        };
        let temp = std::path::absolute(std::env::temp_dir())
            .map_err(Error::during("no temporary directory"))?;
        // The watchdog refuses to remove a directory that is not named like this.
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

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the directory of PostgreSQL's data. The watchdog relies on this name.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.path.join("data")
    }

    /// Returns the file that another server writes its pid to. The watchdog relies on this name.
    #[cfg(feature = "nats")]
    pub(crate) fn pid_file(&self) -> PathBuf {
        self.path.join("server.pid")
    }

    pub(crate) fn log_file(&self) -> PathBuf {
        self.path.join("server.log")
    }

    /// Writes a file that the server's user owns and other users cannot read.
    pub(crate) fn write(&self, name: &str, contents: &str) -> Result<PathBuf, Error> {
        let path = self.path.join(name);
        let failed = || format!("cannot write {}", path.display());
        fs::write(&path, contents).map_err(Error::during(failed()))?;
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(&path, private).map_err(Error::during(failed()))?;
        self.hand_over(&path)?;
        Ok(path)
    }

    /// Returns a command that runs as the server's user, in the watchdog's process group. So a Ctrl-C at the terminal reaches
    /// only the test process.
    pub(crate) fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        // PGDATA, PGPORT and the like are meant for another server.
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

    /// Runs a command, and waits until it has ended.
    pub(crate) fn run(&self, command: &mut Command) -> Result<(), Error> {
        let program = PathBuf::from(command.get_program());
        let output = command
            .output()
            .map_err(Error::during(format!("cannot run {}", program.display())))?;
        if output.status.success() {
            return Ok(());
        }
        let program = program.display();
        let errors = String::from_utf8_lossy(&output.stderr);
        Err(Error::new(format!(
            "{program} failed, {}: {}",
            output.status,
            errors.trim_end()
        )))
    }

    fn hand_over(&self, path: &Path) -> Result<(), Error> {
        self.account.map_or(Ok(()), |account| account.own(path))
    }
}

impl Drop for Workspace {
    /// The owner has ended the server before.
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the temporary directory");
        }
    }
}

#[derive(Debug)]
struct Watchdog {
    // Holds the shell's stdin open: the shell reads its end when this process ends.
    shell: Child,
}

impl Watchdog {
    fn start(path: &Path) -> Result<Self, Error> {
        let shell = Command::new("sh")
            .args(["-c", WATCHDOG, "pgherald-testkit-watchdog"])
            .arg(path)
            .current_dir("/")
            .stdin(Stdio::piped())
            // If inherited, these would keep the test process's output pipes open after it has ended.
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(Error::during("cannot start the watchdog shell"))?;
        Ok(Self { shell })
    }

    fn group(&self) -> i32 {
        // Pids are signed in the kernel, so they fit.
        self.shell.id().cast_signed()
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        // The directory is removed already, and the shell waits in `read`, so killing it interrupts nothing.
        if let Err(error) = self.shell.kill().and_then(|()| self.shell.wait()) {
            tracing::warn!(%error, "cannot end the watchdog shell");
        }
    }
}
