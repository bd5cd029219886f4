//! One read, from its beginning to the verdict.

use std::time::{Duration, Instant};

use super::floor::Floor;
use super::liveness::Outage;
use super::report::Rule;
use super::run::Run;
use super::subject::Reading;
use super::{NotLive, key_of, number_of};

/// What is allowed on top of the age of an answer: the cache may have heard of the outage a moment later.
const SLACK: Duration = Duration::from_millis(50);

/// What held when a read began.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) key: i64,
    floor: Floor,
    outage: Option<Blind>,
}

/// An outage, as a read finds it when it begins.
#[derive(Clone, Copy, Debug)]
struct Blind {
    outage: Outage,
    began: Instant,
    lasted: Duration,
    acknowledged: i64,
}

impl Attempt {
    pub(super) fn begin(run: &Run, key: i64) -> Self {
        let outage = run.liveness.outage().map(|outage| Blind {
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

    /// Counts an answer and reports what is wrong with it.
    pub(super) fn judge(&self, run: &Run, reading: Reading) {
        let Self { key, floor, .. } = self;
        let Reading {
            version,
            from_memory,
        } = reading;
        run.tally.reads.add(1);
        run.tally.hits.add(u64::from(from_memory));
        let place = if from_memory { "memory" } else { "a load" };
        let complain = |rule, expected: &str| {
            run.tally.violation(rule, || {
                let number = number_of(version);
                format!("key {key}: read version {number} from {place}, {expected}")
            });
        };
        if key_of(version) != *key {
            let other = key_of(version);
            complain(Rule::OwnValue, &format!("which is of key {other}"));
        } else if version < floor.event {
            let text = format!("the event of {} was applied", number_of(floor.event));
            complain(Rule::AppliedEvent, &text);
        } else if version < floor.flush {
            let number = number_of(floor.flush);
            let text = format!("{number} was acknowledged before a flush that was applied");
            complain(Rule::Flush, &text);
        } else if version < floor.reopening {
            let number = number_of(floor.reopening);
            let text = format!("{number} was acknowledged before the source became live");
            complain(Rule::Reopening, &text);
        }
        self.judge_outage(run, reading, complain);
    }

    fn judge_outage(&self, run: &Run, reading: Reading, complain: impl Fn(Rule, &str)) {
        let Some(blind) = self.outage else {
            return;
        };
        if run.liveness.outage() != Some(blind.outage) {
            return;
        }
        let Blind { began, lasted, .. } = blind;
        run.tally.reads_not_live.add(1);
        match run.settings.not_live {
            NotLive::Bypass if reading.from_memory => {
                let text = format!("while the source was not live for {lasted:?}");
                complain(Rule::NotLive, &text);
            }
            // A load of its own sees what was committed before. One that was joined may have begun too early.
            NotLive::Bypass if reading.version < blind.acknowledged => {
                let number = number_of(blind.acknowledged);
                let text = format!(
                    "{number} was acknowledged before, and the source was not live for {lasted:?}"
                );
                complain(Rule::NotLive, &text);
            }
            NotLive::Bypass => {}
            NotLive::ServeStale { max_age } => {
                let Some(superseded) = run.floors.superseded(self.key, reading.version) else {
                    return;
                };
                // Its load began before it was superseded, and until the outage it was looked after.
                let age = began.saturating_duration_since(superseded).min(lasted);
                if age > max_age + SLACK {
                    let text = format!("outdated for {age:?} while the source was not live");
                    complain(Rule::NotLive, &text);
                }
            }
        }
    }
}
