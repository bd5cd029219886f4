//! What a check found.

use std::fmt;
use std::time::Duration;

use super::Fault;

/// What a cache that stays coherent keeps to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Rule {
    /// R0: what is read under a key was stored for this key.
    OwnValue,
    /// R1: a read that begins after the event of a version was applied returns that version or a newer one.
    AppliedEvent,
    /// R2: a read that begins after a flush returns every version, or a newer one, whose commit was
    /// acknowledged before the flush.
    Flush,
    /// R3: while the source is not live, nothing is answered from memory beyond what the policy allows.
    NotLive,
    /// R4: reads, writes and loads end within the deadline.
    Deadline,
    /// R5: when nothing is written any more and the source is live, every key reads as in the database.
    Quiet,
    /// R6: who has waited for its own write reads it.
    OwnWrite,
    /// R7: a read that begins when the source is live again returns every version, or a newer one, whose
    /// commit was acknowledged before it became so. Checked [on request](super::CoherenceCheck::reopening).
    Reopening,
    /// R8: a handler that reads the key of its event reads the version of the event or a newer one. Checked
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

/// A rule that was broken.
#[derive(Clone, Debug)]
pub struct Violation {
    /// Which one.
    pub rule: Rule,
    /// When, counted from the beginning of the check.
    pub at: Duration,
    /// Which key, what was expected, and what was read instead.
    pub text: String,
}

/// `1.204s R1 applied event: key 3: read version 4 from memory …`
impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3?} {}: {}", self.at, self.rule, self.text)
    }
}

/// What a [`CoherenceCheck`](super::CoherenceCheck) did and found.
///
/// The counts are worth a look: a check in which nothing was read from memory has shown nothing.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CoherenceReport {
    /// What the random choices came from.
    pub seed: u64,
    /// How long it took, without the start of the server.
    pub took: Duration,
    /// Reads that returned a version or failed.
    pub reads: u64,
    /// Those of them that were answered from memory.
    pub hits: u64,
    /// Those that began and ended while the source was not live.
    pub reads_not_live: u64,
    /// Those that failed, mostly because their load did.
    pub failed_reads: u64,
    /// Reads that were dropped half-way, on purpose.
    pub cancelled_reads: u64,
    /// Loads that began.
    pub loads: u64,
    /// Loads that failed: the database was away, or the check made them fail.
    pub failed_loads: u64,
    /// Versions whose commit was acknowledged.
    pub writes: u64,
    /// Transactions that failed: the database was away.
    pub failed_writes: u64,
    /// Writes that were waited for, and arrived.
    pub confirmed_writes: u64,
    /// Reads by handlers, which are not among the [`reads`](Self::reads).
    pub handler_reads: u64,
    /// Events that the subject reported as applied.
    pub applied: u64,
    /// Flushes that the subject reported.
    pub flushes: u64,
    /// Events that the listener's subscriptions lost by overflow.
    pub lost: u64,
    /// How often writing stopped and every key was compared with the database.
    pub comparisons: u64,
    /// How often each fault happened.
    pub faults: Vec<(Fault, u64)>,
    /// How many violations there were.
    pub violation_count: u64,
    /// The first twenty of them.
    pub violations: Vec<Violation>,
}

impl CoherenceReport {
    /// Whether no rule was broken.
    #[must_use]
    pub fn is_coherent(&self) -> bool {
        self.violation_count == 0
    }

    /// The first violation of `rule`.
    #[must_use]
    pub fn violation_of(&self, rule: Rule) -> Option<&Violation> {
        self.violations
            .iter()
            .find(|violation| violation.rule == rule)
    }

    /// How many faults there were.
    #[must_use]
    pub fn fault_count(&self) -> u64 {
        self.faults.iter().map(|(_, count)| count).sum()
    }
}

/// Counts on some lines, then one line per violation.
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
