//! The stream holds each committed event exactly once, in commit order of each row, after faults of relays, PostgreSQL and NATS.
//!
//! Four writers change random rows, some in transactions that are rolled back. Three relays, each in a process of its own behind
//! proxies, share the slices. The stream's duplicate window is 100 ms, so message ids would deduplicate nothing. In the end, the
//! stream is compared with the outbox, message by message.
//!
//! The test is small by default. `PGHERALD_EVENTS=100000 PGHERALD_KEYS=1000 PGHERALD_FAULTS=64` is its full size.
//! `PGHERALD_SEED` repeats a run.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::time::{Duration, Instant};

use async_nats::jetstream::{self, stream};
use fastrand::Rng;
use pgherald_nats::contract::headers;
use pgherald_testkit::nats::{NatsCluster, NatsServer};
use pgherald_testkit::{FaultProxy, Postgres};

use crate::process::Process;
use crate::program::{self, REQUEST};
use crate::support::{LIMIT, STREAM, Stored, connect, local, prepare, stored};

const LEASE: Duration = Duration::from_millis(800);
/// Longer than a lease and the time until other relays have taken over the slices.
const LATE: Duration = Duration::from_millis(3_000);
const WRITERS: u64 = 4;
const RELAYS: usize = 3;

#[derive(Clone, Copy)]
struct Size {
    events: u64,
    keys: i32,
    faults: usize,
    seed: u64,
}

impl Size {
    fn from_env() -> Self {
        let number = |name: &str, default: u64| match std::env::var(name) {
            Ok(text) => text.parse().unwrap(),
            Err(_) => default,
        };
        let size = Self {
            events: number("PGHERALD_EVENTS", 10_000),
            keys: number("PGHERALD_KEYS", 200).try_into().unwrap(),
            faults: number("PGHERALD_FAULTS", 16).try_into().unwrap(),
            seed: number("PGHERALD_SEED", fastrand::u64(..)),
        };
        println!(
            "PGHERALD_SEED={} ({} events, {} faults)",
            size.seed, size.events, size.faults
        );
        size
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    KillRelay,
    /// For longer than its lease.
    SuspendRelay,
    /// Batches of a suspended relay arrive after others have taken its slices over.
    LateBatches,
    CrashPostgres,
    KillNats,
    CutNats,
    /// Batches are stored after the relay has stopped waiting for their acknowledgement.
    DelayNats,
    CutPostgres,
}

const FAULTS: [Fault; 8] = [
    Fault::KillRelay,
    Fault::SuspendRelay,
    Fault::LateBatches,
    Fault::CrashPostgres,
    Fault::KillNats,
    Fault::CutNats,
    Fault::DelayNats,
    Fault::CutPostgres,
];

enum Nats {
    One(NatsServer),
    Cluster(NatsCluster),
}

impl Nats {
    fn servers(&self) -> &[NatsServer] {
        match self {
            Self::One(server) => std::slice::from_ref(server),
            Self::Cluster(cluster) => cluster.nodes(),
        }
    }

    fn replicas(&self) -> usize {
        self.servers().len()
    }

    async fn context(&self) -> jetstream::Context {
        let urls = self.servers().iter().map(NatsServer::url);
        let urls: Vec<async_nats::ServerAddr> = urls.map(|url| url.parse().unwrap()).collect();
        let client = async_nats::ConnectOptions::new().retry_on_initial_connect();
        jetstream::new(client.connect(urls).await.unwrap())
    }

    async fn kill_one(&self, random: &mut Rng) {
        let server = random.choice(self.servers()).unwrap();
        server.kill().await.unwrap();
        tokio::time::sleep(Duration::from_millis(random.u64(50..1_500))).await;
        server.start_again().await.unwrap();
        if let Self::Cluster(cluster) = self {
            cluster.wait_until_healthy().await.unwrap();
        }
    }
}

/// A relay in a process of its own, behind proxies to both sides.
struct Remote {
    process: Process,
    postgres: FaultProxy,
    nats: Vec<FaultProxy>,
}

impl Remote {
    async fn start(postgres: &Postgres, database: &str, nats: &Nats) -> Self {
        let to_postgres = FaultProxy::start((postgres.host(), postgres.port()))
            .await
            .unwrap();
        let (mut proxies, mut urls) = (Vec::new(), Vec::new());
        for server in nats.servers() {
            let proxy = FaultProxy::start((server.host(), server.port()))
                .await
                .unwrap();
            urls.push(proxy.url(&server.url()));
            proxies.push(proxy);
        }
        let database = to_postgres.url(database);
        Self {
            process: program::start(&database, &urls.join(","), LEASE),
            postgres: to_postgres,
            nats: proxies,
        }
    }
}

struct Stage {
    postgres: Postgres,
    nats: Nats,
    relays: Vec<Remote>,
    random: Rng,
}

impl Stage {
    /// Prepares a fault of a relay, before events are written.
    fn prepare(&mut self, fault: Fault) -> usize {
        let index = self.random.usize(..RELAYS);
        if fault == Fault::LateBatches {
            let nats = &self.relays[index].nats;
            nats.iter().for_each(|proxy| proxy.delay(LATE));
        }
        index
    }

