//! Compares pgherald's caches with caches that are not connected to a database, in one run.
//!
//! ```console
//! $ cargo run --release -p pgherald-peers                  # everything; status 1 if a bound is broken
//! $ cargo run --release -p pgherald-peers -- hits flush    # only these parts
//! $ cargo run --release -p pgherald-peers -- --print-only  # status 0 in any case
//! ```
//!
//! The parts are `hits`, `threads`, `rows`, `flush` and `stampede`.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "benchmarks may panic"
)]

mod caches;
mod contest;
mod hits;
mod invalidate;
mod stampede;

use std::process::ExitCode;

use contest::Bounds;

type Part = fn(&mut Bounds);

const PARTS: [(&str, Part); 5] = [
    ("hits", hits::one_thread),
    ("threads", hits::two_threads),
    ("rows", invalidate::one_row),
    ("flush", invalidate::everything),
    ("stampede", stampede::run),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (options, wanted): (Vec<_>, Vec<_>) =
        arguments.iter().partition(|text| text.starts_with("--"));
    let known = |name: &&String| PARTS.iter().any(|(part, _)| part == name);
    if options.iter().any(|option| *option != "--print-only") || !wanted.iter().all(known) {
        println!("usage: pgherald-peers [--print-only] [hits] [threads] [rows] [flush] [stampede]");
        return ExitCode::from(2);
    }
    let mut bounds = Bounds::default();
    for (name, part) in PARTS {
        if wanted.is_empty() || wanted.iter().any(|wanted| *wanted == name) {
            part(&mut bounds);
        }
    }
    match bounds.broken() {
        0 => ExitCode::SUCCESS,
        broken => {
            println!("\n{broken} bounds do not hold");
            ExitCode::from(u8::from(options.is_empty()))
        }
    }
}
