//! What happened to the source, in its order and bounded.
//!
//! The latest change of health is always kept. Repetitions are merged into one entry: a source that cannot connect reports a failure
//! with each attempt, and a payload that fails to decode may come with each statement.

use std::collections::VecDeque;
use std::time::SystemTime;

use pgherald_core::{Health, Resync, ResyncReason};
use serde::Serialize;

use super::time;
use crate::message::is_overflow;

/// Entries that are kept.
const KEPT: usize = 256;

#[derive(Debug, Default)]
pub(super) struct History {
    entries: VecDeque<Entry>,
}

/// A change of health, or a resync.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Entry {
    at: String,
    #[serde(flatten)]
    what: What,
    /// How often it happened without anything else in between.
    times: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum What {
    Connecting,
    Live,
    Down {
        /// Why it stopped being live.
        cause: String,
        /// Why the last attempt to be live again failed, if that differs.
        latest: Option<String>,
        /// The hint of the latest failure.
        hint: &'static str,
    },
    Resync {
        reasons: Vec<&'static str>,
        /// The channel that it is limited to.
        channel: Option<String>,
    },
}

impl History {
    pub(super) fn on_health(&mut self, health: &Health) {
        let (at, what) = match health {
            Health::Live { since } => (*since, What::Live),
            Health::Degraded { since, cause, .. } => {
                let what = What::Down {
                    cause: cause.chain(),
                    latest: None,
                    hint: cause.hint(),
                };
                (*since, what)
            }
            _ => (SystemTime::now(), What::Connecting),
        };
        let at = time(at);
        let Some(last) = self.entries.back_mut() else {
            return self.push(at, what);
        };
        match (&mut last.what, what) {
            (
                What::Down {
                    cause,
                    latest,
                    hint,
                },
                What::Down {
                    cause: now,
                    hint: new_hint,
                    ..
                },
            ) => {
                *latest = (now != *cause).then_some(now);
                *hint = new_hint;
                last.times += 1;
            }
            // The health was read again and has not changed.
            (before, what) if *before == what && last.at == at => {}
            (_, what) => self.push(at, what),
        }
    }

    pub(super) fn on_resync(&mut self, resync: &Resync) {
        let reasons = resync
            .reasons()
            .iter()
            .filter(|reason| !is_overflow(reason));
        let reasons: Vec<_> = reasons.map(ResyncReason::label).collect();
        if reasons.is_empty() {
            return;
        }
        let channel = resync.channel().map(ToString::to_string);
        let what = What::Resync { reasons, channel };
        match self.entries.back_mut() {
            Some(last) if last.what == what => last.times += 1,
            _ => self.push(time(SystemTime::now()), what),
        }
    }

    fn push(&mut self, at: String, what: What) {
        if self.entries.len() == KEPT {
            self.entries.pop_front();
        }
        self.entries.push_back(Entry { at, what, times: 1 });
    }

    pub(super) fn entries(&self) -> Vec<Entry> {
        self.entries.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use pgherald_core::{Error, Health, Resync, ResyncReason};

    use super::{History, KEPT, What};

    fn down(message: &str) -> Health {
        Health::Degraded {
            since: SystemTime::now(),
            cause: Error::disconnected(message, std::io::Error::other("gone")),
            was_live: true,
        }
    }

    fn live() -> Health {
        let since = SystemTime::now();
        Health::Live { since }
    }

    #[test]
    fn failed_attempts_and_repeated_resyncs_are_one_entry_each() {
        let mut history = History::default();
        history.on_health(&Health::Connecting);
        let started = Resync::new(ResyncReason::Started);
        history.on_resync(&started);
        history.on_resync(&started);
        history.on_health(&live());
        history.on_health(&down("first"));
        history.on_health(&down("second"));
        let entries = history.entries();
        let times: Vec<_> = entries.iter().map(|entry| entry.times).collect();
        assert_eq!(times, [1, 2, 1, 2]);
        let What::Down {
            cause,
            latest: Some(latest),
            ..
        } = &entries[3].what
        else {
            unreachable!("{:?}", entries[3]);
        };
        assert!(cause.starts_with("first") && latest.starts_with("second"));
    }

    #[test]
    fn the_latest_entries_are_kept() {
        let mut history = History::default();
        for _ in 0..KEPT {
            history.on_health(&live());
            history.on_health(&down("again"));
        }
        assert_eq!(history.entries().len(), KEPT);
        assert!(matches!(
            history.entries()[KEPT - 1].what,
            What::Down { .. }
        ));
    }

    #[test]
    fn an_overflow_of_the_monitor_is_no_resync_of_the_source() {
        let mut history = History::default();
        history.on_resync(&Resync::new(ResyncReason::Overflow));
        assert_eq!(history.entries(), []);
    }
}