    async fn happens(&mut self, fault: Fault, index: usize) {
        let random = &mut self.random;
        let span = Duration::from_millis(random.u64(50..600));
        let relay = &mut self.relays[index];
        match fault {
            Fault::KillRelay => relay.process.restart(),
            Fault::SuspendRelay => {
                relay.process.suspend();
                tokio::time::sleep(LEASE * 2 + span).await;
                relay.process.resume();
            }
            Fault::LateBatches => {
                relay.process.suspend();
                tokio::time::sleep(LATE + span).await;
                relay.nats.iter().for_each(FaultProxy::resume);
                relay.process.resume();
            }
            Fault::CrashPostgres => {
                self.postgres.kill().await.unwrap();
                self.postgres.start_again().await.unwrap();
            }
            Fault::KillNats => self.nats.kill_one(random).await,
            Fault::CutNats => relay.nats.iter().for_each(FaultProxy::cut),
            Fault::DelayNats => {
                relay
                    .nats
                    .iter()
                    .for_each(|proxy| proxy.delay(REQUEST + span));
                tokio::time::sleep(REQUEST * 2).await;
                relay.nats.iter().for_each(FaultProxy::resume);
            }
            Fault::CutPostgres => relay.postgres.cut(),
        }
    }
}

/// Changes random rows until `target` events were written, no faster than `allowed` says.
async fn write(url: String, mut random: Rng, keys: i32, target: u64, allowed: Rc<Cell<u64>>) {
    let mut written = 0;
    'connections: while written < target {
        let Ok((client, connection)) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await
        else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        tokio::spawn(connection);
        while written < target {
            while written >= allowed.get() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let mut ids: Vec<i32> = (0..random.i32(1..=20))
                .map(|_| random.i32(1..=keys))
                .collect();
            ids.sort_unstable();
            ids.dedup();
            let (end, events) = match random.u8(..) < 20 {
                true => ("ROLLBACK", 0),
                false => ("COMMIT", ids.len() as u64),
            };
            let ids: Vec<String> = ids.iter().map(i32::to_string).collect();
            // In one order, so that writers do not block each other for ever.
            let sql = format!(
                "BEGIN; INSERT INTO jobs SELECT i, 1 FROM unnest(ARRAY[{}]) AS i ORDER BY i
                 ON CONFLICT (id) DO UPDATE SET value = jobs.value + 1; {end}",
                ids.join(", ")
            );
            match client.batch_execute(&sql).await {
                Ok(()) => written += events,
                Err(_) if client.is_closed() => continue 'connections,
                Err(_) => _ = client.batch_execute("ROLLBACK").await,
            }
            tokio::task::yield_now().await;
        }
    }
}

/// A row of the outbox.
#[derive(Debug, PartialEq)]
struct Row {
    xid: String,
    recorded_us: i64,
    key: String,
}

async fn outbox(url: &str) -> BTreeMap<i64, Row> {
    let client = connect(url).await;
    let sql = "SELECT id, xid::text, (extract(epoch FROM sent_at) * 1000000)::bigint, key FROM pgherald.outbox";
    let rows = client.query(sql, &[]).await.unwrap();
    let row = |row: &tokio_postgres::Row| {
        (
            row.get(0),
            Row {
                xid: row.get(1),
                recorded_us: row.get(2),
                key: row.get(3),
            },
        )
    };
    rows.iter().map(row).collect()
}

