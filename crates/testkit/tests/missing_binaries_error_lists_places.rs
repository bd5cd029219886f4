//! If no server is found, the error lists the searched directories and what to install.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use pgherald_testkit::Binaries;

#[test]
fn missing_binaries_error_lists_places() {
    let path = |name: &str| (name == "PATH").then(|| OsString::from("/no/such/bin:/nor/this"));
    let error = Binaries::find_with(path, Path::new("/empty/root")).unwrap_err();
    assert!(error.is_binaries_missing());
    let message = error.to_string();
    for expected in [
        "\n  /no/such/bin\n",
        "\n  /nor/this\n",
        "\n  /empty/root/usr/lib/postgresql/*/bin\n",
        "\n  /empty/root/usr/pgsql-*/bin\n",
        "\n  /empty/root/opt/homebrew/opt/postgresql*/bin\n",
        "apt install postgresql",
        "brew install postgresql",
        "PGHERALD_PG_BIN",
    ] {
        assert!(
            message.contains(expected),
            "{expected:?} missing in: {message}"
        );
    }
}

#[test]
fn override_is_the_only_searched_directory() {
    let overridden = |name: &str| (name == "PGHERALD_PG_BIN").then(|| OsString::from("/mine"));
    let message = Binaries::find_with(overridden, Path::new("/"))
        .unwrap_err()
        .to_string();
    assert!(message.contains("searched:\n  /mine\n"), "{message}");
}

#[test]
fn newest_complete_installation_is_used() {
    let root = Scratch::new();
    for (version, programs) in [
        ("9.6", &["initdb", "postgres"][..]),
        ("15", &["initdb", "postgres"]),
        ("17", &["initdb"]),
    ] {
        let dir = root.0.join("usr/lib/postgresql").join(version).join("bin");
        std::fs::create_dir_all(&dir).unwrap();
        for program in programs {
            std::fs::write(dir.join(program), "").unwrap();
        }
    }
    let found = Binaries::find_with(|_| None, &root.0).unwrap();
    assert!(found.dir().ends_with("postgresql/15/bin"), "{found:?}");
}

struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("binaries-{}", std::process::id())))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
