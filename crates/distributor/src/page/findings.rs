//! What is wrong, and what to do about it: the most severe first. Without findings, all is well as far as the page can see.
//!
//! `pgherald doctor` checks more: rights, settings of the server, and the statements of consumers.

use pgherald_core::__private::host::group::{Problem, nearly_full, problems};
use pgherald_core::Health;
use pgherald_core::group::GroupStatus;
use pgherald_core::outbox::OutboxStatus;
use serde::Serialize;

use super::caches::Cache;
use super::database::Snapshot;

/// The fill level of the outbox, in percent, from which on it is a finding.
const NEARLY_FULL: u64 = 80;
/// Characters of an error in a finding.
const SHORT: usize = 400;

#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    severity: Severity,
    /// What it is about, for example `group enrich-users`.
    subject: String,
    text: String,
    /// A command to paste, or an instruction.
    fix: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Severity {
    /// Changes are lost, or their effects do not happen.
    Failed,
    /// Works now, but needs attention.
    Warning,
}

/// What the findings are concluded from.
pub(super) struct Facts<'a> {
    pub(super) health: &'a Health,
    /// `None` if the page has no database.
    pub(super) database: Option<&'a Snapshot>,
    pub(super) caches: &'a [Cache],
    pub(super) clients: usize,
    pub(super) most_clients: usize,
}

impl Finding {
    fn new(severity: Severity, subject: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            severity,
            subject: subject.into(),
            text: text.into(),
            fix: None,
        }
    }

    fn fix(mut self, fix: impl Into<String>) -> Self {
        let fix: String = fix.into();
        self.fix = (!fix.is_empty()).then_some(fix);
        self
    }
}

pub(super) fn findings(facts: &Facts<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    found.extend(listener(facts.health));
    let is_live = facts.health.is_live();
    if let Some(snapshot) = facts.database {
        database(snapshot, is_live, &mut found);
    }
    // While the listener is not live, no cache is: that is one problem.
    found.extend(facts.caches.iter().filter_map(|one| cache(one, is_live)));
    if facts.clients >= facts.most_clients - facts.most_clients / 10 {
        let (clients, most) = (facts.clients, facts.most_clients);
        let text = format!("{clients} of at most {most} are connected; further ones are refused");
        found.push(
            Finding::new(Severity::Warning, "clients", text).fix("raise the limit of clients"),
        );
    }
    // The order within a severity stays.
    found.sort_by_key(|finding| finding.severity);
    found
}

fn listener(health: &Health) -> Option<Finding> {
    match health {
        Health::Live { .. } => None,
        Health::Degraded { cause, .. } => {
            let text = format!("not live: {}", short(&cause.chain()));
            Some(Finding::new(Severity::Failed, "listener", text).fix(cause.hint()))
        }
        _ => {
            let text = "not live yet: it is connecting to the database";
            Some(Finding::new(Severity::Warning, "listener", text))
        }
    }
}

fn database(snapshot: &Snapshot, listener_is_live: bool, found: &mut Vec<Finding>) {
    match &snapshot.error {
        // It has the cause of the listener's finding.
        Some(error) if error.is_connection() && !listener_is_live => {
            let text = "groups and outbox cannot be read either; what is shown is older";
            found.push(Finding::new(Severity::Failed, "database", text));
        }
        Some(error) => {
            let cause = short(&error.chain());
            let text = format!("groups and outbox cannot be read: {cause}");
            found.push(Finding::new(Severity::Failed, "database", text).fix(error.hint()));
        }
        None => {}
    }
    let content = &snapshot.content;
    for (group, drift) in &content.unmet {
        let text = format!("its consumers are not live: {drift}");
        let finding = Finding::new(Severity::Failed, format!("group {group}"), text);
        found.push(finding.fix("pgherald doctor shows the command"));
    }
    for drift in &content.drifts {
        let severity = match drift.loses_changes() {
            true => Severity::Failed,
            false => Severity::Warning,
        };
        let finding = Finding::new(severity, format!("table {}", drift.table), drift.problem());
        found.push(
            finding.fix("pgherald doctor shows the command, often: pgherald upgrade --commit"),
        );
    }
    found.extend(content.outbox.as_ref().and_then(outbox));
    for status in &content.groups {
        found.extend(
            problems(status)
                .into_iter()
                .map(|problem| group(status, problem)),
        );
    }
}

fn outbox(status: &OutboxStatus) -> Option<Finding> {
    let percent = status.bytes.saturating_mul(100) / status.max_bytes.max(1);
    let severity = match percent {
        0..NEARLY_FULL => return None,
        NEARLY_FULL..100 => Severity::Warning,
        _ => Severity::Failed,
    };
    let text = format!(
        "has {percent} % of its size limit; beyond it, rows are removed before groups have read them"
    );
    let fix = "start the consumers of groups that lag, or delete unused groups: pgherald group delete NAME --commit";
    Some(Finding::new(severity, "outbox", text).fix(fix))
}

