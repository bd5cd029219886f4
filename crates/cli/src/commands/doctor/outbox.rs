//! The outbox and the groups that read it, if there is one.

use std::time::Duration;

use pgherald_core::group::{Group, GroupStatus};
use tokio_postgres::Client;

use super::UPGRADE;
use super::finding::{Finding, Findings, Verdict, or_ok, rows, value};
use crate::failure::Failure;
use crate::words;

/// From so many hundredths of its limit on, the outbox is worth a warning.
const SIZE_WARNING: i64 = 80;
/// Rows stay for up to twice as long as they are to be kept; beyond this many times, nobody trims.
const AGE_WARNING: f64 = 3.0;
/// A group that is further behind is worth a warning; a failure if nobody works on it.
const LAG: Duration = Duration::from_secs(5 * 60);

/// Twice: what is written to is left alone, and another part begun, the first time.
const TRIM: &str = "SELECT pgherald.trim_outbox(keep, max_bytes) FROM pgherald.outbox_retention, generate_series(1, 2);";

/// What of it is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) enum Of {
    Size,
    Age,
    Groups,
}

pub(super) async fn check(client: &Client, check: &'static str, of: Of) -> Findings {
    if !is_there(client).await? {
        return Ok(vec![Finding::new(
            check,
            Verdict::Skipped,
            "there is no outbox",
        )]);
    }
    match of {
        Of::Size => size(client).await,
        Of::Age => age(client).await,
        Of::Groups => groups(client).await,
    }
}

/// Whether this database has an outbox.
pub(super) async fn is_there(client: &Client) -> Result<bool, Failure> {
    let sql = "SELECT EXISTS (SELECT FROM pg_class WHERE relname = 'outbox' AND relnamespace IN (
        SELECT oid FROM pg_namespace WHERE nspname = 'pgherald'))";
    value(client, sql).await
}

/// The row that tells how long what is to be kept is gone.
fn no_retention() -> Failure {
    Failure::problem("pgherald.outbox_retention is empty").hint(UPGRADE)
}

/// How large it is, against how large it may become.
async fn size(client: &Client) -> Findings {
    let rows = rows(client, include_str!("outbox_size.sql"), &[]).await?;
    let row = rows.first().ok_or_else(no_retention)?;
    let (size, limit): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    Ok(vec![judge_size(size, limit)])
}

fn judge_size(size: i64, limit: i64) -> Finding {
    let result = match size {
        size if size > limit => Verdict::Failed,
        size if size > limit / 100 * SIZE_WARNING => Verdict::Warning,
        _ => Verdict::Ok,
    };
    let text = format!("{} of at most {}", words::size(size), words::size(limit));
    match result {
        Verdict::Ok => Finding::ok("outbox size", text),
        _ => {
            let text = format!("{text}: beyond that, rows go before they are read");
            Finding::new("outbox size", result, text).fix(TRIM)
        }
    }
}

/// How old its oldest row is, against how long rows are to be kept.
async fn age(client: &Client) -> Findings {
    let rows = rows(client, include_str!("outbox_age.sql"), &[]).await?;
    let row = rows.first().ok_or_else(no_retention)?;
    let (age, keep) = (row.try_get(0)?, row.try_get(1)?);
    Ok(vec![judge_age(age, keep)])
}

/// In seconds.
fn judge_age(age: Option<f64>, keep: f64) -> Finding {
    let check = "outbox age";
    let Some(age) = age else {
        return Finding::ok(check, "there are no rows");
    };
    let text = format!(
        "the oldest row is {} old; rows are kept for {}",
        words::about(age),
        words::about(keep)
    );
    if age <= keep * AGE_WARNING {
        return Finding::ok(check, text);
    }
    let text = format!(
        "{text}: consumers of a group trim, and none runs, or one has not read it; else run this now and then"
    );
    Finding::new(check, Verdict::Warning, text).fix(TRIM)
}

async fn groups(client: &Client) -> Findings {
    let groups = Group::all(client).await?;
    if groups.is_empty() {
        return Ok(vec![Finding::ok("groups", "there are none")]);
    }
    let found = groups.iter().flat_map(judge_group).collect();
    let names: Vec<_> = groups.iter().map(|group| &*group.name).collect();
    let fine = format!("{} up to date", names.join(", "));
    Ok(or_ok(found, "groups", &fine))
}

fn judge_group(group: &GroupStatus) -> Vec<Finding> {
    let found = |result, text: String| {
        Finding::new("groups", result, format!("group {}: {text}", group.name))
    };
    let mut findings = Vec::new();
    if group.dead_letters > 0 {
        let text = words::count(group.dead_letters, "dead letter");
        let fix = format!(
            "pgherald dead-letters list {}",
            words::option("group", &group.name)
        );
        findings.push(found(Verdict::Warning, text).fix(fix));
    }
    let lag = words::about(group.lag.as_secs_f64());
    let behind = format!(
        "{} behind, for {lag}",
        words::count(group.lag_events, "event")
    );
    if group.is_paused {
        let text = format!("paused, {behind}");
        let fix = format!("pgherald group resume {}", words::last(&group.name));
        findings.push(found(Verdict::Warning, text).fix(fix));
    } else if group.lag_events > 0 && group.nodes == 0 {
        // Consumers renew their leases: a moment without any is one of changing over.
        let result = match group.lag > LAG {
            true => Verdict::Failed,
            false => Verdict::Warning,
        };
        let text = format!("{behind}, and no consumer runs");
        let delete = format!(
            "DELETE FROM pgherald.consumer_group WHERE name = '{}';",
            group.name.replace('\'', "''")
        );
        let fix =
            format!("start a program that runs it; or, if nobody wants it any more: {delete}");
        findings.push(found(result, text).fix(fix));
    } else if group.lag > LAG {
        let text = format!("{behind}, with {}", words::count(group.nodes, "consumer"));
        findings.push(found(Verdict::Warning, text).fix("pgherald status --watch"));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::{judge_age, judge_size};

    #[test]
    fn the_outbox_is_judged_by_its_size_and_age() {
        assert_eq!(judge_size(79, 100).result, Verdict::Ok);
        assert_eq!(judge_size(81, 100).result, Verdict::Warning);
        assert_eq!(judge_size(101, 100).result, Verdict::Failed);
        assert_eq!(judge_age(None, 1.0).result, Verdict::Ok);
        assert_eq!(judge_age(Some(2.0), 1.0).result, Verdict::Ok);
        assert_eq!(judge_age(Some(4.0), 1.0).result, Verdict::Warning);
    }
}
