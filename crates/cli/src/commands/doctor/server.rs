//! Checks the server: its version, and whether it is the primary.

use pgherald_core::__private::host::trigger::OLDEST_SERVER;
use tokio_postgres::Client;

use super::finding::{Finding, Findings, Verdict, value};

/// The fix if the server is a replica.
pub(super) const TO_PRIMARY: &str = "connect to the primary: postgresql://user@host1,host2/database?target_session_attrs=read-write";

pub(super) async fn version(client: &Client) -> Findings {
    let sql = "SELECT current_setting('server_version_num')::int4";
    let number: i32 = value(client, sql).await?;
    let name: String = value(client, "SELECT current_setting('server_version')").await?;
    Ok(vec![judge_version(number, &name)])
}

fn judge_version(number: i32, name: &str) -> Finding {
    let check = "server version";
    if number >= OLDEST_SERVER {
        return Finding::ok(check, format!("PostgreSQL {name}"));
    }
    let oldest = OLDEST_SERVER / 10_000;
    let finding = format!("PostgreSQL {name}; {oldest} or later is needed");
    Finding::new(check, Verdict::Failed, finding)
        .fix("upgrade the server: https://www.postgresql.org/docs/current/upgrading.html")
}

pub(super) async fn primary(client: &Client) -> Findings {
    let is_replica = value(client, "SELECT pg_is_in_recovery()").await?;
    Ok(vec![judge_role(is_replica)])
}

fn judge_role(is_replica: bool) -> Finding {
    let check = "primary";
    if !is_replica {
        return Finding::ok(check, "the server is not a replica");
    }
    let finding =
        "the server is a replica: nothing can LISTEN on it, and triggers cannot be installed";
    Finding::new(check, Verdict::Failed, finding).fix(TO_PRIMARY)
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::{judge_role, judge_version};

    #[test]
    fn a_server_that_is_too_old_or_a_replica_fails() {
        assert_eq!(judge_version(130_000, "13.0").result, Verdict::Ok);
        let old = judge_version(120_022, "12.22");
        assert_eq!(old.result, Verdict::Failed);
        assert_eq!(old.finding, "PostgreSQL 12.22; 13 or later is needed");
        assert_eq!(judge_role(false).result, Verdict::Ok);
        assert_eq!(judge_role(true).result, Verdict::Failed);
        assert!(judge_role(true).fix.is_some());
    }
}
