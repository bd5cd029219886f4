//! A database cluster on disk, made by `initdb` or copied from a template.
//!
//! A copy is about seven times cheaper than `initdb`, but needs the template. Most test processes start one server, so the
//! template is made for the second one.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::process::{User, Workspace};
#[cfg(feature = "tls")]
use crate::tls::Certificates;
use crate::{Binaries, Error};

/// Statics are not dropped: the workspace's watchdog removes the files when the process ends.
static TEMPLATE: Mutex<Option<Template>> = Mutex::new(None);
static ONE_WAS_MADE: AtomicBool = AtomicBool::new(false);

#[derive(Debug)]
struct Template {
    workspace: Workspace,
    binaries: Binaries,
}

/// Fills the workspace's data directory.
pub(super) fn create(
    workspace: &Workspace,
    binaries: &Binaries,
    password: Option<&str>,
) -> Result<(), Error> {
    // The password is stored in the cluster, so such a cluster cannot be a copy.
    if password.is_some() || !ONE_WAS_MADE.swap(true, Ordering::Relaxed) {
        return initdb(workspace, binaries, password);
    }
    let mut template = TEMPLATE.lock().unwrap_or_else(PoisonError::into_inner);
    let template = match &mut *template {
        Some(template) => template,
        none => {
            let workspace = Workspace::create(User::Unprivileged)?;
            initdb(&workspace, binaries, None)?;
            none.insert(Template {
                workspace,
                binaries: binaries.clone(),
            })
        }
    };
    if template.binaries != *binaries {
        return initdb(workspace, binaries, None);
    }
    let mut copy = workspace.command("cp");
    copy.arg("-a")
        .arg(template.workspace.data_dir())
        .arg(workspace.data_dir());
    workspace.run(&mut copy)
}

fn initdb(workspace: &Workspace, binaries: &Binaries, password: Option<&str>) -> Result<(), Error> {
    let mut command = workspace.command(binaries.initdb());
    command
        .args([
            "--username=postgres",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
            // Fewer bytes to write and to copy.
            "--wal-segsize=1",
        ])
        .arg("--pgdata")
        .arg(workspace.data_dir());
    match password {
        None => command.arg("--auth=trust"),
        Some(password) => {
            let file = workspace.write("password", &format!("{password}\n"))?;
            command
                .arg("--auth=scram-sha-256")
                .arg("--pwfile")
                .arg(file)
        }
    };
    workspace.run(&mut command)
}

/// Settings for a temporary server on a developer's machine. The server uses the last value of a setting, so the caller's
/// settings follow these.
const DEFAULTS: [(&str, &str); 8] = [
    ("listen_addresses", "127.0.0.1"),
    ("max_connections", "100"),
    ("shared_buffers", "32MB"),
    // The data is removed with the process. Commits still wait until WAL is written. `full_page_writes` stays on, because a
    // killed process may have written only a part of a page: the kernel stops between its own, smaller pages.
    ("fsync", "off"),
    // The defaults for segments of 16 MB. For smaller segments, initdb would set less.
    ("min_wal_size", "80MB"),
    ("max_wal_size", "1GB"),
    // Shared memory segments are files in the data directory, so a killed server leaves none in /dev/shm.
    ("dynamic_shared_memory_type", "mmap"),
    // With the little data of tests, compiling a query takes longer than running it.
    ("jit", "off"),
];

/// Appends to `postgresql.conf`.
pub(super) fn configure(
    workspace: &Workspace,
    settings: &[(String, String)],
    tls: bool,
) -> Result<Option<PathBuf>, Error> {
    let mut lines = String::from("\n");
    for (name, value) in DEFAULTS {
        set(&mut lines, name, value)?;
    }
    set(
        &mut lines,
        "unix_socket_directories",
        &socket_directory(workspace.path()),
    )?;
    let authority = match tls {
        #[cfg(feature = "tls")]
        true => Some(enable_tls(workspace, &mut lines)?),
        _ => None,
    };
    for (name, value) in settings {
        set(&mut lines, name, value)?;
    }
    OpenOptions::new()
        .append(true)
        .open(workspace.data_dir().join("postgresql.conf"))
        .and_then(|mut file| file.write_all(lines.as_bytes()))
        .map_err(Error::during("cannot write the server's configuration"))?;
    Ok(authority)
}

/// Returns the directory for the server's socket; empty for no socket if the path is too long for a socket address. The
/// server would not start otherwise, and all clients use TCP.
fn socket_directory(dir: &Path) -> String {
    const LONGEST_ADDRESS: usize = 103;
    match dir.to_str() {
        Some(path) if path.len() + "/.s.PGSQL.65535".len() <= LONGEST_ADDRESS => path.to_owned(),
        _ => String::new(),
    }
}

#[cfg(feature = "tls")]
fn enable_tls(workspace: &Workspace, lines: &mut String) -> Result<PathBuf, Error> {
    let certificates = Certificates::generate()?;
    let certificate = workspace.write("server.crt", &certificates.server)?;
    let key = workspace.write("server.key", &certificates.server_key)?;
    set(lines, "ssl", "on")?;
    set(lines, "ssl_cert_file", &certificate.to_string_lossy())?;
    set(lines, "ssl_key_file", &key.to_string_lossy())?;
    workspace.write("ca.crt", &certificates.authority)
}

fn set(lines: &mut String, name: &str, value: &str) -> Result<(), Error> {
    if name == "port" {
        return Err(Error::new("cannot set the port: the test kit chooses it"));
    }
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    if name.is_empty() || !name.chars().all(is_name) {
        return Err(Error::new(format!("{name:?} is not the name of a setting")));
    }
    let value = value
        .replace('\\', "\\\\")
        .replace('\'', "''")
        .replace('\n', "\\n");
    // Writing to a String cannot fail.
    let _ = writeln!(lines, "{name} = '{value}'");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::set;

    #[test]
    fn settings_quote_values_and_refuse_invalid_names() {
        let mut lines = String::new();
        set(&mut lines, "search_path", r"it's a \ path").unwrap();
        assert_eq!(lines, "search_path = 'it''s a \\\\ path'\n");
        assert!(set(&mut lines, "fsync = on\nport", "1").is_err());
        assert!(set(&mut lines, "port", "1").is_err());
    }
}
