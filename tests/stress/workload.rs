//! Sessions that write concurrently until they are stopped.
//!
//! - *Writers* change few rows, so each row is written often. Some transactions are rolled back, completely or to a savepoint.
//! - *Holders* keep transactions open while others run. They take outbox ids and transaction ids early and commit late, so rows
//!   become visible out of the order of their ids.
//! - The *burner* takes outbox ids and transaction ids, and writes nothing.
//!
//! They run in threads of their own, so that consumers in this process do not slow them down.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fastrand::Rng;
use tokio_postgres::Client;

use crate::stage::connect_at_last;

/// Rows that writers share.
const ROWS: i32 = 40;
/// The first row of the first holder. Each holder has its own rows, so that its locks do not block the writers.
const HELD: i32 = 1_000;
const ROWS_OF_HOLDER: i32 = 5;
/// Writers wait for consumers that are this many events behind.
const FAR_BEHIND: i64 = 2_000;

/// The pace of the writers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speed {
    /// No faster than a consumer can follow.
    Paced,
    /// Without pauses.
    Full,
}

pub(crate) struct Workload {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    url: String,
    speed: Speed,
    /// The last number assigned to a write.
    numbers: AtomicI64,
    /// Number of writes whose commit was confirmed.
    committed: AtomicI64,
    /// How many events the consumers are behind.
    behind: Arc<AtomicI64>,
    is_over: AtomicBool,
}

impl Workload {
    /// Starts `writers` writers, twice as many holders and a burner. They wait while consumers are far `behind`.
    pub(crate) fn start(
        url: &str,
        random: &mut Rng,
        writers: usize,
        speed: Speed,
        behind: Arc<AtomicI64>,
    ) -> Self {
        let shared = Arc::new(Shared {
            url: url.to_owned(),
            speed,
            numbers: AtomicI64::new(0),
            committed: AtomicI64::new(0),
            behind,
            is_over: AtomicBool::new(false),
        });
        let mut threads: Vec<_> = (0..writers)
            .map(|_| {
                let (shared, random) = (Arc::clone(&shared), random.fork());
                thread(async move { write(&shared, random).await })
            })
            .collect();
        let others = Arc::clone(&shared);
        let holders: Vec<(i32, Rng)> = (0..2 * writers as i32)
            .map(|index| (HELD + index * ROWS_OF_HOLDER, random.fork()))
            .collect();
        let burner = random.fork();
        threads.push(thread(async move {
            let holding: Vec<_> = holders
                .into_iter()
                .map(|(first, random)| {
                    let shared = Arc::clone(&others);
                    tokio::spawn(async move { hold(&shared, random, first).await })
                })
                .collect();
            burn(&others, burner).await;
            for holder in holding {
                holder.await.unwrap();
            }
        }));
        Self { shared, threads }
    }

    /// Number of writes whose commit was confirmed so far.
    pub(crate) fn committed(&self) -> i64 {
        self.shared.committed.load(Relaxed)
    }

    /// Ends all sessions. Returns a number that is greater than those of all writes.
    pub(crate) async fn end(self) -> i64 {
        self.shared.is_over.store(true, Relaxed);
        for thread in self.threads {
            let joined = tokio::task::spawn_blocking(|| thread.join().unwrap());
            joined.await.unwrap();
        }
        self.shared.numbers.load(Relaxed) + 1
    }
}

fn thread(work: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(work);
    })
}

impl Shared {
    fn is_over(&self) -> bool {
        self.is_over.load(Relaxed)
    }

    /// Waits while consumers are far behind. Returns whether the run continues.
    async fn goes_on(&self) -> bool {
        while self.behind.load(Relaxed) > FAR_BEHIND && !self.is_over() {
            pause(10).await;
        }
        !self.is_over()
    }

    /// Waits for the given time, but not beyond the end of the run.
    async fn stay_open(&self, millis: u64) {
        let until = Instant::now() + Duration::from_millis(millis);
        while Instant::now() < until && !self.is_over() {
            let rest = until.saturating_duration_since(Instant::now());
            tokio::time::sleep(rest.min(Duration::from_millis(20))).await;
        }
    }

    /// The statement that writes these rows.
    fn write_of(&self, rows: &[i32]) -> String {
        let numbers: Vec<i64> = rows
            .iter()
            .map(|_| self.numbers.fetch_add(1, Relaxed) + 1)
            .collect();
        format!("SELECT write('{}', '{}')", array(rows), array(&numbers))
    }

