//! What cannot be understood is refused, with a message that says what to do.

use std::process::Command;

/// The compiler that wrote the expectations in `fail/types`. Others word and order their notes differently.
const COMPILER: &str = "rustc 1.95.";

#[test]
fn mistakes_are_explained() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/fail/*.rs");
    // Types that will not do are refused by the compiler, with hints from us among its own words.
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
