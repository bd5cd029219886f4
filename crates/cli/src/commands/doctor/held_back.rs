//! Checks for whatever prevents cleanup on the server: unread notifications, open transactions and unused replication slots.

use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::finding::{Finding, Findings, Verdict, or_ok, rows, value, wrong};
use crate::failure::{Failure, is_bad_input};

/// The share of the notification queue from which on its usage is a failure. Once the queue is full, commits fail.
const QUEUE_FAILED: f64 = 0.5;
/// An unused replication slot that is this many transactions behind is worth a warning.
const SLOT_TRANSACTIONS: i32 = 100_000;

/// Fails if the server cannot parse `text` as an interval, or if it is negative.
pub(super) async fn require_interval(client: &Client, text: &str) -> Result<(), Failure> {
    let sql = "SELECT $1::interval < interval '0'";
    let is_negative = match client.query_typed(sql, &[(&text, Type::TEXT)]).await {
        Ok(rows) => rows.first().is_some_and(|row| row.get(0)),
        Err(error) if is_bad_input(&error) => true,
        Err(error) => return Err(error.into()),
    };
    match is_negative {
        false => Ok(()),
        true => {
            let message = format!("--long-transaction: {text:?} is not an interval of 0 or more");
            Err(Failure::usage(message).hint("write 5min, '30 s' or 1h"))
        }
    }
}

pub(super) async fn queue(client: &Client, warning: f64) -> Findings {
    let usage = value(client, "SELECT pg_notification_queue_usage()").await?;
    let mut finding = judge_usage(usage, warning);
    if finding.result == Verdict::Ok {
        return Ok(vec![finding]);
    }
    let holder = rows(client, include_str!("queue_holder.sql"), &[]).await?;
    match holder.first() {
        Some(row) => {
            let session: &str = row.try_get(0)?;
            finding.finding = format!("{}; probably held by {session}", finding.finding);
            Ok(vec![finding.fix(row.try_get::<_, String>(1)?)])
        }
        None => Ok(vec![finding.fix(
            "SELECT pid, usename, state, xact_start FROM pg_stat_activity ORDER BY xact_start;",
        )]),
    }
}

fn judge_usage(usage: f64, warning: f64) -> Finding {
    let result = match usage {
        usage if usage >= QUEUE_FAILED => Verdict::Failed,
        usage if usage > warning => Verdict::Warning,
        _ => Verdict::Ok,
    };
    let percent = format!("{:.4}", usage * 100.0);
    let percent = percent.trim_end_matches('0').trim_end_matches('.');
    let finding = format!("{percent} % in use");
    Finding::new("notification queue", result, finding)
}

/// Checks for transactions that have been open for longer than `limit`.
pub(super) async fn transactions(client: &Client, limit: &str) -> Findings {
    let check = "transactions";
    let limit_is: &[_] = &[(&limit as _, Type::TEXT)];
    let sql = include_str!("transactions.sql");
    let mut found = wrong(client, check, Verdict::Warning, sql, limit_is).await?;
    let sql = include_str!("unseen_sessions.sql");
    found.extend(wrong(client, check, Verdict::Skipped, sql, &[]).await?);
    let fine = format!("none has been open for longer than {limit}");
    Ok(or_ok(found, check, &fine))
}

/// Checks for transactions that have been prepared for longer than `limit`.
pub(super) async fn prepared(client: &Client, limit: &str) -> Findings {
    let check = "prepared transactions";
    let sql = include_str!("prepared.sql");
    let found = wrong(
        client,
        check,
        Verdict::Warning,
        sql,
        &[(&limit, Type::TEXT)],
    )
    .await?;
    let fine = format!("none has been prepared for longer than {limit}");
    Ok(or_ok(found, check, &fine))
}

pub(super) async fn slots(client: &Client) -> Findings {
    let check = "replication slots";
    let sql = include_str!("slots.sql");
    let limit: &[_] = &[(&SLOT_TRANSACTIONS as _, Type::INT4)];
    let found = wrong(client, check, Verdict::Warning, sql, limit).await?;
    Ok(or_ok(found, check, "none holds back VACUUM"))
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::judge_usage;

    #[test]
    fn the_queue_is_judged_by_its_usage() {
        let judged = |usage| judge_usage(usage, 0.1).result;
        assert_eq!(judged(0.1), Verdict::Ok);
        assert_eq!(judged(0.2), Verdict::Warning);
        assert_eq!(judged(0.5), Verdict::Failed);
        assert_eq!(judge_usage(0.25, 0.1).finding, "25 % in use");
        assert_eq!(judge_usage(0.0, 0.1).finding, "0 % in use");
    }
}
