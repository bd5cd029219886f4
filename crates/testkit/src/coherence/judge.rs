//! Checks one read against the rules.

use std::time::{Duration, Instant};

use super::floor::Floor;
use super::liveness::Outage;
use super::report::Rule;
use super::run::Run;
use super::subject::Reading;
use super::{NotLive, key_of, number_of};

/// Allowed in addition to the maximal age of an answer, because the cache may notice the outage a moment later.
const TOLERANCE: Duration = Duration::from_millis(50);

/// A read, with the state at its beginning.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) key: i64,
    floor: Floor,
    outage: Option<OutageAtStart>,
}

/// The outage at the beginning of a read.
#[derive(Clone, Copy, Debug)]
struct OutageAtStart {
    outage: Outage,
    began: Instant,
    lasted: Duration,
    acknowledged: i64,
}

impl Attempt {
    pub(super) fn begin(run: &Run, key: i64) -> Self {
        let outage = run.liveness.outage().map(|outage| OutageAtStart {
            outage,
            began: Instant::now(),
            lasted: outage.lasted(),
            acknowledged: run.floors.acknowledged_of(key),
        });
        Self {
            key,
            floor: run.floors.of(key),
            outage,
        }
    }

    /// Counts an answer and reports its violations.
    pub(super) fn judge(&self, run: &Run, reading: Reading) {
        let Self { key, floor, .. } = self;
        let Reading {
            version,
            from_memory,
        } = reading;
        run.tally.reads.add(1);
        run.tally.hits.add(u64::from(from_memory));
        let place = if from_memory { "memory" } else { "a load" };
        let report = |rule, expected: &str| {
            run.tally.violation(rule, || {
                let number = number_of(version);
                format!("key {key}: read version {number} from {place}, {expected}")
            });
        };
        if key_of(version) != *key {
            let other = key_of(version);
            report(Rule::OwnValue, &format!("which is of key {other}"));
        } else if version < floor.event {
            let text = format!("the event of {} was applied", number_of(floor.event));
            report(Rule::AppliedEvent, &text);
        } else if version < floor.flush {
            let number = number_of(floor.flush);
            let text = format!("{number} was acknowledged before a flush that was applied");
            report(Rule::Flush, &text);
        } else if version < floor.reopening {
            let number = number_of(floor.reopening);
            let text = format!("{number} was acknowledged before the source became live");
            report(Rule::Reopening, &text);
        }
        self.judge_outage(run, reading, report);
    }

    fn judge_outage(&self, run: &Run, reading: Reading, report: impl Fn(Rule, &str)) {
        let Some(at_start) = self.outage else {
            return;
        };
        if run.liveness.outage() != Some(at_start.outage) {
            return;
        }
        let OutageAtStart { began, lasted, .. } = at_start;
        run.tally.reads_not_live.add(1);
        match run.settings.not_live {
            NotLive::Bypass if reading.from_memory => {
                let text = format!("while the source was not live for {lasted:?}");
                report(Rule::NotLive, &text);
            }
            // A load of this read sees every earlier commit. If the read has joined another load, that load began too early.
            NotLive::Bypass if reading.version < at_start.acknowledged => {
                let number = number_of(at_start.acknowledged);
                let text = format!(
                    "{number} was acknowledged before, and the source was not live for {lasted:?}"
                );
                report(Rule::NotLive, &text);
            }
            NotLive::Bypass => {}
            NotLive::ServeStale { max_age } => {
                let Some(superseded) = run.floors.superseded(self.key, reading.version) else {
                    return;
                };
                // Its load began before it was superseded, and before the outage the cache received the change.
                let age = began.saturating_duration_since(superseded).min(lasted);
                if age > max_age + TOLERANCE {
                    let text = format!("outdated for {age:?} while the source was not live");
                    report(Rule::NotLive, &text);
                }
            }
        }
    }
}
