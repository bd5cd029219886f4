//! A separate database, and a connection that receives the triggers' notifications.

use std::future::poll_fn;
use std::time::{Duration, Instant};

use pgherald_core::TableName;
use pgherald_core::trigger::{self, Plan, TriggerSpec};
use pgherald_testkit::Postgres;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_postgres::{AsyncMessage, Client, NoTls};

const DEADLINE: Duration = Duration::from_secs(60);

/// An empty database with a writer and a listener on channel `pgherald`.
pub(crate) struct Scene {
    pub(crate) url: String,
    pub(crate) client: Client,
    listener: Listener,
}

/// A listening connection.
pub(crate) struct Listener {
    /// Keeps the connection open.
    _client: Client,
    payloads: mpsc::Receiver<String>,
}

impl Scene {
    pub(crate) async fn new(sql: &str) -> Self {
        Self::on(Postgres::shared().await.unwrap(), sql).await
    }

    /// On the given server.
    pub(crate) async fn on(server: &Postgres, sql: &str) -> Self {
        let url = server.create_database().await.unwrap();
        let client = connect(&url).await;
        client.batch_execute(sql).await.unwrap();
        let listener = Listener::on(&url, "pgherald").await;
        Self {
            url,
            client,
            listener,
        }
    }

    /// Runs `sql` in one round trip, hence one transaction.
    pub(crate) async fn run(&self, sql: &str) {
        if let Err(error) = self.client.batch_execute(sql).await {
            panic!("{sql}: {error:?}");
        }
    }

    pub(crate) async fn plan(&self, specs: &[TriggerSpec]) -> Plan {
        trigger::plan(&self.client, specs).await.unwrap()
    }

    /// The plan that `trigger::install` would apply.
    pub(crate) async fn plan_widened(&self, specs: &[TriggerSpec]) -> Plan {
        trigger::plan_widened(&self.client, specs).await.unwrap()
    }

    pub(crate) async fn install(&self, spec: TriggerSpec) {
        self.plan(&[spec]).await.apply(&self.client).await.unwrap();
    }

    /// Runs `sql` and returns the complete payloads.
    pub(crate) async fn announced(&mut self, sql: &str) -> Vec<String> {
        self.run(sql).await;
        self.listener.heard(&self.client).await
    }

    /// The next payload, without the parts that differ from run to run.
    pub(crate) async fn next(&mut self) -> String {
        let payload = timeout(DEADLINE, self.listener.payloads.recv()).await;
        shape(&payload.expect("no notification arrived").unwrap())
    }

