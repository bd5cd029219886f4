//! Reading the outbox: one new event, beside transactions that are open elsewhere, and beside rows that are not committed.

use std::sync::Arc;
use std::time::Duration;

use pgherald::__private::host::outbox::{Cursor, OutboxReader};

use tokio_postgres::Client;

use crate::cost::time_of_process;
use crate::stage::{Stage, connect};
use crate::support::median;
use crate::{Asked, print};

const READS: usize = 40;

pub(crate) async fn measure(asked: &Asked) {
    let (open, uncommitted) = ("reading, open transactions", "reading, uncommitted rows");
    if !asked.wants(open) && !asked.wants(uncommitted) {
        return;
    }
    let stage = Stage::new().await;
    stage.recorded("t").await;
    if asked.wants(open) {
        let sizes = asked.sizes(&[0, 100, 1_000], &[0, 10, 100, 300, 1_000]);
        let mut costs = Vec::new();
        for size in sizes {
            let mut sessions = Vec::new();
            for session in 0..*size {
                let client = connect(&stage.url).await;
                let sql = format!("BEGIN; INSERT INTO t0 VALUES (-{session} - 1, 0)");
                client.batch_execute(&sql).await.unwrap();
                sessions.push(client);
            }
            costs.push(read(&stage).await);
            end(sessions).await;
        }
        print(open, "µs of server per read", sizes, &costs);
    }
    if asked.wants(uncommitted) {
        let sizes = asked.sizes(&[1_000, 100_000], &[1_000, 100_000, 1_000_000]);
        let mut costs = Vec::new();
        for size in sizes {
            let client = connect(&stage.url).await;
            let sql =
                format!("BEGIN; INSERT INTO t0 SELECT -n, 0 FROM generate_series(1, {size}) n");
            client.batch_execute(&sql).await.unwrap();
            costs.push(read(&stage).await);
            end(vec![client]).await;
        }
        print(uncommitted, "µs of server per read", sizes, &costs);
    }
}

async fn end(sessions: Vec<Arc<Client>>) {
    for session in sessions {
        session.batch_execute("ROLLBACK").await.unwrap();
    }
}

/// The median time of the reader's backend, in microseconds, for a read that finds one event and the read after it that finds none.
async fn read(stage: &Stage) -> f64 {
    let client = connect(&stage.url).await;
    let pid = client
        .query_one("SELECT pg_backend_pid()", &[])
        .await
        .unwrap()
        .get(0);
    let mut reader = OutboxReader::new(Arc::clone(&client));
    let mut cursor = reader.now().await.unwrap();
    let mut costs = Vec::new();
    for number in 0..READS + 10 {
        stage
            .run("INSERT INTO t0 SELECT coalesce(max(id), 0) + 1 FROM t0")
            .await;
        let before = time_of_process(pid);
        let events = drain(&mut reader, &mut cursor).await;
        assert_eq!(events, 1);
        let cost = time_of_process(pid).saturating_sub(before);
        // The server plans a statement anew for its first few executions.
        if number >= 10 {
            costs.push(cost.as_secs_f64() * 1e6);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    median(costs)
}

async fn drain(reader: &mut OutboxReader, cursor: &mut Cursor) -> usize {
    let mut events = 0;
    loop {
        let page = reader.next(cursor, 1_000).await.unwrap();
        *cursor = page.cursor;
        events += page.events.len();
        if page.is_last && page.events.is_empty() {
            return events;
        }
    }
}
