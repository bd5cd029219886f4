//! Taking turns, medians, and bounds.

use std::fmt;

/// A contestant's name, and one round of it, which tells a figure.
pub(crate) type Contestant<'a> = (&'a str, &'a dyn Fn() -> f64);

/// Lets each do a round in turn, and gives the median of each. The first round only warms up.
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

/// The value in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Repeats what was disturbed, a few times; `run` tells whether it was.
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

/// How often this thread had to leave its core to somebody else; always 0 where the system does not tell.
pub(crate) fn preemptions() -> u64 {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("nonvoluntary_ctxt_switches:"))
        .and_then(|count| count.trim().parse().ok())
        .unwrap_or(0)
}

/// A table on the terminal, as it can go into a README.
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

/// What has to hold.
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

/// With the unit that fits.
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
