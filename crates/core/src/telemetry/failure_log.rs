//! Logs the failed attempts of handlers, without floods.

use std::fmt::Display;
use std::time::Duration;

use tokio::time::Instant;
use tracing::field::display;

use super::unlogged::Unlogged;
use crate::handler::Failure;

/// How long failures are counted before a summary of them is logged.
const INTERVAL: Duration = Duration::from_secs(10);

const REASONS: [&str; 3] = ["error", "timeout", "panic"];

/// Logs the failed attempts of one handler. `HandlerActor` and the [consumers](crate::group) of groups use it.
///
/// For each [reason](Failure::label), the first failure is logged in full. Failures that follow within 10 s are counted, and a
/// summary of them is logged. Retried failures and given-up failures are counted separately.
#[derive(Debug)]
pub struct FailureLog {
    of: Handler,
    retried: [Unlogged; REASONS.len()],
    given_up: [Unlogged; REASONS.len()],
    due: Option<Instant>,
}

/// The handler whose failures are logged. The log has a field of its own for each kind, and an absent field is not logged.
#[derive(Debug)]
enum Handler {
    Ephemeral(String),
    Durable(String),
}

impl Handler {
    /// Returns the fields `handler` and `group`.
    fn fields(&self) -> (Option<&str>, Option<&str>) {
        match self {
            Self::Ephemeral(name) => (Some(name), None),
            Self::Durable(group) => (None, Some(group)),
        }
    }
}

/// A failed attempt.
#[derive(Clone, Copy, Debug)]
pub struct FailedAttempt<'a, T> {
    /// The event or the resync.
    pub task: T,
    /// The id of the event in the outbox.
    pub id: Option<i64>,
    /// The number of attempts at the task so far.
    pub attempt: u32,
    /// How the attempt failed.
    pub failure: &'a Failure,
    /// The delay before the next attempt; `None` if the task is given up.
    pub next: Option<Duration>,
}

/// Failures that were counted and not logged one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FailureSummary {
    reason: &'static str,
    /// Whether their tasks were given up, rather than retried.
    is_given_up: bool,
    count: u64,
}

impl FailureLog {
    /// Makes the log of an ephemeral handler.
    #[must_use]
    pub fn of_handler(name: &str) -> Self {
        Self::new(Handler::Ephemeral(name.to_owned()))
    }

    /// Makes the log of a group's handler.
    pub(crate) fn of_group(name: &str) -> Self {
        Self::new(Handler::Durable(name.to_owned()))
    }

    fn new(of: Handler) -> Self {
        Self {
            of,
            retried: Default::default(),
            given_up: Default::default(),
            due: None,
        }
    }

    /// Logs a failed attempt in full, or counts it for the next summary.
    pub fn failed<T: Display>(&mut self, attempt: FailedAttempt<'_, T>, now: Instant) {
        let FailedAttempt {
            task,
            id,
            attempt,
            failure,
            next,
        } = attempt;
        if !self.is_logged(failure, next.is_none(), now) {
            return;
        }
        let (handler, group) = self.of.fields();
        let (task, event) = match self.of {
            Handler::Ephemeral(_) => (Some(display(task)), None),
            Handler::Durable(_) => (None, Some(display(task))),
        };
        let reason = failure.label();
        match (next, failure) {
            (Some(delay), Failure::Snoozed(_)) => {
                tracing::debug!(handler, group, id, task, event, ?delay, "snoozed");
            }
            (Some(delay), _) => {
                tracing::warn!(handler, group, id, task, event, attempt, error = %failure, reason, ?delay,
                    "attempt failed, trying again");
            }
            (None, _) => {
                let text = match self.of {
                    Handler::Ephemeral(_) => "given up",
                    Handler::Durable(_) => "dead letter",
                };
                tracing::error!(handler, group, id, task, event, attempt, error = %failure, reason,
                    count = 1, intentional = false, "{text}");
            }
        }
    }

    /// Counts a failure. Returns whether it is to be logged in full.
    fn is_logged(&mut self, failure: &Failure, is_given_up: bool, now: Instant) -> bool {
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
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Logs the summaries that are due.
    pub fn log_due(&mut self, now: Instant) {
        if self.due.is_some_and(|due| due <= now) {
            self.log_all();
        }
    }

    /// Logs the summaries of all counted failures, whether they are due or not.
    pub fn log_all(&mut self) {
        let summaries = self.take();
        let (handler, group) = self.of.fields();
        for FailureSummary {
            reason,
            is_given_up,
            count,
        } in summaries
        {
            if !is_given_up {
                tracing::warn!(
                    handler,
                    group,
                    count,
                    reason,
                    "more attempts failed, trying again"
                );
                continue;
            }
            let text = match self.of {
                Handler::Ephemeral(_) => "more tasks given up",
                Handler::Durable(_) => "more dead letters",
            };
            tracing::error!(handler, group, count, reason, intentional = false, "{text}");
        }
    }

    /// Returns the summaries of all counted failures, whether they are due or not.
    fn take(&mut self) -> Vec<FailureSummary> {
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
    use super::{FailureLog, FailureSummary, INTERVAL, Instant};
    use crate::handler::Failure;

    #[test]
    fn failures_are_logged_once_for_each_reason_and_summed_up_after_the_interval() {
        let (mut log, now) = (FailureLog::of_handler("test"), Instant::now());
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
        log.log_due(now);
        assert_eq!(log.due(), Some(due), "not before");
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
        assert_eq!(log.take(), expected);
        assert_eq!((log.due(), log.take()), (None, Vec::new()));
        assert_eq!(logged(&mut log, panicked, false), 1, "in full again");
    }
}
