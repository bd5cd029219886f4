//! Samples a group during a run: its cursors and its lag.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use tokio::task::JoinHandle;
use tokio_postgres::Client;

use crate::cursors::{Cursors, Sample};
use crate::stage::connect_at_last;

const EVERY: Duration = Duration::from_millis(40);
/// A group without progress for this long, while no fault is under way, has stalled.
const STANDSTILL: Duration = Duration::from_secs(90);

const CURSORS: &str = "SELECT slice, epoch, generation, cursor, pg_postmaster_start_time() FROM pgherald.consumer_cursor
    WHERE group_name = 'workers'";
const LAG: &str =
    "SELECT coalesce(sum(lag_events), 0)::bigint, coalesce(sum(parked + dead_letters), 0)::bigint
    FROM pgherald.consumer_group_status";

/// Samples the group until it is dropped.
pub(crate) struct Watch {
    pub(crate) cursors: Arc<Mutex<Cursors>>,
    /// Events that the group has not handled yet.
    pub(crate) behind: Arc<AtomicI64>,
    task: JoinHandle<()>,
}

impl Watch {
    pub(crate) fn start(url: &str) -> Self {
        let cursors = Arc::<Mutex<Cursors>>::default();
        let behind = Arc::<AtomicI64>::default();
        let task = tokio::spawn(sample_until_dropped(
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

    /// Waits until the group has nothing left to do, as long as it makes progress. Otherwise returns what is left.
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
                    "the group stalled with {lag} events to read and {parked} parked or dead"
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

async fn sample_until_dropped(url: String, cursors: Arc<Mutex<Cursors>>, behind: Arc<AtomicI64>) {
    loop {
        let client = connect_at_last(&url).await;
        while !client.is_closed() {
            // An error ends the sampling on this connection. A new connection follows.
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