    /// Runs a transaction, or its end. Returns whether it succeeded. If not, it is rolled back.
    async fn run(&self, client: &Client, sql: &str, writes: i64) -> bool {
        let is_done = client.batch_execute(sql).await.is_ok();
        if is_done {
            self.committed.fetch_add(writes, Relaxed);
        } else {
            // Fails if the connection is lost.
            let _ = client.batch_execute("ROLLBACK").await;
        }
        is_done
    }
}

/// An array literal of PostgreSQL, for example `{1,2}`.
fn array<T: ToString>(elements: &[T]) -> String {
    let elements: Vec<String> = elements.iter().map(T::to_string).collect();
    format!("{{{}}}", elements.join(","))
}

async fn pause(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

/// `BEGIN`. If the server commits synchronously, most transactions still commit asynchronously.
fn beginning(random: &mut Rng) -> &'static str {
    match random.u8(..4) {
        0 => "BEGIN",
        _ => "BEGIN; SET LOCAL synchronous_commit = off",
    }
}

/// A transaction of a writer, and the number of writes that it commits.
fn transaction(shared: &Shared, random: &mut Rng) -> (String, i64) {
    if shared.speed == Speed::Full {
        return (shared.write_of(&[random.i32(0..ROWS)]), 1);
    }
    // Sorted, because transactions that lock rows in different orders deadlock.
    let mut rows: Vec<i32> = (0..random.usize(1..5))
        .map(|_| random.i32(0..ROWS))
        .collect();
    rows.sort_unstable();
    rows.dedup();
    let rows_of_statement = if random.bool() { 1 } else { rows.len() };
    let mut parts = vec![beginning(random).to_owned()];
    let mut writes = 0;
    for rows in rows.chunks(rows_of_statement) {
        let write = shared.write_of(rows);
        let (sql, counts) = match random.u8(..10) {
            0 => (format!("SAVEPOINT s; {write}; ROLLBACK TO s"), false),
            1 => (format!("SAVEPOINT s; {write}; RELEASE s"), true),
            _ => (write, true),
        };
        parts.push(sql);
        writes += if counts { rows.len() as i64 } else { 0 };
    }
    let is_rolled_back = random.u8(..10) == 0;
    parts.push(if is_rolled_back { "ROLLBACK" } else { "COMMIT" }.to_owned());
    (parts.join("; "), if is_rolled_back { 0 } else { writes })
}

async fn write(shared: &Shared, mut random: Rng) {
    while !shared.is_over() {
        let client = connect_at_last(&shared.url).await;
        while shared.goes_on().await && !client.is_closed() {
            let (sql, writes) = transaction(shared, &mut random);
            shared.run(&client, &sql, writes).await;
            if shared.speed == Speed::Paced && random.u8(..10) == 0 {
                pause(random.u64(..20)).await;
            }
        }
    }
}

async fn hold(shared: &Shared, mut random: Rng, first: i32) {
    while !shared.is_over() {
        let client = connect_at_last(&shared.url).await;
        while shared.goes_on().await && !client.is_closed() {
            let row = |random: &mut Rng| first + random.i32(0..ROWS_OF_HOLDER);
            let (early, late) = match random.u8(..4) {
                // Take a transaction id, and write no row until late.
                0 => ("SELECT pg_current_xact_id()".to_owned(), 1),
                _ => (shared.write_of(&[row(&mut random)]), 2),
            };
            let sql = format!("{}; {early}", beginning(&mut random));
            if !shared.run(&client, &sql, 0).await {
                continue;
            }
            // Mostly short, now and then long enough for many other transactions.
            let longest = if random.u8(..20) == 0 { 5_000 } else { 200 };
            shared.stay_open(random.u64(1..longest)).await;
            let write = shared.write_of(&[row(&mut random)]);
            let (end, writes) = match random.u8(..10) {
                0 => ("ROLLBACK", 0),
                _ => ("COMMIT", late),
            };
            shared
                .run(&client, &format!("{write}; {end}"), writes)
                .await;
        }
    }
}

async fn burn(shared: &Shared, mut random: Rng) {
    while !shared.is_over() {
        let client = connect_at_last(&shared.url).await;
        while shared.goes_on().await && !client.is_closed() {
            let ids = random.u8(1..=100);
            let sql = format!(
                "SELECT pg_current_xact_id(); SELECT count(nextval('pgherald.outbox_id')) FROM generate_series(1, {ids})"
            );
            // Only the ids matter, not the outcome.
            let _ = client.batch_execute(&sql).await;
            if shared.speed == Speed::Paced {
                pause(random.u64(..5)).await;
            }
        }
    }
}