/// Compares the stream with the outbox. Returns everything that is wrong.
fn compare(outbox: &BTreeMap<i64, Row>, stored: &[Stored]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut seen = HashMap::new();
    let mut last = HashMap::new();
    for one in stored {
        let Some(id) = one.event() else { continue };
        if let Some(before) = seen.insert(id, one.sequence) {
            wrong.push(format!(
                "event {id} is stored twice, at {before} and {}",
                one.sequence
            ));
            continue;
        }
        let Some(row) = outbox.get(&id) else {
            wrong.push(format!(
                "event {id} at {} is not in the outbox",
                one.sequence
            ));
            continue;
        };
        let header = |name| one.headers.get(name).unwrap().as_str().to_owned();
        let found = (header(headers::TRANSACTION), header(headers::RECORDED));
        let is_it = found == (row.xid.clone(), row.recorded_us.to_string())
            && one.payload.contains(&format!("\"keys\":[{}]", row.key));
        if !is_it {
            wrong.push(format!(
                "event {id} at {} is another one: {one:?}, {row:?}",
                one.sequence
            ));
        }
        let (slice, before) = last.entry(row.key.clone()).or_insert((one.slice, 0));
        if *before > id || *slice != one.slice {
            wrong.push(format!(
                "event {id} of {} at {} after {before}",
                row.key, one.sequence
            ));
        }
        *before = id;
    }
    let missing = outbox.keys().filter(|id| !seen.contains_key(id));
    wrong.extend(missing.map(|id| format!("event {id} is missing: {:?}", outbox[id])));
    wrong
}

/// Waits until the stream has as many events as the outbox, as long as there is progress.
async fn settled(nats: &Nats, expected: usize) -> Vec<Stored> {
    let context = nats.context().await;
    let (mut since, mut before) = (Instant::now(), 0);
    loop {
        let all = stored(&context).await;
        let count = all.iter().filter(|one| one.event().is_some()).count();
        if count >= expected || since.elapsed() > LIMIT {
            return all;
        }
        if count > before {
            (since, before) = (Instant::now(), count);
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

async fn run(size: Size, nats: Nats) {
    let mut random = Rng::with_seed(size.seed);
    let postgres = Postgres::builder().start().await.unwrap();
    let url = postgres.create_database().await.unwrap();
    let client = connect(&url).await;
    prepare(&client).await;
    let config = stream::Config {
        name: STREAM.to_owned(),
        subjects: vec!["pg.>".to_owned()],
        num_replicas: nats.replicas(),
        duplicate_window: Duration::from_millis(100),
        allow_atomic_publish: true,
        ..stream::Config::default()
    };
    nats.context().await.create_stream(config).await.unwrap();
    let mut relays = Vec::new();
    for _ in 0..RELAYS {
        relays.push(Remote::start(&postgres, &url, &nats).await);
    }
    let allowed = Rc::new(Cell::new(0));
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| {
            let random = random.fork();
            let target = size.events / WRITERS;
            tokio::task::spawn_local(write(
                url.clone(),
                random,
                size.keys,
                target,
                Rc::clone(&allowed),
            ))
        })
        .collect();
    let mut stage = Stage {
        postgres,
        nats,
        relays,
        random,
    };
    let mut round: Vec<Fault> = Vec::new();
    for number in 0..size.faults {
        if round.is_empty() {
            round = FAULTS.to_vec();
            stage.random.shuffle(&mut round);
        }
        let share = size.events / WRITERS * (number as u64 + 1) / size.faults as u64;
        tokio::time::sleep(Duration::from_millis(stage.random.u64(50..400))).await;
        let fault = round.pop().unwrap();
        let index = stage.prepare(fault);
        // The fault happens while these events are in flight.
        allowed.set(share);
        tokio::time::sleep(Duration::from_millis(stage.random.u64(0..100))).await;
        println!("fault {number}: {fault:?}");
        stage.happens(fault, index).await;
    }
    allowed.set(u64::MAX);
    for writer in writers {
        writer.await.unwrap();
    }
    let outbox = outbox(&url).await;
    let stored = settled(&stage.nats, outbox.len()).await;
    let resyncs: Vec<&str> = stored.iter().filter_map(Stored::resync).collect();
    println!(
        "{} events, {} messages, resyncs: {resyncs:?}",
        outbox.len(),
        stored.len()
    );
    let wrong = compare(&outbox, &stored);
    assert!(
        wrong.is_empty(),
        "seed {}: {} wrong, the first: {:#?}",
        size.seed,
        wrong.len(),
        &wrong[..wrong.len().min(10)]
    );
    assert!(
        resyncs.is_empty(),
        "nothing was lost, so nothing is announced: {resyncs:?}"
    );
}

#[tokio::test]
async fn stream_holds_each_event_once_after_faults_of_relays_and_servers() {
    let nats = Nats::One(NatsServer::start().await.unwrap());
    local(run(Size::from_env(), nats)).await;
}

#[tokio::test]
async fn replicated_stream_holds_each_event_once_while_nodes_are_killed() {
    let nats = Nats::Cluster(NatsCluster::start().await.unwrap());
    local(run(Size::from_env(), nats)).await;
}
