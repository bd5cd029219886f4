//! Looks at a group while a run is under way: where its cursors are, and how far it is behind.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use tokio::task::JoinHandle;
use tokio_postgres::Client;

use crate::cursors::{Cursors, Sample};
use crate::stage::connect_at_last;

const EVERY: Duration = Duration::from_millis(40);
/// A group that makes no progress for this long, with no fault under way, has come to a halt.
const STANDSTILL: Duration = Duration::from_secs(90);

const CURSORS: &str = "SELECT slice, epoch, generation, cursor, pg_postmaster_start_time() FROM pgherald.consumer_cursor";
const LAG: &str =
    "SELECT coalesce(sum(lag_events), 0)::bigint, coalesce(sum(parked + dead_letters), 0)::bigint
    FROM pgherald.consumer_group_status";

/// Looks again and again until it is dropped.
pub(crate) struct Watch {
    pub(crate) cursors: Arc<Mutex<Cursors>>,
    /// Events that the group has still to handle.
    pub(crate) behind: Arc<AtomicI64>,
    task: JoinHandle<()>,
}

impl Watch {
    pub(crate) fn start(url: &str) -> Self {
        let cursors = Arc::<Mutex<Cursors>>::default();
        let behind = Arc::<AtomicI64>::default();
        let task = tokio::spawn(look(
            url.to_owned(),
            Arc::clone(&cursors),
            Arc::clone(&behind),
        ));
        Self {
            cursors,
            behind,
            task,
        }
    }

    /// Waits until nothing is left to do, for as long as there is progress. Returns what is left if there is none.
    pub(crate) async fn settled(url: &str) -> Result<(), String> {
        let mut client = connect_at_last(url).await;
        let (mut before, mut since) = ((-1, -1), Instant::now());
        loop {
            let now = match client.query_one(LAG, &[]).await {
                Ok(row) => (row.get(0), row.get(1)),
                Err(_) => {
                    client = connect_at_last(url).await;
                    continue;
                }
            };
            if now == (0, 0) {
                return Ok(());
            }
            if now != before {
                (before, since) = (now, Instant::now());
            }
            if since.elapsed() > STANDSTILL {
                let (lag, parked): (i64, i64) = now;
                return Err(format!(
                    "the group came to a halt with {lag} events to read and {parked} parked or dead"
                ));
            }
            tokio::time::sleep(EVERY).await;
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn look(url: String, cursors: Arc<Mutex<Cursors>>, behind: Arc<AtomicI64>) {
    loop {
        let client = connect_at_last(&url).await;
        while !client.is_closed() {
            // Fails with the connection.
            let _ = sample(&client, &cursors).await;
            if let Ok(row) = client.query_one(LAG, &[]).await {
                behind.store(row.get(0), Relaxed);
            }
            tokio::time::sleep(EVERY).await;
        }
    }
}

async fn sample(client: &Client, cursors: &Mutex<Cursors>) -> Result<(), tokio_postgres::Error> {
    let rows = client.query(CURSORS, &[]).await?;
    let mut cursors = cursors.lock().unwrap();
    for row in rows {
        let sample = Sample {
            at: SystemTime::now(),
            server: row.get(4),
            epoch: row.get(1),
            generation: row.get(2),
            cursor: row.get(3),
        };
        cursors.note(row.get(0), sample);
    }
    Ok(())
}
