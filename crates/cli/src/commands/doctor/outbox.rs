//! Checks the outbox, if there is one.

use tokio_postgres::Client;

use super::UPGRADE;
use super::finding::{Finding, Findings, Verdict, rows, value};
use crate::failure::Failure;
use crate::words;

/// The share of its limit, in percent, from which on the size of the outbox is a warning.
const SIZE_WARNING: i64 = 80;
/// The multiple of the retention from which on the age of the oldest row is a warning. Rows normally stay for up to twice the
/// retention.
const AGE_WARNING: f64 = 3.0;

/// Calls the function twice: the first call makes writers move to another part, and the second can trim the part that they left.
const TRIM: &str = "SELECT pgherald.trim_outbox(keep, max_bytes) FROM pgherald.outbox_retention, generate_series(1, 2);";

/// The subject of a check.
#[derive(Clone, Copy, Debug)]
pub(super) enum Subject {
    Size,
    Age,
    Groups,
}

pub(super) async fn check(client: &Client, check: &'static str, subject: Subject) -> Findings {
    if !is_there(client).await? {
        return Ok(vec![Finding::new(
            check,
            Verdict::Skipped,
            "there is no outbox",
        )]);
    }
    match subject {
        Subject::Size => size(client).await,
        Subject::Age => age(client).await,
        Subject::Groups => super::groups::check(client).await,
    }
}

/// Whether this database has an outbox.
pub(super) async fn is_there(client: &Client) -> Result<bool, Failure> {
    let sql = "SELECT EXISTS (SELECT FROM pg_class WHERE relname = 'outbox' AND relnamespace IN (
        SELECT oid FROM pg_namespace WHERE nspname = 'pgherald'))";
    value(client, sql).await
}

/// The error if the row with the retention is missing.
fn no_retention() -> Failure {
    Failure::problem("pgherald.outbox_retention is empty").hint(UPGRADE)
}

/// Compares the size of the outbox with its limit.
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
            let text =
                format!("{text}: beyond that, rows are removed before groups have read them");
            Finding::new("outbox size", result, text).fix(TRIM)
        }
    }
}

/// Compares the age of the oldest row with the retention.
async fn age(client: &Client) -> Findings {
    let rows = rows(client, include_str!("outbox_age.sql"), &[]).await?;
    let row = rows.first().ok_or_else(no_retention)?;
    let (age, keep) = (row.try_get(0)?, row.try_get(1)?);
    Ok(vec![judge_age(age, keep)])
}

/// `age` and `keep` are in seconds.
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
        "{text}: no consumer runs that would trim it, or a group has not read it; otherwise run this at intervals"
    );
    Finding::new(check, Verdict::Warning, text).fix(TRIM)
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
