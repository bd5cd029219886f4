//! Two `OutboxReader`s beside writers that never pause, without faults.
//!
//! This mode shows races between a cursor and beginning and ending transactions most often. A run has rounds with an audit
//! each, so that a reader's memory is bounded and a loss is described soon after it happened.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use pgherald_core::__private::host::outbox::OutboxReader;

use fastrand::Rng;

use crate::audit::Audit;
use crate::cursors::{Cursors, Sample};
use crate::faults::Journal;
use crate::handlers::Job;
use crate::settings::Settings;
use crate::stage::{Durability, Stage, connect, connect_at_last};
use crate::workload::{Speed, Workload};

const READERS: usize = 2;
const WRITERS: usize = 2;
/// Minimum number of committed writes per round.
const WRITES: i64 = 8_000;
/// Number of rounds in a short run.
const ROUNDS: usize = 1;

/// What a reader read in a round.
struct Read {
    seen: HashSet<i64>,
    /// Stored under slice 0.
    cursors: Cursors,
    twice: u64,
    pages: u64,
    gaps: u64,
}

pub(crate) async fn run() {
    let settings = Settings::from_env("reader");
    let mut random = Rng::with_seed(settings.seed);
    let stage = Stage::start(Durability::Crowded).await;
    let began = Instant::now();
    let mut rounds = 0;
    while settings.goes_on(began, rounds >= ROUNDS) {
        rounds += 1;
        round(&stage, &settings, &mut random, rounds).await;
    }
}

async fn round(stage: &Stage, settings: &Settings, random: &mut Rng, number: usize) {
    let client = connect_at_last(&stage.url).await;
    // No reader needs the rows of the last round.
    let clear = "TRUNCATE written; SELECT pgherald.trim_outbox('0 s', 1 << 30)";
    client.batch_execute(clear).await.unwrap();
    let (is_over, mut readers) = (Arc::new(AtomicBool::new(false)), Vec::new());
    for _ in 0..READERS {
        let (ready, begun) = tokio::sync::oneshot::channel();
        readers.push(reader(stage.url.clone(), Arc::clone(&is_over), ready));
        begun.await.unwrap();
    }
    let began = Instant::now();
    let workload = Workload::start(&stage.url, random, WRITERS, Speed::Full, Default::default());
    while workload.committed() < WRITES {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    workload.end().await;
    // From here on every page request sees all writes.
    is_over.store(true, Relaxed);
    let journal = Journal::default();
    for reader in readers {
        let joined = tokio::task::spawn_blocking(|| reader.join().unwrap());
        let read = joined.await.unwrap();
        let Read {
            seen,
            cursors,
            twice,
            pages,
            gaps,
        } = &read;
        let mut audit = Audit::new(&client, &journal, cursors);
        audit.seen = Some(seen);
        let written = audit.numbers("SELECT n FROM written ORDER BY n").await;
        println!(
            "reader: round {number}, {} writes, {pages} pages in {:.1?}",
            written.len(),
            began.elapsed()
        );
        let lost: Vec<i64> = written.into_iter().filter(|n| !seen.contains(n)).collect();
        audit.lost(&lost).await;
        audit.moved_back();
        if *twice + *gaps > 0 {
            audit.findings.push(format!(
                "{twice} rows were read twice, {gaps} gaps reported"
            ));
        }
        audit.conclude(settings.seed, "");
    }
}

/// Reads in its own thread until every row written before the end has been read.
fn reader(
    url: String,
    is_over: Arc<AtomicBool>,
    ready: tokio::sync::oneshot::Sender<()>,
) -> JoinHandle<Read> {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(read(url, is_over, ready))
    })
}

async fn read(
    url: String,
    is_over: Arc<AtomicBool>,
    ready: tokio::sync::oneshot::Sender<()>,
) -> Read {
    let client = Arc::new(connect(&url).await.unwrap());
    let start = client
        .query_one("SELECT pg_postmaster_start_time()", &[])
        .await;
    let server = start.unwrap().get(0);
    let mut reader = OutboxReader::new(client);
    let mut cursor = reader.now().await.unwrap();
    ready.send(()).unwrap();
    let mut read = Read {
        seen: HashSet::new(),
        cursors: Cursors::default(),
        twice: 0,
        pages: 0,
        gaps: 0,
    };
    loop {
        let was_over = is_over.load(Relaxed);
        let page = reader.next(&cursor, 500).await.unwrap();
        read.pages += 1;
        read.gaps += u64::from(page.is_gap);
        for event in &page.events {
            // An upsert of one row is one event.
            read.twice += u64::from(!read.seen.insert(Job::of(event).n));
        }
        cursor = page.cursor;
        let sample = Sample {
            at: SystemTime::now(),
            server,
            epoch: 0,
            generation: 0,
            cursor: cursor.to_string(),
        };
        read.cursors.note(0, sample);
        if was_over && page.is_last && page.events.is_empty() {
            return read;
        }
    }
}
