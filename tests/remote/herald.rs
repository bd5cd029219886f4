//! A herald on a machine without access to the database, on a [`Remote`]: its caches and handlers behave as with a direct source.

use std::rc::Rc;

use pgherald::trigger::TriggerSpec;
use pgherald::{
    Attempt, CacheBuilder, CacheHandle, DurableOptions, EphemeralOptions, Error, ErrorKind,
    EventHandler, HandlerResult, Herald, Table, TableName, Updated,
};
use tokio::sync::mpsc;
use tokio_postgres::Client;

use crate::faults::Remote;
use crate::support::{DEADLINE, client, database, install, soon};

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

/// A remote that serves the table `notes`, and a herald on it.
pub(crate) struct Scene {
    writer: Client,
    pub(crate) remote: Rc<Remote>,
    pub(crate) herald: Herald,
}

impl Scene {
    pub(crate) async fn new() -> Self {
        let database = database().await;
        let writer = client(&database).await;
        writer
            .batch_execute("CREATE TABLE notes (id bigint PRIMARY KEY, body text)")
            .await
            .unwrap();
        let spec = TriggerSpec::of::<Note>().unwrap().outbox().old_columns();
        install(&writer, &spec).await;
        let remote = Remote::new().await;
        let table = TableName::new("public", "notes").unwrap();
        let source = remote.start(&database, &spec).tables([table.clone()]);
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

    pub(crate) async fn sql(&self, sql: &str) {
        self.writer.batch_execute(sql).await.unwrap();
    }

    pub(crate) async fn cache(&self) -> CacheHandle<i64, String> {
        let bodies = self
            .herald
            .start_cache(CacheBuilder::<i64, String>::new("bodies").row_of::<Note>())
            .await
            .unwrap();
        is_live(&bodies).await;
        bodies
    }
}

pub(crate) async fn is_live(cache: &CacheHandle<i64, String>) {
    soon(async {
        while !cache.is_live() {
            tokio::task::yield_now().await;
        }
    })
    .await;
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
async fn cache_of_another_table_and_durable_handler_are_refused() {
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

#[test]
fn a_herald_on_plain_tokio_reads_a_remote() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let scene = Scene::new().await;
        scene.herald.shutdown(DEADLINE).await.unwrap();
    });
}
