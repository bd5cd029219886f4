//! The environment variables of a run.

use std::time::{Duration, Instant};

use crate::faults::Fault;

/// The settings of a run. They are printed, so that a run can be repeated.
pub(crate) struct Settings {
    pub(crate) seed: u64,
    /// Duration of the run. Without it, the run ends when it has done enough.
    pub(crate) duration: Option<Duration>,
    /// The faults that the run is restricted to.
    faults: Option<Vec<Fault>>,
}

impl Settings {
    /// Reads the environment. Panics if a value is invalid, because a run that ignores it would prove something else.
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

    /// The faults of a round, restricted to the allowed ones.
    pub(crate) fn round(&self, all: &[Fault]) -> Vec<Fault> {
        let is_allowed = |fault: &Fault| {
            self.faults
                .as_ref()
                .is_none_or(|allowed| allowed.contains(fault))
        };
        all.iter().copied().filter(is_allowed).collect()
    }

    /// Whether a run that began at `began` continues. `enough` says whether it has done enough for a short run.
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
