//! The environment variables that a run obeys.

use std::time::{Duration, Instant};

use crate::faults::Fault;

/// How a run is made. Printed, so that it can be repeated.
pub(crate) struct Settings {
    pub(crate) seed: u64,
    /// How long the run lasts. Without it, it lasts until enough work is done.
    pub(crate) duration: Option<Duration>,
    /// The faults that it is restricted to.
    faults: Option<Vec<Fault>>,
}

impl Settings {
    /// Reads the environment. Panics if a value cannot be read, because a run that ignores it would prove something else.
    pub(crate) fn from_env(mode: &str) -> Self {
        let seed = number("PGHERALD_SEED").unwrap_or_else(|| fastrand::u64(..));
        let duration = number("PGHERALD_STRESS_SECONDS").map(Duration::from_secs);
        let faults = std::env::var("PGHERALD_STRESS_FAULTS").ok().map(|names| {
            let names = names.split(',').filter(|name| !name.is_empty());
            names.map(Fault::named).collect()
        });
        println!("{mode}: PGHERALD_SEED={seed}");
        Self {
            seed,
            duration,
            faults,
        }
    }

    /// A round of faults, of those that are allowed.
    pub(crate) fn round(&self, all: &[Fault]) -> Vec<Fault> {
        let is_allowed = |fault: &Fault| {
            self.faults
                .as_ref()
                .is_none_or(|allowed| allowed.contains(fault))
        };
        all.iter().copied().filter(is_allowed).collect()
    }

    /// Whether a run that began at `began` goes on, which has done `enough` for a short one or not.
    pub(crate) fn goes_on(&self, began: Instant, enough: bool) -> bool {
        match self.duration {
            Some(duration) => began.elapsed() < duration,
            None => !enough,
        }
    }
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    match text.parse() {
        Ok(number) => Some(number),
        Err(error) => panic!("{name}={text}: {error}"),
    }
}
