//! Turns, medians and bounds.

use std::fmt;

/// A contestant's name, and a function that runs a round and returns its figure.
pub(crate) type Contestant<'a> = (&'a str, &'a dyn Fn() -> f64);

/// Runs the rounds of all contestants in turn. Returns the median of each. The first round only warms up.
pub(crate) fn turns(rounds: usize, contestants: &[Contestant<'_>]) -> Vec<f64> {
    let mut figures = vec![Vec::with_capacity(rounds); contestants.len()];
    for round in 0..=rounds {
        for (figures, (_, run)) in figures.iter_mut().zip(contestants) {
            let figure = run();
            if round > 0 {
                figures.push(figure);
            }
        }
    }
    figures.into_iter().map(median).collect()
}

/// The median.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Repeats a measurement up to three times while it is disturbed. `run` returns whether it was.
pub(crate) fn undisturbed<T>(run: impl Fn() -> (T, bool)) -> T {
    let mut last = run();
    for _ in 0..3 {
        if !last.1 {
            break;
        }
        last = run();
    }
    last.0
}

/// How often this thread was preempted. Always 0 on systems that do not report it.
pub(crate) fn preemptions() -> u64 {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("nonvoluntary_ctxt_switches:"))
        .and_then(|count| count.trim().parse().ok())
        .unwrap_or(0)
}

/// Prints a table in Markdown, as it can be copied into a README.
pub(crate) fn print<const N: usize>(
    title: &str,
    columns: [&str; N],
    rows: impl IntoIterator<Item = (String, [String; N])>,
) {
    println!("\n**{title}**\n\n| | {} |", columns.join(" | "));
    println!("|---{}|", "|---:".repeat(N));
    for (name, cells) in rows {
        println!("| {name} | {} |", cells.join(" | "));
    }
}

/// Checks bounds, and counts those that do not hold.
#[derive(Default)]
pub(crate) struct Bounds {
    broken: usize,
}

impl Bounds {
    pub(crate) fn check(&mut self, holds: bool, what: impl fmt::Display) {
        println!("{} {what}", if holds { "holds: " } else { "BROKEN:" });
        self.broken += usize::from(!holds);
    }

    pub(crate) fn broken(&self) -> usize {
        self.broken
    }
}

pub(crate) fn nanos(value: f64) -> String {
    format!("{value:.1} ns")
}

/// A time with a suitable unit.
pub(crate) fn time(nanos: f64) -> String {
    match nanos {
        ..1e3 => format!("{nanos:.0} ns"),
        1e3..1e6 => format!("{:.1} µs", nanos / 1e3),
        _ => format!("{:.1} ms", nanos / 1e6),
    }
}

pub(crate) fn ratio(value: f64, of: f64) -> String {
    format!("{:.2}", value / of)
}
