//! The counts of a check, which all threads update.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::report::{CoherenceReport, Rule, Violation};
use super::{Fault, Settings};

/// The number of violations that are kept with their text.
const MAX_VIOLATIONS: usize = 20;

#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug)]
pub(super) struct Tally {
    pub(super) began: Instant,
    pub(super) reads: Counter,
    pub(super) hits: Counter,
    pub(super) reads_not_live: Counter,
    pub(super) failed_reads: Counter,
    pub(super) cancelled_reads: Counter,
    pub(super) loads: Counter,
    pub(super) failed_loads: Counter,
    pub(super) writes: Counter,
    pub(super) failed_writes: Counter,
    pub(super) confirmed_writes: Counter,
    pub(super) handler_reads: Counter,
    pub(super) applied: Counter,
    pub(super) flushes: Counter,
    pub(super) comparisons: Counter,
    faults: Mutex<Vec<(Fault, u64)>>,
    violation_count: Counter,
    violations: Mutex<Vec<Violation>>,
}

impl Tally {
    /// Makes the counts of a check with these kinds of faults.
    pub(super) fn new(kinds: &[Fault]) -> Self {
        let custom = kinds.iter().filter(|kind| !Fault::ALL.contains(kind));
        let faults = Fault::ALL.iter().chain(custom);
        Self {
            began: Instant::now(),
            reads: Counter::default(),
            hits: Counter::default(),
            reads_not_live: Counter::default(),
            failed_reads: Counter::default(),
            cancelled_reads: Counter::default(),
            loads: Counter::default(),
            failed_loads: Counter::default(),
            writes: Counter::default(),
            failed_writes: Counter::default(),
            confirmed_writes: Counter::default(),
            handler_reads: Counter::default(),
            applied: Counter::default(),
            flushes: Counter::default(),
            comparisons: Counter::default(),
            faults: Mutex::new(faults.map(|fault| (*fault, 0)).collect()),
            violation_count: Counter::default(),
            violations: Mutex::default(),
        }
    }

    pub(super) fn fault(&self, fault: Fault) {
        let mut faults = self.faults();
        let counts = faults.iter_mut().filter(|(kind, _)| *kind == fault);
        counts.for_each(|(_, count)| *count += 1);
    }

    pub(super) fn fault_count(&self) -> u64 {
        self.faults().iter().map(|(_, count)| count).sum()
    }

    pub(super) fn violation(&self, rule: Rule, text: impl FnOnce() -> String) {
        self.violation_count.add(1);
        let mut violations = self.violations();
        if violations.len() < MAX_VIOLATIONS {
            violations.push(Violation {
                rule,
                at: self.began.elapsed(),
                text: text(),
            });
        }
    }

    pub(super) fn is_violated(&self) -> bool {
        self.violation_count.get() > 0
    }

    pub(super) fn report(&self, settings: &Settings, lost: u64) -> CoherenceReport {
        CoherenceReport {
            seed: settings.seed,
            took: self.began.elapsed(),
            reads: self.reads.get(),
            hits: self.hits.get(),
            reads_not_live: self.reads_not_live.get(),
            failed_reads: self.failed_reads.get(),
            cancelled_reads: self.cancelled_reads.get(),
            loads: self.loads.get(),
            failed_loads: self.failed_loads.get(),
            writes: self.writes.get(),
            failed_writes: self.failed_writes.get(),
            confirmed_writes: self.confirmed_writes.get(),
            handler_reads: self.handler_reads.get(),
            applied: self.applied.get(),
            flushes: self.flushes.get(),
            lost,
            comparisons: self.comparisons.get(),
            faults: self.faults().clone(),
            violation_count: self.violation_count.get(),
            violations: self.violations().clone(),
        }
    }

    fn faults(&self) -> MutexGuard<'_, Vec<(Fault, u64)>> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn violations(&self) -> MutexGuard<'_, Vec<Violation>> {
        self.violations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
