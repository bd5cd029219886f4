//! Finding the PostgreSQL server's binaries.
//!
//! A directory counts only if it holds both `initdb` and `postgres`: client packages bring `pg_config`
//! and wrappers without a server. `PGHERALD_PG_BIN` is a decision, not a hint: when it is set, no other
//! place is looked at, so that a test never runs on another version than the one asked for.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Error;

const OVERRIDE: &str = "PGHERALD_PG_BIN";

/// A directory holding `initdb` and `postgres`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    dir: PathBuf,
}

impl Binaries {
    /// Looks in `PGHERALD_PG_BIN`, else at what `pg_config --bindir` says, in each directory of `PATH`,
    /// and where Linux distributions and Homebrew install the server, newest version first.
    ///
    /// # Errors
    ///
    /// [`Error::is_binaries_missing`], listing every place looked at and what to install.
    pub fn find() -> Result<Self, Error> {
        Self::find_with(|name| std::env::var_os(name), Path::new("/"))
    }

    /// [`find`](Self::find) with the environment and the root of the file system given by the caller.
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
            // The server is started in a directory of its own, from where a relative path leads elsewhere.
            Some(dir) => vec![std::path::absolute(&dir).unwrap_or_else(|_| dir.into())],
            None => candidates(variable("PATH").as_deref(), root),
        };
        match candidates.iter().find(|dir| holds_server(dir)) {
            Some(dir) => Ok(Self { dir: dir.clone() }),
            None => Err(Error::binaries_missing(explain(&candidates))),
        }
    }

    /// The directory.
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

/// `parent/<prefix>*/bin`, highest version first. Without any, the pattern itself, so that the error
/// can tell that it was tried.
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

fn explain(looked_at: &[PathBuf]) -> String {
    let places: String = looked_at
        .iter()
        .map(|dir| format!("\n  {}", dir.display()))
        .collect();
    format!(
        "no directory with both `initdb` and `postgres` found; looked at:{places}\n\
         install a server (`apt install postgresql`, `brew install postgresql`) \
         or set {OVERRIDE} to the directory of its binaries"
    )
}
