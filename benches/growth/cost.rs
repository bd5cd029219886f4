//! Processor time of the server's processes and of this one, and the server's counters.

use std::path::Path;
use std::time::Duration;

use pgherald_testkit::Postgres;
use tokio_postgres::Client;

/// The resources that were used up to a moment, or between two moments.
#[derive(Clone, Copy)]
pub(crate) struct Cost {
    pub(crate) server: Duration,
    pub(crate) client: Duration,
    pub(crate) transactions: i64,
    pub(crate) wal_bytes: i64,
}

impl Cost {
    /// Returns everything that was used so far, without the time of server processes that have ended.
    pub(crate) async fn so_far(server: &Postgres, client: &Client) -> Self {
        // The counters of a session reach the statistics when it has been idle for a while.
        let sql = "SELECT (SELECT sum(xact_commit + xact_rollback)::bigint FROM pg_stat_database),
            pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint";
        let row = client.query_one(sql, &[]).await.unwrap();
        Self {
            server: server_time(server),
            client: time_of_client(),
            transactions: row.get(0),
            wal_bytes: row.get(1),
        }
    }

    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            server: self.server.saturating_sub(before.server),
            client: self.client.saturating_sub(before.client),
            transactions: self.transactions - before.transactions,
            wal_bytes: self.wal_bytes - before.wal_bytes,
        }
    }
}

/// The processor time of the process with this id.
pub(crate) fn time_of_process(pid: i32) -> Duration {
    scheduled(Path::new(&format!("/proc/{pid}/schedstat")))
}

fn server_time(server: &Postgres) -> Duration {
    let postmaster = std::fs::read_to_string(server.data_dir().join("postmaster.pid")).unwrap();
    let postmaster = postmaster.lines().next().unwrap().to_owned();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let of_server = processes.filter(|process| {
        let stat = std::fs::read_to_string(process.path().join("stat")).unwrap_or_default();
        // The parent is the second field after the name, which is in parentheses.
        let parent = stat
            .rsplit(')')
            .next()
            .and_then(|rest| rest.split_whitespace().nth(1));
        parent == Some(&postmaster)
    });
    of_server
        .map(|process| scheduled(&process.path().join("schedstat")))
        .sum()
}

/// The processor time of this process.
pub(crate) fn time_of_client() -> Duration {
    // The kernel counts the present time slice of this thread when the thread yields.
    std::thread::yield_now();
    let threads = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    threads
        .map(|thread| scheduled(&thread.path().join("schedstat")))
        .sum()
}

fn scheduled(schedstat: &Path) -> Duration {
    let text = std::fs::read_to_string(schedstat).unwrap_or_default();
    let nanos = text
        .split_whitespace()
        .next()
        .and_then(|word| word.parse().ok());
    Duration::from_nanos(nanos.unwrap_or_default())
}