    /// Waits until the single value that `sql` selects is `expected`.
    pub(crate) async fn until(&self, sql: &str, expected: &str) {
        let begun = Instant::now();
        loop {
            let value = self.value(sql).await;
            if value == expected {
                return;
            }
            assert!(begun.elapsed() < DEADLINE, "{sql}: {value}, not {expected}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Runs `sql` and returns the payloads, without the parts that differ from run to run.
    pub(crate) async fn shapes(&mut self, sql: &str) -> Vec<String> {
        self.announced(sql)
            .await
            .iter()
            .map(|payload| shape(payload))
            .collect()
    }

    /// Runs `sql` on a separate connection and returns its warnings.
    pub(crate) async fn warnings(&self, sql: &str) -> Vec<String> {
        let (client, mut connection) = tokio_postgres::connect(&self.url, NoTls).await.unwrap();
        let notices = tokio::spawn(async move {
            let mut warnings = Vec::new();
            while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
                match message.unwrap() {
                    AsyncMessage::Notice(notice) if notice.severity() == "WARNING" => {
                        warnings.push(notice.message().to_owned());
                    }
                    _ => {}
                }
            }
            warnings
        });
        client.batch_execute(sql).await.unwrap();
        drop(client);
        notices.await.unwrap()
    }

    /// The single value that `sql` selects, as text.
    pub(crate) async fn value(&self, sql: &str) -> String {
        let rows = self.client.query(sql, &[]).await.unwrap();
        rows[0].get::<_, Option<String>>(0).unwrap_or_default()
    }

    /// The value that PostgreSQL's JSON parser finds at `path` in `payload`.
    pub(crate) async fn json(&self, payload: &str, path: &str) -> Option<String> {
        let sql = "SELECT $1::text::json #>> $2::text::text[]";
        self.client
            .query_one(sql, &[&payload, &path])
            .await
            .unwrap()
            .get(0)
    }

    pub(crate) async fn drift(&self, spec: &TriggerSpec) -> Vec<String> {
        let drift = trigger::verify(&self.client, std::slice::from_ref(spec))
            .await
            .unwrap();
        drift.iter().map(ToString::to_string).collect()
    }

    /// Whether some changes of the table are lost.
    pub(crate) async fn loses_changes(&self, spec: &TriggerSpec) -> bool {
        let drifts = trigger::verify(&self.client, std::slice::from_ref(spec)).await;
        drifts.unwrap().iter().any(trigger::Drift::loses_changes)
    }

    /// All objects of the database that are not the system's, one per line.
    pub(crate) async fn catalog(&self) -> String {
        self.value(include_str!("catalog.sql")).await
    }
}

impl Listener {
    pub(crate) async fn on(url: &str, channel: &str) -> Self {
        let (client, mut connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
        let (sender, payloads) = mpsc::channel(10_000);
        tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await
            {
                if let AsyncMessage::Notification(notification) = message {
                    sender.try_send(notification.payload().to_owned()).unwrap();
                }
            }
        });
        client
            .batch_execute(&format!("LISTEN \"{channel}\"; LISTEN fence"))
            .await
            .unwrap();
        Self {
            _client: client,
            payloads,
        }
    }

    /// All payloads received before a fence, which `client` sends.
    pub(crate) async fn heard(&mut self, client: &Client) -> Vec<String> {
        client.batch_execute("NOTIFY fence, 'fence'").await.unwrap();
        let mut heard = Vec::new();
        loop {
            let payload = timeout(DEADLINE, self.payloads.recv())
                .await
                .expect("the fence did not arrive");
            match payload.unwrap() {
                payload if payload == "fence" => return heard,
                payload => heard.push(payload),
            }
        }
    }
}

pub(crate) async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

pub(crate) fn table(name: &str) -> TableName {
    TableName::new("public", name).unwrap()
}

pub(crate) fn spec(name: &str) -> TriggerSpec {
    TriggerSpec::new(table(name))
}

/// The payload with its time and transaction id replaced: `"sent_at":"…","xid":0`.
pub(crate) fn shape(payload: &str) -> String {
    let (before, rest) = payload.split_once("\"sent_at\":\"").expect("sent_at");
    let (_, rest) = rest.split_once("\",\"xid\":").expect("xid");
    let rest = rest.trim_start_matches(|digit: char| digit.is_ascii_digit());
    format!("{before}\"sent_at\":\"…\",\"xid\":0{rest}")
}

/// The expected shape of an event of table `public.{table}`. `rest` is empty or begins with a comma.
pub(crate) fn event(operation: &str, table: &str, rest: &str) -> String {
    format!(
        r#"{{"v":1,"operation":"{operation}","schema":"public","table":"{table}","sent_at":"…","xid":0{rest}}}"#
    )
}

/// A database created by `sql` with `spec` installed.
pub(crate) async fn installed(sql: &str, spec: TriggerSpec) -> Scene {
    let scene = Scene::new(sql).await;
    scene.install(spec).await;
    scene
}

/// The rows that `sql` adds to the outbox, in order: operation, key, columns, old columns, names of changed columns.
pub(crate) async fn recorded(scene: &Scene, sql: &str) -> Vec<String> {
    let last = "SELECT coalesce(max(id), 0)::text FROM pgherald.outbox";
    let last = scene.value(last).await;
    scene.run(sql).await;
    let line = "concat_ws(' ', operation, key, columns, old_columns, changed)";
    let sql = format!(
        "SELECT string_agg({line}, E'\n' ORDER BY id) FROM pgherald.outbox_event WHERE id > {last}"
    );
    scene.value(&sql).await.lines().map(str::to_owned).collect()
}
