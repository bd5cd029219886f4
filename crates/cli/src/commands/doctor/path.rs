//! Checks the path to the server: whether the session keeps one server process, and whether notifications arrive.

use std::time::{Duration, Instant};

use pgherald_core::{ChannelName, ErrorKind, NotifySource, Signal, Source};
use tokio::time::timeout;
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::finding::{Finding, Findings, Parameter, Verdict, rows, value};
use super::server::TO_PRIMARY;
use crate::database::Database;
use crate::failure::{Failure, NO_POOLER};

/// A notification that takes longer counts as lost.
const PATIENCE: Duration = Duration::from_secs(3);
/// A notification that takes longer is worth a warning.
const SLOW: Duration = Duration::from_millis(500);

/// Checks that the session keeps one server process, which no other session uses.
pub(super) async fn pooler(client: &Client, database: &Database) -> Findings {
    const PROCESS: &str = "SELECT pg_catalog.pg_backend_pid()";
    let other = database.client().await?;
    let before: i32 = value(client, PROCESS).await?;
    // While its transaction is open, the other connection keeps a server process.
    other.batch_execute("BEGIN").await?;
    let others: i32 = value(&other, PROCESS).await?;
    let after: i32 = value(client, PROCESS).await?;
    other.batch_execute("ROLLBACK").await?;
    Ok(vec![judge_processes(before, others, after)])
}

/// `before` and `after` are the processes of this session, and `others` is the process of another connection in between.
fn judge_processes(before: i32, others: i32, after: i32) -> Finding {
    let check = "pooler";
    if before == after && others != before {
        return Finding::ok(check, "the session has a server process of its own");
    }
    let finding = "a pooler gives each transaction another server process: LISTEN and prepared statements are lost";
    Finding::new(check, Verdict::Failed, finding).fix(NO_POOLER)
}

/// Checks that a notification from another connection arrives at a source, and how fast.
pub(super) async fn notifications(client: &Client, database: &Database) -> Findings {
    let check = "notifications";
    let channel = ChannelName::new(format!("pgherald_doctor_{:016x}", fastrand::u64(..)))?;
    // The source's own probe is off, because this check sends a notification and measures its latency.
    let source = NotifySource::builder(database.config()?)
        .channel(channel.clone())
        .probe(false);
    let mut source = source.build()?;
    loop {
        match source.next().await {
            Signal::Live => break,
            Signal::Down(error) if error.is_connection() => return Err(error.into()),
            Signal::Down(error) => {
                let finding = format!("cannot listen: {}", error.chain());
                let fix = match error.kind() == ErrorKind::Replica {
                    true => TO_PRIMARY,
                    false => NO_POOLER,
                };
                return Ok(vec![Finding::new(check, Verdict::Failed, finding).fix(fix)]);
            }
            _ => {}
        }
    }
    let begun = Instant::now();
    let name = channel.as_str();
    let parameters: [Parameter<'_>; 1] = [(&name, Type::TEXT)];
    let send = rows(
        client,
        "SELECT pg_catalog.pg_notify($1, '')::pg_catalog.text",
        &parameters,
    );
    let arrived = async {
        // An empty payload does not decode, so the source emits a resync for it.
        while !matches!(source.next().await, Signal::Resync(_) | Signal::Down(_)) {}
        Ok::<_, Failure>(begun.elapsed())
    };
    let outcome = timeout(PATIENCE, async { tokio::try_join!(send, arrived) }).await;
    let latency = match outcome {
        Ok(result) => Some(result?.1),
        Err(_) => None,
    };
    Ok(vec![judge_latency(latency)])
}

fn judge_latency(latency: Option<Duration>) -> Finding {
    let check = "notifications";
    let Some(latency) = latency else {
        let finding = format!(
            "LISTEN works, but a notification of another connection did not arrive within {PATIENCE:?}"
        );
        return Finding::new(check, Verdict::Failed, finding).fix(NO_POOLER);
    };
    let milliseconds = latency.as_secs_f64() * 1e3;
    let finding = format!("arrive from another connection, in {milliseconds:.1} ms");
    match latency > SLOW {
        false => Finding::ok(check, finding),
        true => Finding::new(check, Verdict::Warning, format!("{finding}, which is slow"))
            .fix("SELECT * FROM pg_stat_activity WHERE state <> 'idle';"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::finding::Verdict;
    use super::{judge_latency, judge_processes};

    #[test]
    fn a_server_process_that_changes_or_is_shared_fails_the_pooler_check() {
        assert_eq!(judge_processes(1, 2, 1).result, Verdict::Ok);
        assert_eq!(judge_processes(1, 1, 2).result, Verdict::Failed);
        assert_eq!(judge_processes(1, 3, 2).result, Verdict::Failed);
    }

    #[test]
    fn a_slow_notification_is_a_warning_and_a_lost_one_a_failure() {
        let judge = |milliseconds| judge_latency(Some(Duration::from_millis(milliseconds)));
        assert_eq!(judge(5).result, Verdict::Ok);
        assert_eq!(judge(900).result, Verdict::Warning);
        assert_eq!(judge_latency(None).result, Verdict::Failed);
    }
}
