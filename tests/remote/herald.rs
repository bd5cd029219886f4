//! A herald on a machine without access to the database: its caches and handlers behave as with a direct source.

use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpServer};
use pgherald::trigger::TriggerSpec;
use pgherald::{
    Attempt, CacheBuilder, DurableOptions, EphemeralOptions, Error, ErrorKind, EventHandler,
    HandlerResult, Herald, Table, TableName, Updated,
};
use pgherald_core::DistributorSource;
use pgherald_distributor::{Distributor, Limits};
use tokio::sync::mpsc;
use tokio_postgres::Client;

use crate::support::{DEADLINE, client, config, database};

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

/// A distributor of the table `notes` in this process.
struct Scene {
    writer: Client,
    url: String,
    server: ServerHandle,
    herald: Arc<Herald>,
}

impl Scene {
    async fn new(spec: TriggerSpec) -> Self {
        let database = database().await;
        let writer = client(&database).await;
        writer
            .batch_execute("CREATE TABLE notes (id bigint PRIMARY KEY, body text)")
            .await
            .unwrap();
        let herald = Herald::builder(config(&database))
            .watch_with(spec)
            .install_triggers()
            .start()
            .await
            .unwrap();
        let herald = Arc::new(herald);
        let distributor = Distributor::builder(Arc::clone(&herald)).limits(Limits::default());
        let routes = distributor.build().unwrap();
        let server =
            HttpServer::new(move || App::new().configure(|config| routes.configure(config)))
                .workers(1)
                .disable_signals()
                .bind("127.0.0.1:0")
                .unwrap();
        let url = format!("http://{}", server.addrs()[0]);
        let server = server.run();
        let handle = server.handle();
        actix::spawn(server);
        Self {
            writer,
            url,
            server: handle,
            herald,
        }
    }

    async fn sql(&self, sql: &str) {
        self.writer.batch_execute(sql).await.unwrap();
    }

    async fn stop(self) {
        self.server.stop(false).await;
        self.herald.shutdown(DEADLINE).await.unwrap();
    }
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
    let spec = TriggerSpec::of::<Note>().unwrap().outbox();
    let scene = Scene::new(spec.old_columns()).await;
    let table = TableName::new("public", "notes").unwrap();
    let source = DistributorSource::builder(&scene.url).tables([table.clone()]);
    let remote = Herald::start_with_source([table], source.factory().unwrap())
        .await
        .unwrap();
    soon(remote.live()).await.unwrap();
    let (sender, mut handled) = mpsc::channel(8);
    remote
        .start_handler(EphemeralOptions::new("e"), move || Forward(sender.clone()))
        .await
        .unwrap();
    let bodies = remote
        .start_cache(CacheBuilder::<i64, String>::new("bodies").row_of::<Note>())
        .await
        .unwrap();
    soon(async {
        while !bodies.is_live() {
            tokio::task::yield_now().await;
        }
    })
    .await;
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
    remote.shutdown(DEADLINE).await.unwrap();
    scene.stop().await;
}

#[actix::test]
async fn what_a_source_cannot_serve_is_refused_by_name() {
    let scene = Scene::new(TriggerSpec::of::<Note>().unwrap()).await;
    let table = TableName::new("public", "notes").unwrap();
    let source = DistributorSource::builder(&scene.url).tables([table.clone()]);
    let remote = Herald::start_with_source([table], source.factory().unwrap())
        .await
        .unwrap();
    let cache = CacheBuilder::<i64, String>::new("jobs").row_of::<Job>();
    let error = remote.start_cache(cache).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    let (sender, _) = mpsc::channel(1);
    let error = remote
        .start_durable(DurableOptions::new("d"), move || Forward(sender.clone()))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    remote.shutdown(DEADLINE).await.unwrap();
    scene.stop().await;
}

#[test]
fn a_herald_on_plain_tokio_reads_a_distributor() {
    let (ready, url) = std::sync::mpsc::channel();
    let (done, finished) = tokio::sync::oneshot::channel::<()>();
    let serving = std::thread::spawn(move || {
        actix::System::new().block_on(async {
            let scene = Scene::new(TriggerSpec::of::<Note>().unwrap()).await;
            ready.send(scene.url.clone()).unwrap();
            finished.await.unwrap();
            scene.stop().await;
        });
    });
    let url = url.recv_timeout(Duration::from_secs(60)).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let source = DistributorSource::builder(url).factory().unwrap();
        let remote = Herald::start_with_source([], source).await.unwrap();
        soon(remote.live()).await.unwrap();
        remote.shutdown(DEADLINE).await.unwrap();
    });
    done.send(()).unwrap();
    serving.join().unwrap();
}
