//! DDL while a group and a cache run and rows are written: each row is handled, or a resync announces its loss.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pgherald::trigger::{self, TriggerSpec};
use pgherald::{
    Attempt, Backoff, CacheBuilder, CacheHandle, DurableOptions, Event, EventHandler,
    HandlerResult, Herald, Key, Resync, RetryPolicy, Table, TableName,
};

use crate::support::{LIMIT, Log, Scene, YEARS, local, options, until};

struct Job;

impl Table for Job {
    const NAME: &'static str = "jobs";
    const KEY: &'static [&'static str] = &["id"];
    type Key = i64;
}

/// The requirements of the group. The triggers record more columns.
fn jobs() -> TriggerSpec {
    TriggerSpec::of::<Job>()
        .unwrap()
        .columns(["value"])
        .outbox()
}

/// The rows and resyncs that the handler received, with the steps at which it did. Rows are identified by id.
#[derive(Clone, Default)]
struct Seen {
    steps: Arc<AtomicUsize>,
    rows: Arc<Mutex<BTreeMap<i64, usize>>>,
    resyncs: Arc<Mutex<Vec<usize>>>,
}

impl Seen {
    fn step(&self) -> usize {
        self.steps.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Committed rows that were not handled and are not covered by a later resync.
    fn lost(&self, committed: &[(i64, usize)]) -> Vec<i64> {
        let last = self
            .resyncs
            .lock()
            .unwrap()
            .last()
            .copied()
            .unwrap_or_default();
        let rows = self.rows.lock().unwrap();
        let lost = committed
            .iter()
            .filter(|(id, step)| !rows.contains_key(id) && *step > last);
        lost.map(|(id, _)| *id).collect()
    }
}

struct Note(Seen);

impl EventHandler for Note {
    type Event = Event;

    async fn handle(&self, event: Event, _: Attempt) -> HandlerResult {
        let id = event.key().and_then(i64::from_row_key).ok_or("no key")?;
        let step = self.0.step();
        self.0.rows.lock().unwrap().insert(id, step);
        Ok(())
    }

    async fn resync(&self, _: Resync) -> HandlerResult {
        let step = self.0.step();
        self.0.resyncs.lock().unwrap().push(step);
        Ok(())
    }
}

/// Inserts rows into the table named `jobs` one by one, and updates each, until it is ended.
struct Writer {
    committed: Rc<RefCell<Vec<(i64, usize)>>>,
    ends: Rc<Cell<bool>>,
    done: tokio::task::JoinHandle<()>,
}

impl Writer {
    async fn start(scene: &Scene, seen: &Seen) -> Self {
        let client = scene.connect().await;
        let (committed, ends) = (Rc::new(RefCell::new(Vec::new())), Rc::new(Cell::new(false)));
        let (list, stop, seen) = (Rc::clone(&committed), Rc::clone(&ends), seen.clone());
        let done = tokio::task::spawn_local(async move {
            for id in 1_000_i64.. {
                if stop.get() {
                    return;
                }
                // Not prepared, because the table is altered meanwhile.
                let sql = format!(
                    "INSERT INTO jobs (id, value) VALUES ({id}, 1); UPDATE jobs SET value = 2 WHERE id = {id}"
                );
                // During a swap no table has this name for a moment.
                while let Err(error) = client.batch_execute(&sql).await {
                    assert!(
                        error.code() == Some(&tokio_postgres::error::SqlState::UNDEFINED_TABLE),
                        "{error:?}"
                    );
                    tokio::task::yield_now().await;
                }
                list.borrow_mut().push((id, seen.step()));
            }
        });
        Self {
            committed,
            ends,
            done,
        }
    }

    async fn wait_for_rows(&self, more: usize) {
        let written = self.committed.borrow().len() + more;
        let is = || self.committed.borrow().len() >= written;
        until("more rows", is, || "the writer is stuck".to_owned()).await;
    }

