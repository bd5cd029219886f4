//! Finds the PostgreSQL server's binaries.
//!
//! A directory must contain both `initdb` and `postgres`, because client packages install `pg_config` and wrappers without
//! a server. If `PGHERALD_PG_BIN` is set, no other directory is searched, so that tests never run on another version than
//! the requested one.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Error;

const OVERRIDE: &str = "PGHERALD_PG_BIN";

/// A directory that contains `initdb` and `postgres`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    dir: PathBuf,
}

impl Binaries {
    /// Searches `PGHERALD_PG_BIN` if it is set. Otherwise searches the directory that `pg_config --bindir` prints, each
    /// directory of `PATH`, and the directories where Linux distributions and Homebrew install servers, newest version
    /// first.
    ///
    /// # Errors
    ///
    /// [`Error::is_binaries_missing`]: the message lists the searched directories and the packages to install.
    pub fn find() -> Result<Self, Error> {
        Self::find_with(|name| std::env::var_os(name), Path::new("/"))
    }

    /// Like [`find`](Self::find), but with the given environment and root of the file system.
    ///
    /// # Errors
    ///
    /// As [`find`](Self::find).
    pub fn find_with(
        variable: impl Fn(&str) -> Option<OsString>,
        root: &Path,
    ) -> Result<Self, Error> {
        let named = variable(OVERRIDE).filter(|dir| !dir.is_empty());
        let candidates = match named {
            // The server runs in another working directory, so a relative path would not work.
            Some(dir) => vec![std::path::absolute(&dir).unwrap_or_else(|_| dir.into())],
            None => candidates(variable("PATH").as_deref(), root),
        };
        match candidates.iter().find(|dir| holds_server(dir)) {
            Some(dir) => Ok(Self { dir: dir.clone() }),
            None => Err(Error::binaries_missing(explain(&candidates))),
        }
    }

    /// Returns the directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn initdb(&self) -> PathBuf {
        self.dir.join("initdb")
    }

    pub(crate) fn postgres(&self) -> PathBuf {
        self.dir.join("postgres")
    }
}

fn candidates(path: Option<&OsStr>, root: &Path) -> Vec<PathBuf> {
    let path: Vec<PathBuf> = path
        .iter()
        .flat_map(std::env::split_paths)
        .filter(|dir| dir.is_absolute())
        .collect();
    let mut found: Vec<PathBuf> = pg_config_bindir(&path).into_iter().collect();
    found.extend(path);
    for (parent, prefix) in [
        ("usr/lib/postgresql", ""),
        ("usr", "pgsql-"),
        ("opt/homebrew/opt", "postgresql"),
        ("usr/local/opt", "postgresql"),
    ] {
        found.extend(installations(&root.join(parent), prefix));
    }
    found
}

fn pg_config_bindir(path: &[PathBuf]) -> Option<PathBuf> {
    let program = path
        .iter()
        .map(|dir| dir.join("pg_config"))
        .find(|file| file.is_file())?;
    let output = Command::new(program).arg("--bindir").output().ok()?;
    let dir = String::from_utf8(output.stdout).ok()?;
    output
        .status
        .success()
        .then(|| PathBuf::from(dir.trim_end()))
}

/// Returns the directories `parent/<prefix>*/bin`, highest version first. If there are none, returns the pattern, which
/// the error then lists.
fn installations(parent: &Path, prefix: &str) -> Vec<PathBuf> {
    let mut dirs: Vec<(u32, PathBuf)> = std::fs::read_dir(parent)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let rest = name.strip_prefix(prefix)?;
            let digits = rest.trim_start_matches(|c: char| !c.is_ascii_digit());
            let end = digits
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(digits.len());
            Some((digits[..end].parse().unwrap_or(0), entry.path().join("bin")))
        })
        .collect();
    dirs.sort_by(|a, b| b.cmp(a));
    if dirs.is_empty() {
        return vec![parent.join(format!("{prefix}*")).join("bin")];
    }
    dirs.into_iter().map(|(_, dir)| dir).collect()
}

fn holds_server(dir: &Path) -> bool {
    dir.join("initdb").is_file() && dir.join("postgres").is_file()
}

fn explain(searched: &[PathBuf]) -> String {
    let places: String = searched
        .iter()
        .map(|dir| format!("\n  {}", dir.display()))
        .collect();
    format!(
        "no directory with both `initdb` and `postgres` found; searched:{places}\n\
         install a server (`apt install postgresql`, `brew install postgresql`) \
         or set {OVERRIDE} to the directory of its binaries"
    )
}
