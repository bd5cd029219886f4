//! The macros refuse invalid input with an error message that names the way out.

use std::process::Command;

/// The compiler whose output is expected in `fail/types`. Other versions word and order their notes differently.
const COMPILER: &str = "rustc 1.95.";

#[test]
fn invalid_input_is_refused_with_the_expected_messages() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/fail/*.rs");
    // The compiler refuses unsuitable types, and prints hints of the library among its own messages.
    if compiler().starts_with(COMPILER) {
        cases.compile_fail("tests/fail/types/*.rs");
    } else {
        eprintln!("fail/types is left out: it was written by {COMPILER}x");
    }
}

fn compiler() -> String {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("--version").output();
    output.map_or_else(
        |error| error.to_string(),
        |output| String::from_utf8_lossy(&output.stdout).into_owned(),
    )
}
