//! The report of a check.

use std::fmt;
use std::time::Duration;

use super::Fault;

/// A rule for coherent caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Rule {
    /// R0: a read returns a version of its key.
    OwnValue,
    /// R1: a read that begins after the event of a version was applied returns that version or a newer one.
    AppliedEvent,
    /// R2: a read that begins after a flush returns the newest version whose commit was acknowledged before the flush, or a
    /// newer one.
    Flush,
    /// R3: while the source is not live, the cache answers from memory only as far as the [policy](super::NotLive) allows.
    NotLive,
    /// R4: reads, writes and confirmations end within the deadline, and readers and writers do not panic.
    Deadline,
    /// R5: when writing has stopped and the source is live, every key reads as in the database.
    Quiet,
    /// R6: a writer whose write was confirmed reads that version or a newer one.
    OwnWrite,
    /// R7: a read that begins after the source became live returns the newest version whose commit was acknowledged before,
    /// or a newer one. Checked [on request](super::CoherenceCheck::reopening).
    Reopening,
    /// R8: a handler that reads the key of its event reads the event's version or a newer one. Checked
    /// [on request](super::CoherenceCheck::handlers).
    Handler,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OwnValue => "R0 own value",
            Self::AppliedEvent => "R1 applied event",
            Self::Flush => "R2 flush",
            Self::NotLive => "R3 not live",
            Self::Deadline => "R4 deadline",
            Self::Quiet => "R5 quiet",
            Self::OwnWrite => "R6 own write",
            Self::Reopening => "R7 reopening",
            Self::Handler => "R8 handler",
        })
    }
}

/// A violation of a rule.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Violation {
    /// The rule.
    pub rule: Rule,
    /// The time since the beginning of the check.
    pub at: Duration,
    /// The key, the expected version and the version that was read.
    pub text: String,
}

/// `1.204s R1 applied event: key 3: read version 4 from memory …`
impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3?} {}: {}", self.at, self.rule, self.text)
    }
}

/// The report of a [`CoherenceCheck`](super::CoherenceCheck).
///
/// Look at the counts too: if no read was answered from memory, the check has not tested the cache.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CoherenceReport {
    /// The seed of the random choices.
    pub seed: u64,
    /// The duration of the check, without the start of the server.
    pub took: Duration,
    /// Reads that returned a version, failed or exceeded the deadline.
    pub reads: u64,
    /// Reads that were answered from memory.
    pub hits: u64,
    /// Reads that returned a version and began and ended in the same outage of the source.
    pub reads_not_live: u64,
    /// Reads that failed, mostly because their load failed.
    pub failed_reads: u64,
    /// Reads that were dropped before they had ended, to test cancellation.
    pub cancelled_reads: u64,
    /// Loads that began.
    pub loads: u64,
    /// Loads that failed because the database was unavailable, or at random.
    pub failed_loads: u64,
    /// Versions whose commit was acknowledged.
    pub writes: u64,
    /// Transactions of writers that failed, because the database was unavailable.
    pub failed_writes: u64,
    /// Transactions that the cache has confirmed.
    pub confirmed_writes: u64,
    /// Reads by handlers, which are not included in [`reads`](Self::reads).
    pub handler_reads: u64,
    /// Events that the subject reported as applied.
    pub applied: u64,
    /// Flushes that the subject reported.
    pub flushes: u64,
    /// Events that the listener's subscriptions lost by overflow.
    pub lost: u64,
    /// The number of times that all keys were compared with the database.
    pub comparisons: u64,
    /// How often each fault was injected.
    pub faults: Vec<(Fault, u64)>,
    /// The number of violations.
    pub violation_count: u64,
    /// The first twenty violations.
    pub violations: Vec<Violation>,
}

impl CoherenceReport {
    /// Returns whether there was no violation.
    #[must_use]
    pub fn is_coherent(&self) -> bool {
        self.violation_count == 0
    }

    /// Returns the first violation of `rule`.
    #[must_use]
    pub fn violation_of(&self, rule: Rule) -> Option<&Violation> {
        self.violations
            .iter()
            .find(|violation| violation.rule == rule)
    }

    /// Returns the number of injected faults.
    #[must_use]
    pub fn fault_count(&self) -> u64 {
        self.faults.iter().map(|(_, count)| count).sum()
    }
}

/// Several lines of counts, then one line for each violation.
impl fmt::Display for CoherenceReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}, {:.1?}", self.seed, self.took)?;
        writeln!(
            f,
            "{} reads: {} from memory, {} while not live, {} failed; {} more cancelled",
            self.reads, self.hits, self.reads_not_live, self.failed_reads, self.cancelled_reads
        )?;
        writeln!(
            f,
            "{} loads, {} failed; {} writes, {} confirmed; {} transactions failed",
            self.loads, self.failed_loads, self.writes, self.confirmed_writes, self.failed_writes
        )?;
        writeln!(
            f,
            "{} events applied, {} lost, {} flushes, {} reads by handlers, {} comparisons with the database",
            self.applied, self.lost, self.flushes, self.handler_reads, self.comparisons
        )?;
        write!(f, "{} faults:", self.fault_count())?;
        for (fault, count) in &self.faults {
            write!(f, " {fault} {count}")?;
        }
        write!(f, "\n{} violations", self.violation_count)?;
        for violation in &self.violations {
            write!(f, "\n{violation}")?;
        }
        Ok(())
    }
}
