//! Limits floods in the log: the first of many similar failures is logged, and the others are counted.

use std::time::Duration;

use tokio::time::Instant;

use crate::handler::Failure;

/// How long failures are counted before a summary of them is logged.
const INTERVAL: Duration = Duration::from_secs(10);

/// Counts failures that were not logged since the last summary.
#[derive(Debug, Default)]
pub(crate) struct Unlogged(Option<u64>);

impl Unlogged {
    /// Counts `count` failures. Returns whether the first of them is the first since [`take`](Self::take).
    pub(crate) fn has_first(&mut self, count: u64) -> bool {
        match &mut self.0 {
            None if count > 0 => {
                self.0 = Some(count - 1);
                true
            }
            None => false,
            Some(unlogged) => {
                *unlogged += count;
                false
            }
        }
    }

    /// The number of failures after the first, if there were any.
    pub(crate) fn take(&mut self) -> Option<u64> {
        self.0.take().filter(|count| *count > 0)
    }
}

const REASONS: [&str; 3] = ["error", "timeout", "panic"];

/// Limits what a handler logs about failed attempts. `HandlerActor` and the [consumers](crate::group) of groups use it.
///
/// For each [reason](Failure::label), the first failure is logged in full. Failures that follow within 10 s are counted, and a
/// [summary](FailureSummary) of them is logged. Retried failures and given-up failures are counted separately.
#[derive(Debug, Default)]
pub struct FailureLog {
    retried: [Unlogged; REASONS.len()],
    given_up: [Unlogged; REASONS.len()],
    due: Option<Instant>,
}

/// Failures that were counted and not logged one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FailureSummary {
    /// The [label](Failure::label) of the failures.
    pub reason: &'static str,
    /// Whether their tasks were given up, rather than retried.
    pub is_given_up: bool,
    /// How many there were.
    pub count: u64,
}

impl FailureLog {
    /// Counts a failure. Returns whether it is to be logged in full.
    pub fn is_logged(&mut self, failure: &Failure, is_given_up: bool, now: Instant) -> bool {
        let Some(index) = REASONS.iter().position(|known| *known == failure.label()) else {
            // A snoozed attempt has not failed.
            return true;
        };
        self.due.get_or_insert(now + INTERVAL);
        match is_given_up {
            true => self.given_up[index].has_first(1),
            false => self.retried[index].has_first(1),
        }
    }

    /// When the next summary is due; `None` if no failures were counted.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Returns the summaries that are due. The caller logs each of them.
    pub fn take_due(&mut self, now: Instant) -> Vec<FailureSummary> {
        match self.due {
            Some(due) if due <= now => self.take(),
            _ => Vec::new(),
        }
    }

    /// Returns the summaries of all counted failures, whether they are due or not.
    pub fn take(&mut self) -> Vec<FailureSummary> {
        self.due = None;
        let mut summaries = Vec::new();
        for (is_given_up, counts) in [(false, &mut self.retried), (true, &mut self.given_up)] {
            for (reason, unlogged) in REASONS.into_iter().zip(counts) {
                summaries.extend(unlogged.take().map(|count| FailureSummary {
                    reason,
                    is_given_up,
                    count,
                }));
            }
        }
        summaries
    }
}

#[cfg(test)]
mod tests {
    use super::{FailureLog, FailureSummary, INTERVAL, Instant, Unlogged};
    use crate::handler::Failure;

    #[test]
    fn the_first_failure_is_logged_and_the_others_are_counted() {
        let mut unlogged = Unlogged::default();
        assert_eq!(unlogged.take(), None);
        let firsts = (0..200_000).filter(|_| unlogged.has_first(1)).count();
        assert_eq!((firsts, unlogged.take()), (1, Some(199_999)));
        assert!(unlogged.has_first(1));
        assert_eq!(unlogged.take(), None);
        assert!(!unlogged.has_first(0) && unlogged.has_first(512));
        assert_eq!(unlogged.take(), Some(511));
    }

    #[test]
    fn failures_are_logged_once_for_each_reason_and_summed_up_after_the_interval() {
        let (mut log, now) = (FailureLog::default(), Instant::now());
        assert_eq!(log.due(), None);
        let panicked = || Failure::Panicked("no".to_owned());
        let timed_out = || Failure::TimedOut(INTERVAL);
        let logged = |log: &mut FailureLog, failure: fn() -> Failure, is_given_up| {
            let logged = (0..5).filter(|_| log.is_logged(&failure(), is_given_up, now));
            logged.count()
        };
        let panicked: fn() -> Failure = panicked;
        assert_eq!(logged(&mut log, panicked, false), 1);
        assert_eq!(logged(&mut log, panicked, true), 1);
        assert_eq!(logged(&mut log, timed_out, false), 1);
        let snoozed = || Failure::Snoozed(INTERVAL);
        assert_eq!(logged(&mut log, snoozed, false), 5);

        let due = now + INTERVAL;
        assert_eq!(log.due(), Some(due));
        assert_eq!(log.take_due(now), []);
        let summary = |reason, is_given_up| FailureSummary {
            reason,
            is_given_up,
            count: 4,
        };
        let expected = [
            summary("timeout", false),
            summary("panic", false),
            summary("panic", true),
        ];
        assert_eq!(log.take_due(due), expected);
        assert_eq!((log.due(), log.take_due(due)), (None, Vec::new()));
        assert_eq!(logged(&mut log, panicked, false), 1, "in full again");
    }
}