    async fn end(self) -> Vec<(i64, usize)> {
        self.ends.set(true);
        self.done.await.unwrap();
        self.committed.take()
    }
}

/// The row in the database.
async fn row(scene: &Scene, id: i64) -> Result<String, String> {
    // As text, by a statement that is not prepared, because the table is altered meanwhile.
    let sql = format!("SELECT row_to_json(j)::text FROM jobs AS j WHERE id = {id}");
    let rows = scene
        .client
        .simple_query(&sql)
        .await
        .map_err(|error| error.to_string())?;
    let row = rows.iter().find_map(|message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    row.map(str::to_owned).ok_or_else(|| "no row".to_owned())
}

async fn read(cache: &CacheHandle<i64, String>, scene: &Scene, id: i64) -> Option<String> {
    let read = cache.get_or_load(id, || row(scene, id)).await;
    read.ok().map(|value| value.as_str().to_owned())
}

/// Runs `ddl` while rows are written, installs the triggers again, and checks that no loss is silent.
async fn assert_no_silent_loss(ddl: &str) {
    let scene = Scene::new().await;
    scene
        .run(
            "ALTER TABLE jobs ADD COLUMN note text; DROP TABLE others;
            CREATE TABLE others (LIKE jobs INCLUDING ALL); INSERT INTO jobs SELECT n, 0 FROM generate_series(1, 50) AS n;
            INSERT INTO others SELECT n, -1 FROM generate_series(1, 50) AS n",
        )
        .await;
    let every = |table: &str| {
        let table = pgherald::TableName::new("public", table).unwrap();
        TriggerSpec::new(table)
            .key_columns(["id"])
            .every_column()
            .outbox()
    };
    trigger::install(&scene.client, &[every("jobs"), every("others")])
        .await
        .unwrap();
    let soon = Duration::from_millis(20);
    let herald = Herald::builder(scene.config())
        .watch_with(jobs())
        .source(|source| {
            source
                .heartbeat(Duration::from_millis(200), LIMIT)
                .backoff(Backoff::new(soon, soon))
        })
        .start()
        .await
        .unwrap();
    let cache = herald
        .start_cache(CacheBuilder::new("jobs").row_of::<Job>())
        .await
        .unwrap();
    let seen = Seen::default();
    let durable = DurableOptions::new("g")
        .slices(4)
        .lease(Duration::from_secs(1));
    let noted = seen.clone();
    herald
        .start_durable(durable, move || Note(noted.clone()))
        .await
        .unwrap();
    herald.live().await.unwrap();
    let writer = Writer::start(&scene, &seen).await;
    writer.wait_for_rows(20).await;
    for id in 1..=50 {
        read(&cache, &scene, id).await;
    }
    scene.run(ddl).await;
    writer.wait_for_rows(20).await;
    trigger::install(&scene.client, &[jobs(), every("others")])
        .await
        .unwrap();
    writer.wait_for_rows(20).await;
    let committed = writer.end().await;
    let is_whole = || seen.lost(&committed).is_empty();
    until(ddl, is_whole, || {
        format!("lost: {:?} of {committed:?}", seen.lost(&committed))
    })
    .await;
    scene
        .becomes(
            "SELECT lag_events + parked + dead_letters FROM pgherald.consumer_group_status",
            0,
        )
        .await;
    assert!(seen.rows.lock().unwrap().len() >= 20, "{ddl}");
    // The cache now agrees with the table.
    herald.live().await.unwrap();
    let deadline = tokio::time::Instant::now() + LIMIT;
    let ids = (1..=50).chain(committed.iter().map(|(id, _)| *id));
    for id in ids {
        let fresh = row(&scene, id).await.ok();
        loop {
            let cached = read(&cache, &scene, id).await;
            if cached == fresh {
                break;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "{ddl}: {id}: {cached:?}, not {fresh:?}"
            );
            tokio::task::yield_now().await;
        }
    }
    herald.shutdown(LIMIT).await.unwrap();
}

const NEW: &str = "CREATE TABLE jobs (LIKE work INCLUDING ALL); INSERT INTO jobs SELECT * FROM work WHERE id <= 50";

#[actix::test]
async fn renaming_dropping_retyping_or_adding_a_column_loses_nothing_silently() {
    for ddl in [
        "ALTER TABLE jobs RENAME COLUMN note TO remark",
        "ALTER TABLE jobs DROP COLUMN note",
        "ALTER TABLE jobs ALTER COLUMN value TYPE numeric USING value * 10",
        "ALTER TABLE jobs ADD COLUMN more text DEFAULT 'more'",
    ] {
        assert_no_silent_loss(ddl).await;
    }
}

#[actix::test]
async fn renaming_or_swapping_tables_loses_nothing_silently() {
    let renamed = format!("ALTER TABLE jobs RENAME TO work; {NEW}");
    let in_steps = format!("ALTER TABLE jobs RENAME TO work; COMMIT; BEGIN; {NEW}; COMMIT");
    for ddl in [
        &*renamed,
        &in_steps,
        "ALTER TABLE jobs RENAME TO spare; ALTER TABLE others RENAME TO jobs; ALTER TABLE spare RENAME TO others",
    ] {
        assert_no_silent_loss(ddl).await;
    }
}

/// The number of a relation depends on its column types. The order of a row's events does not.
#[tokio::test]
async fn events_of_a_row_stay_in_order_when_a_column_changes_its_type() {
    local(async {
        let scene = Scene::new().await;
        let log = Log::default();
        let options = options("g").retry(RetryPolicy::new(9, Backoff::new(YEARS, YEARS)));
        let fails = Box::new(|line: &str, _| match line {
            "1=1" => Err("later".into()),
            _ => Ok(()),
        });
        let _handle = scene.start(options, &log, fails);
        scene.run("INSERT INTO jobs VALUES (1, 1)").await;
        let parked = "SELECT count(*) FROM pgherald.parked_event WHERE operation <> 'R'";
        scene.becomes(parked, 1).await;
        scene.run("ALTER TABLE jobs ALTER value TYPE numeric").await;
        let table = TableName::new("public", "jobs").unwrap();
        let spec = TriggerSpec::new(table).every_column().outbox();
        let plan = trigger::plan(&scene.client, &[spec]).await.unwrap();
        plan.apply(&scene.client).await.unwrap();
        let relations = "SELECT count(*) FROM pgherald.outbox_relation WHERE table_name = 'jobs'";
        assert_eq!(scene.number(relations).await, 2);
        scene
            .run("UPDATE jobs SET value = 2; INSERT INTO jobs VALUES (9, 3)")
            .await;
        scene.becomes(parked, 2).await;
        let handled = || log.lines().contains(&"9=3#1".to_owned());
        until("the other row", handled, || format!("{:?}", log.lines())).await;
        assert!(
            !log.lines().iter().any(|line| line.starts_with("1=2")),
            "{:?}",
            log.lines()
        );
    })
    .await;
}