fn group(status: &GroupStatus, problem: Problem) -> Finding {
    let error = || match &status.last_error {
        Some(error) => format!("; last error: {}", short(error)),
        None => String::new(),
    };
    let behind = || match status.lag_is_estimate {
        true => format!("about {} behind", events(status.lag_events)),
        false => format!("{} behind", events(status.lag_events)),
    };
    let (text, fix) = match problem {
        Problem::Paused => (format!("paused, {}", behind()), "resume it"),
        Problem::NoConsumer => (
            format!("no consumer runs; {}", behind()),
            "start a program that runs a consumer of it",
        ),
        Problem::Unreadable => (
            format!(
                "{} of its cursors fail to parse; all events of their slices are handled again",
                status.unreadable_slices.len()
            ),
            "restart a consumer, which replaces them",
        ),
        Problem::Full => (
            format!(
                "{} of its consumers read no new events, because too many rows have parked events; {}",
                status.full_nodes,
                behind()
            ),
            "correct the cause of the failures",
        ),
        Problem::Destination => (
            format!(
                "nothing is stored in {}: {}; {}",
                status.destination.as_deref().unwrap_or("its destination"),
                short(status.destination_error.as_deref().unwrap_or("-")),
                behind()
            ),
            "correct the cause that the error names: the relay continues by itself",
        ),
        Problem::NearlyFull => (
            nearly_full(status).unwrap_or_default(),
            "raise the limits of the stream, or delete messages that no reader needs",
        ),
        Problem::Failing => {
            let text = format!(
                "{} ({} parked){}",
                match status.failing {
                    1 => "1 event fails".to_owned(),
                    failing => format!("{failing} events fail"),
                },
                status.parked,
                error()
            );
            (
                text,
                "correct the cause; consumers retry by themselves, or retry at once",
            )
        }
        Problem::DeadLetters => {
            let text = match status.dead_letters {
                1 => "1 dead letter".to_owned(),
                letters => format!("{letters} dead letters"),
            };
            (
                text + &error(),
                "correct the cause, then retry or discard them",
            )
        }
        Problem::Behind => {
            let seconds = status.lag.as_secs();
            let text = format!("{}, for {} min", behind(), seconds / 60);
            (text, "start more consumers, or make the handler faster")
        }
    };
    let severity = match problem.is_severe(status) {
        true => Severity::Failed,
        false => Severity::Warning,
    };
    Finding::new(severity, format!("group {}", status.name), text).fix(fix)
}

fn cache(cache: &Cache, listener_is_live: bool) -> Option<Finding> {
    let subject = format!("cache {}", cache.name);
    match &cache.refused {
        Some(why) => {
            let text = format!("closed for good: {}", short(why));
            Some(
                Finding::new(Severity::Failed, subject, text)
                    .fix("correct its key type, and restart"),
            )
        }
        None if !cache.is_live && listener_is_live => {
            let text = "not live: reads bypass it";
            Some(Finding::new(Severity::Warning, subject, text))
        }
        None => None,
    }
}

fn events(number: i64) -> String {
    match number {
        1 => "1 event".to_owned(),
        number => format!("{number} events"),
    }
}

/// The beginning of an error.
fn short(text: &str) -> String {
    match text.char_indices().nth(SHORT) {
        Some((index, _)) => format!("{}…", &text[..index]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::time::SystemTime;

    use pgherald_core::{Error, Health};

    use super::super::database::Snapshot;
    use super::{Facts, Finding, Severity, findings};

    fn lost() -> Error {
        Error::disconnected("the connection was lost", io::Error::other("reset"))
    }

    fn found(health: &Health, database: Option<&Snapshot>, clients: usize) -> Vec<Finding> {
        findings(&Facts {
            health,
            database,
            caches: &[],
            clients,
            most_clients: 100,
        })
    }

    fn live() -> Health {
        let since = SystemTime::now();
        Health::Live { since }
    }

    #[test]
    fn all_is_well_without_findings() {
        assert_eq!(found(&live(), Some(&Snapshot::default()), 89), []);
        assert_eq!(found(&live(), None, 0), []);
    }

    #[test]
    fn severe_findings_come_first_and_a_common_cause_is_stated_once() {
        let down = Health::Degraded {
            since: SystemTime::now(),
            cause: lost(),
            was_live: true,
        };
        let unread = Snapshot {
            error: Some(lost()),
            ..Snapshot::default()
        };
        let found = found(&down, Some(&unread), 90);
        let shown: Vec<_> = found
            .iter()
            .map(|one| (one.severity, &*one.subject))
            .collect();
        let expected = [
            (Severity::Failed, "listener"),
            (Severity::Failed, "database"),
            (Severity::Warning, "clients"),
        ];
        assert_eq!(shown, expected);
        assert!(found[0].text.contains("reset"), "{found:?}");
        assert!(!found[1].text.contains("reset"), "{found:?}");
    }

    #[test]
    fn a_database_that_only_the_page_cannot_read_is_reported_with_its_cause() {
        let unread = Snapshot {
            error: Some(lost()),
            ..Snapshot::default()
        };
        let found = found(&live(), Some(&unread), 0);
        assert!(found[0].text.contains("reset"), "{found:?}");
    }
}
