//! A herald on a machine without access to the database: its caches and handlers behave as with a direct source.

use std::time::{Duration, Instant};

use pgherald::trigger::TriggerSpec;
use pgherald::{
    Attempt, CacheBuilder, CacheHandle, DurableOptions, EphemeralOptions, Error, ErrorKind,
    EventHandler, HandlerResult, Herald, Table, TableName, Updated,
};
use tokio::sync::mpsc;
use tokio_postgres::Client;

use crate::faults::{MAX_LAG, Remote};
use crate::support::{DEADLINE, client, database, install};

#[derive(Clone, Debug, PartialEq, serde::Deserialize, Table)]
#[table(name = "notes", key = "id")]
struct Note {
    id: i64,
    body: String,
}

#[derive(Table)]
#[table(name = "jobs", key = "id")]
struct Job {
    #[allow(dead_code, reason = "the field names the key column")]
    id: i64,
}

/// A relay of the table `notes`, and a herald on its stream.
struct Scene {
    writer: Client,
    remote: Remote,
    herald: Herald,
}

impl Scene {
    async fn new() -> Self {
        let database = database().await;
        let writer = client(&database).await;
        writer
            .batch_execute("CREATE TABLE notes (id bigint PRIMARY KEY, body text)")
            .await
            .unwrap();
        let spec = TriggerSpec::of::<Note>().unwrap().outbox().old_columns();
        install(&writer, &spec).await;
        let remote = Remote::new().await;
        remote.start_relay(&database, 4, &spec);
        let table = TableName::new("public", "notes").unwrap();
        let source = remote.source().tables([table.clone()]);
        let herald = Herald::start_with_source([table], source.factory().unwrap())
            .await
            .unwrap();
        soon(herald.live()).await.unwrap();
        Self {
            writer,
            remote,
            herald,
        }
    }

    async fn sql(&self, sql: &str) {
        self.writer.batch_execute(sql).await.unwrap();
    }

    async fn cache(&self) -> CacheHandle<i64, String> {
        let bodies = self
            .herald
            .start_cache(CacheBuilder::<i64, String>::new("bodies").row_of::<Note>())
            .await
            .unwrap();
        is_live(&bodies).await;
        bodies
    }
}

async fn is_live(cache: &CacheHandle<i64, String>) {
    soon(async {
        while !cache.is_live() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.unwrap()
}

/// Forwards each update, with the values before it.
struct Forward(mpsc::Sender<(Note, Option<Note>, Option<i64>)>);

impl EventHandler for Forward {
    type Event = Updated<Note>;

    async fn handle(&self, note: Updated<Note>, _: Attempt) -> HandlerResult {
        let now = note.row()?;
        let before = note.old()?;
        let id = note.event.outbox_id();
        self.0.send((now, before, id)).await?;
        Ok(())
    }
}

fn note(id: i64, body: &str) -> Note {
    let body = body.to_owned();
    Note { id, body }
}

#[actix::test]
async fn caches_and_handlers_behave_as_with_a_direct_source() {
    let scene = Scene::new().await;
    let (sender, mut handled) = mpsc::channel(8);
    scene
        .herald
        .start_handler(EphemeralOptions::new("e"), move || Forward(sender.clone()))
        .await
        .unwrap();
    let bodies = scene.cache().await;
    scene.sql("INSERT INTO notes VALUES (1, 'old')").await;
    bodies
        .get_or_load(1, async || Ok::<_, Error>("old".to_owned()))
        .await
        .unwrap();
    scene
        .sql("UPDATE notes SET body = 'new' WHERE id = 1")
        .await;
    let (now, before, id) = soon(handled.recv()).await.unwrap();
    assert_eq!((now, before), (note(1, "new"), Some(note(1, "old"))));
    assert!(id.is_some());
    // The cache has applied what the handler has received.
    assert!(bodies.get(&1).is_none());
    scene.herald.shutdown(DEADLINE).await.unwrap();
}

#[actix::test]
async fn what_a_source_cannot_serve_is_refused_by_name() {
    let scene = Scene::new().await;
    let cache = CacheBuilder::<i64, String>::new("jobs").row_of::<Job>();
    let error = scene.herald.start_cache(cache).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    let (sender, _) = mpsc::channel(1);
    let error = scene
        .herald
        .start_durable(DurableOptions::new("d"), move || Forward(sender.clone()))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    scene.herald.shutdown(DEADLINE).await.unwrap();
}

/// Has the cache know the row 1.
async fn fill(bodies: &CacheHandle<i64, String>) {
    let load = async || Ok::<_, Error>("old".to_owned());
    soon(async {
        while bodies.get(&1).is_none() {
            bodies.get_or_load(1, load).await.unwrap();
        }
    })
    .await;
}

/// Waits until the cache does not answer from memory, which must not last longer than `MAX_LAG`.
async fn is_emptied_in_time(bodies: &CacheHandle<i64, String>, fault: &str) {
    let began = Instant::now();
    soon(async {
        while bodies.get(&1).is_some() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    let elapsed = began.elapsed();
    println!("{fault}: {elapsed:?} of {MAX_LAG:?}");
    // The thread of the source may have to wait for a processor.
    let limit = MAX_LAG + Duration::from_secs(1);
    assert!(elapsed < limit, "{fault}: {elapsed:?}");
}

/// The limit of the test is for a busy machine; what counts is the order: the last heartbeat is older than the fault.
#[actix::test]
async fn caches_stop_answering_within_max_lag_after_their_relay_is_stopped() {
    let scene = Scene::new().await;
    let bodies = scene.cache().await;
    scene.sql("INSERT INTO notes VALUES (1, 'old')").await;
    for fault in ["suspend_relay", "kill_relay", "pause_nats"] {
        fill(&bodies).await;
        scene.remote.inject(fault).await;
        is_emptied_in_time(&bodies, fault).await;
        assert!(!bodies.is_live());
        scene.remote.clone().repair().await;
        is_live(&bodies).await;
    }
    scene.herald.shutdown(DEADLINE).await.unwrap();
}

#[actix::test]
async fn changes_after_the_stream_was_created_again_are_not_missed_for_longer_than_max_lag() {
    let scene = Scene::new().await;
    let bodies = scene.cache().await;
    for id in 0..3 {
        // Greater sequences than those of the next stream.
        for _ in 0..20 {
            scene
                .sql(&format!("INSERT INTO notes VALUES (1, '{id}') ON CONFLICT (id) DO UPDATE SET body = '{id}'"))
                .await;
        }
        fill(&bodies).await;
        scene.remote.inject("recreate_stream").await;
        scene.sql("UPDATE notes SET body = 'new'").await;
        is_emptied_in_time(&bodies, "recreate_stream").await;
        is_live(&bodies).await;
    }
    scene.herald.shutdown(DEADLINE).await.unwrap();
}
