//! An `OutboxSource` whose server fails, and whose owner is suspended now and then.

use std::time::{Duration, Instant};

use fastrand::Rng;
use pgherald_core::{Backoff, OutboxSource};
use tokio_postgres::Client;

use crate::audit::Audit;
use crate::cursors::Cursors;
use crate::faults::{Fault, Faults};
use crate::follower::Follower;
use crate::settings::Settings;
use crate::stage::{Durability, Stage, connect_at_last, spec};
use crate::workload::{Speed, Workload};

/// Minimum number of committed writes in a short run.
const WRITES: i64 = 1_500;
/// How many marker rows are written before the run fails. Another one is written each time that a marker does not arrive.
const MARKERS: i64 = 9;
/// How long to wait for a marker row.
const PATIENCE: Duration = Duration::from_secs(10);

const ROUND: [Fault; 8] = [
    Fault::Stop,
    Fault::Stop,
    Fault::Terminate,
    Fault::Terminate,
    Fault::Trim,
    Fault::Trim,
    Fault::Restart,
    Fault::Crash,
];

pub(crate) async fn run() {
    let settings = Settings::from_env("source");
    let mut random = Rng::with_seed(settings.seed);
    let durability = Durability::drawn(&mut random);
    let stage = Stage::start(durability).await;
    let mut faults = Faults::new(
        random.fork(),
        settings.round(&ROUND),
        settings.duration.is_none(),
    );
    let source = OutboxSource::builder(stage.config())
        .watch(spec())
        .heartbeat(Duration::from_millis(300), Duration::from_secs(1))
        .poll_interval(Duration::from_millis(500))
        .backoff(Backoff::new(
            Duration::from_millis(10),
            Duration::from_millis(200),
        ))
        .build()
        .unwrap();
    let follower = Follower::start(&stage.url, source);
    let writers = random.usize(1..=3);
    let workload = Workload::start(
        &stage.url,
        &mut random,
        writers,
        Speed::Paced,
        Default::default(),
    );
    let began = Instant::now();
    while settings.goes_on(
        began,
        faults.has_dealt_all() && workload.committed() >= WRITES,
    ) {
        // Some faults hit a source that is recovering from the last one, others a live one.
        if random.bool() {
            follower.live(PATIENCE).await;
        }
        tokio::time::sleep(faults.pause()).await;
        match faults.deal() {
            Some(Fault::Stop) => {
                let span = faults.standstill();
                faults.journal.note(format!("stop for {span:?}"));
                follower.stop(span);
            }
            Some(fault) => faults.inject(fault, &stage).await,
            None => {}
        }
    }
    let number = workload.end().await;
    let client = connect_at_last(&stage.url).await;
    let came = marker_arrives(&client, &follower, number).await;

    let known = follower.known.lock().unwrap().broken.clone();
    let cursors = Cursors::default();
    let (seen, reads, is_live, counts) = {
        let known = follower.known.lock().unwrap();
        let counts = format!(
            "{} events, {} resyncs, {} resumptions",
            known.events,
            known.reads.len(),
            known.resumptions
        );
        (
            known.seen.clone(),
            known.reads.clone(),
            known.is_live,
            counts,
        )
    };
    println!(
        "source: {durability:?}, {writers} writers, {} writes tried, {counts}, {} in {:.0?}",
        number - 1,
        faults.journal.counts(),
        began.elapsed()
    );
    let mut audit = Audit::new(&client, &faults.journal, &cursors);
    audit.seen = Some(&seen);
    audit.list("signals broke the contract", &known);
    if !came {
        let state = if is_live { "live" } else { "not live" };
        audit
            .findings
            .push(format!("no marker row arrived; the source is {state}"));
    }
    let written = audit.numbers("SELECT n FROM written ORDER BY n").await;
    let unseen: Vec<i64> = written.into_iter().filter(|n| !seen.contains(n)).collect();
    let lost = not_read(&client, &unseen, &reads).await;
    audit.lost(&lost).await;
    audit.conclude(settings.seed, "");
}

/// Writes a marker row when all other transactions have ended, and waits until it arrives while the source is live. Each earlier
/// row has then arrived or is lost. A marker that does not arrive is followed by another one. Returns `false` if none arrives.
async fn marker_arrives(client: &Client, follower: &Follower, number: i64) -> bool {
    for marker in number..number + MARKERS {
        follower.live(PATIENCE).await;
        let reads = follower.known.lock().unwrap().reads.len();
        let sql = format!("SELECT write('{{0}}', '{{{marker}}}')");
        client.batch_execute(&sql).await.unwrap();
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            {
                let known = follower.known.lock().unwrap();
                if known.is_live && known.seen.contains(&marker) {
                    return true;
                }
                // A resync may cover the row.
                if known.reads.len() > reads {
                    break;
                }
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    false
}

/// The writes that were not visible to any read after a resync.
async fn not_read(
    client: &Client,
    unseen: &[i64],
    reads: &[(std::time::SystemTime, String)],
) -> Vec<i64> {
    let (servers, snapshots): (Vec<_>, Vec<_>) = reads.iter().cloned().unzip();
    let sql = "SELECT n FROM written AS w WHERE n = ANY ($1) AND NOT EXISTS (
            SELECT FROM unnest($2::timestamptz[], $3::text[]) AS r (server, snapshot)
            WHERE w.server < r.server OR w.server = r.server AND pg_visible_in_snapshot(w.xid, r.snapshot::pg_snapshot)
        ) ORDER BY n";
    let rows = client
        .query(sql, &[&unseen, &servers, &snapshots])
        .await
        .unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}
