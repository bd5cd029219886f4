//! Runs the example with `--check`.

#![allow(clippy::unwrap_used, reason = "it is a test")]

use std::process::Command;

#[test]
fn check_of_the_example_succeeds() {
    let program = env!("CARGO_BIN_EXE_pgherald-axum-sqlx");
    let output = Command::new(program).arg("--check").output().unwrap();
    let (printed, errors) = (&output.stdout, &output.stderr);
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(printed),
        String::from_utf8_lossy(errors)
    );
}
