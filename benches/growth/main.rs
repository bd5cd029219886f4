//! Measures how the cost of an event grows with things that the event does not concern: subscriptions, open transactions,
//! uncommitted rows, watched tables, slices, groups, parked events, dependents, wide columns.
//!
//! Each curve is a cost at several sizes, and the ratio of the last cost to the first. Costs are processor time or counts, not
//! durations, so they depend little on other load. `cargo bench --bench growth -- NAME` measures the curves whose name contains
//! NAME; `--full` measures more and larger sizes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "benchmarks may panic"
)]

mod cost;
mod dependents;
mod groups;
mod parked;
mod reading;
mod routing;
mod stage;
#[path = "../support/mod.rs"]
mod support;
mod tables;
mod writers;

/// The options of the command line.
pub(crate) struct Asked {
    name: String,
    full: bool,
}

impl Asked {
    fn from_arguments() -> Self {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let named = arguments.iter().find(|word| !word.starts_with("--"));
        Self {
            name: named.cloned().unwrap_or_default(),
            full: arguments.iter().any(|word| word == "--full"),
        }
    }

    /// Whether to measure the curve.
    pub(crate) fn wants(&self, name: &str) -> bool {
        name.contains(&self.name)
    }

    /// The sizes to measure.
    pub(crate) fn sizes<'a>(&self, small: &'a [usize], full: &'a [usize]) -> &'a [usize] {
        if self.full { full } else { small }
    }
}

/// Prints a curve as a row of a table.
pub(crate) fn print(name: &str, unit: &str, sizes: &[usize], costs: &[f64]) {
    let joined = |texts: Vec<String>| texts.join(" / ");
    let sizes = joined(sizes.iter().map(ToString::to_string).collect());
    let figures = joined(costs.iter().map(|cost| figure(*cost)).collect());
    let growth = costs[costs.len() - 1] / costs[0];
    println!("| {name} | {sizes} | {figures} {unit} | {growth:.2} |");
}

fn figure(cost: f64) -> String {
    match cost {
        100.0.. => format!("{cost:.0}"),
        10.0..100.0 => format!("{cost:.1}"),
        _ => format!("{cost:.2}"),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let asked = Asked::from_arguments();
    println!("| what | sizes | cost | last / first |\n|---|---|---|---:|");
    routing::measure(&asked);
    reading::measure(&asked).await;
    tables::measure(&asked).await;
    groups::measure(&asked).await;
    parked::measure(&asked).await;
    dependents::measure(&asked);
    writers::measure(&asked).await;
}
