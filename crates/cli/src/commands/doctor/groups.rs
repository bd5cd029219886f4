//! Checks the groups: whether their consumers run, keep up, and succeed.

use pgherald_core::__private::host;
use pgherald_core::__private::host::group::{Problem, nearly_full, problems};
use pgherald_core::__private::host::trigger::Requirement;
use pgherald_core::group::{Group, GroupStatus};
use pgherald_core::trigger::{Drift, DriftKind};
use postgres_protocol::escape::escape_literal;
use tokio_postgres::Client;

use super::finding::{Finding, Findings, Verdict, or_ok};
use crate::commands::group_health::cursors;
use crate::commands::install::command;
use crate::words;

/// Checks all groups. Requires that there is an outbox.
pub(super) async fn check(client: &Client) -> Findings {
    let groups = Group::all(client).await?;
    if groups.is_empty() {
        return Ok(vec![Finding::ok("groups", "there are none")]);
    }
    let mut found: Vec<_> = groups.iter().flat_map(judge).collect();
    found.extend(unmet(client).await?);
    let fine: Vec<_> = groups.iter().map(fine).collect();
    let fine = format!("up to date: {}", fine.join(", "));
    Ok(or_ok(found, "groups", &fine))
}

/// Reports requirements of groups that are not installed. The consumers of these groups are not live.
async fn unmet(client: &Client) -> Findings {
    let actual = host::trigger::inspect_all(client, &[]).await?;
    let finding = |(required, drift): (&Requirement, Drift)| {
        let group = &required.group;
        let text = format!("group {group}: its consumers are not live: {drift}");
        let finding = Finding::new("groups", Verdict::Failed, text);
        match actual.widened(&required.spec) {
            Ok(spec) => finding.fix(command(&actual, &spec)),
            Err(_)
                if matches!(
                    drift.kind,
                    DriftKind::Unfit { .. } | DriftKind::TableMissing
                ) =>
            {
                finding.fix(forget(required))
            }
            Err(error) => finding.fix(error.chain()),
        }
    };
    Ok(actual.unmet().map(finding).collect())
}

/// Returns the fix for a requirement that no installation can meet, because the table has changed.
fn forget(required: &Requirement) -> String {
    let table = required.spec.table();
    format!(
        "start the version of the program that fits the table; or, if the group no longer requires the table: DELETE FROM \
         pgherald.consumer_requirement WHERE group_name = {} AND schema_name = {} AND table_name = {};",
        escape_literal(&required.group),
        escape_literal(table.schema()),
        escape_literal(table.name())
    )
}

/// Describes a group without problems. Its parked events are snoozed, wait behind snoozed ones, or are about to be handled. Of a relay,
/// it names where events are stored.
fn fine(group: &GroupStatus) -> String {
    let mut facts = vec![words::count(group.nodes, "consumer")];
    if group.parked > 0 {
        facts.push(format!("{} parked", group.parked));
    }
    if let Some(destination) = &group.destination {
        facts.push(format!("relays to {destination}"));
    }
    format!("{} ({})", group.name, facts.join(", "))
}

fn judge(group: &GroupStatus) -> Vec<Finding> {
    let problems = problems(group).into_iter();
    problems.map(|problem| finding(group, problem)).collect()
}

fn finding(group: &GroupStatus, problem: Problem) -> Finding {
    let verdict = match problem.is_severe(group) {
        true => Verdict::Failed,
        false => Verdict::Warning,
    };
    let (text, fix) = match problem {
        Problem::Paused => {
            let fix = format!("pgherald group resume {}", words::last(&group.name));
            let text = format!("paused, {}", behind(group));
            (text, fix)
        }
        Problem::NoConsumer => {
            let text = format!("no consumer runs; {}", behind(group));
            (text, start_or_delete(group))
        }
        Problem::Unreadable => {
            let text = format!(
                "unreadable {}: all events in the outbox are handled again for them, and the outbox is not trimmed until then",
                cursors(group)
            );
            let fix = format!(
                "restart a consumer, which replaces them; or skip these events: pgherald group seek --commit {} now",
                words::last(&group.name)
            );
            (text, fix)
        }
        Problem::Full => {
            let text = format!(
                "{} no new events and not live, because too many rows have parked events; {}",
                match group.full_nodes {
                    1 => "1 consumer reads".to_owned(),
                    consumers => format!("{consumers} consumers read"),
                },
                behind(group)
            );
            let option = words::option("group", &group.name);
            let fix = format!("correct the cause of the failures: pgherald parked list {option}");
            (text, fix)
        }
        Problem::Destination => {
            let text = format!(
                "nothing is stored in {}: {}; {}",
                group.destination.as_deref().unwrap_or("its destination"),
                words::shortened_error(group.destination_error.as_deref().unwrap_or("-"), 200),
                behind(group)
            );
            let fix = "correct the cause that the error names: the relay continues by itself; pgherald relay with its options and \
                       --dry-run verifies server and stream";
            (text, fix.to_owned())
        }
        Problem::NearlyFull => {
            let fix = "raise the limits of the stream: nats stream edit; or delete messages that no reader needs: nats stream purge";
            (nearly_full(group).unwrap_or_default(), fix.to_owned())
        }
        Problem::Failing => {
            let fix = format!(
                "correct the cause that the error names: running consumers retry by themselves; or at once: pgherald parked retry \
                 --all {}",
                words::last(&group.name)
            );
            (failing(group), fix)
        }
        Problem::DeadLetters => {
            let letters = words::count(group.dead_letters, "dead letter");
            let text = format!("{letters}{}{}", recent(group.dead_recently), error(group));
            let option = words::option("group", &group.name);
            let fix = format!("pgherald dead-letters list {option}");
            (text, fix)
        }
        Problem::Behind => {
            let consumers = words::count(group.nodes, "consumer");
            let text = format!("{}, with {consumers}", behind(group));
            (text, "pgherald status --watch".to_owned())
        }
    };
    let text = format!("group {}: {text}", group.name);
    Finding::new("groups", verdict, text).fix(fix)
}

fn failing(group: &GroupStatus) -> String {
    let subject = match group.failing {
        1 => "1 event fails".to_owned(),
        events => format!("{events} events fail"),
    };
    let oldest = group.oldest_failing.unwrap_or_default().as_secs_f64();
    format!(
        "{subject} ({} of {} parked){}, the oldest for {}{}",
        group.failing,
        group.parked,
        recent(group.failing_recently),
        words::about(oldest),
        error(group)
    )
}

/// Describes how many of the events were added recently.
fn recent(added: i64) -> String {
    match added {
        0 => String::new(),
        added => format!(
            ", {added} of them in the last {}",
            words::about(GroupStatus::RECENT.as_secs_f64())
        ),
    }
}

fn error(group: &GroupStatus) -> String {
    match &group.last_error {
        Some(error) => format!("; last error: {}", words::shortened_error(error, 200)),
        None => String::new(),
    }
}

fn behind(group: &GroupStatus) -> String {
    let mut text = format!(
        "{} behind",
        words::lag(group.lag_events, group.lag_is_estimate)
    );
    if group.lag_events > 0 {
        let lag = words::about(group.lag.as_secs_f64());
        text = format!("{text}, for {lag}");
    }
    if group.parked > 0 {
        text = format!("{text}, {} parked", group.parked);
    }
    text
}

fn start_or_delete(group: &GroupStatus) -> String {
    let program = match group.destination {
        Some(_) => "start the relay: pgherald relay",
        None => "start a program that runs a consumer of it",
    };
    format!(
        "{program}; or, if the group is no longer used: pgherald group delete --commit {}",
        words::last(&group.name)
    )
}
