//! A server with watched tables.

use std::sync::Arc;

use pgherald::TableName;
use pgherald::trigger::{self, TriggerSpec};
use pgherald_testkit::Postgres;
use tokio_postgres::{Client, NoTls};

pub(crate) struct Stage {
    pub(crate) server: Postgres,
    pub(crate) url: String,
    pub(crate) client: Arc<Client>,
}

pub(crate) async fn connect(url: &str) -> Arc<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    Arc::new(client)
}

impl Stage {
    pub(crate) async fn new() -> Self {
        let server = Postgres::builder()
            .setting("max_connections", "1200")
            .setting("shared_buffers", "256MB")
            .setting("max_locks_per_transaction", "512")
            .start()
            .await
            .unwrap();
        let url = server.create_database().await.unwrap();
        let client = connect(&url).await;
        Self {
            server,
            url,
            client,
        }
    }

    pub(crate) async fn run(&self, sql: &str) {
        self.client.batch_execute(sql).await.unwrap();
    }

    /// The id of the server's process for this client.
    pub(crate) async fn pid(&self) -> i32 {
        let row = self.client.query_one("SELECT pg_backend_pid()", &[]).await;
        row.unwrap().get(0)
    }

    /// Makes the tables `{prefix}0`, `{prefix}1` and so on.
    pub(crate) async fn tables(&self, prefix: &str, count: usize) -> Vec<TableName> {
        let sql = format!(
            "DO $$ BEGIN FOR n IN 0..{} LOOP
                EXECUTE format('CREATE TABLE {prefix}%s (id bigint PRIMARY KEY, value int)', n);
            END LOOP; END $$",
            count - 1
        );
        self.run(&sql).await;
        let name = |number| TableName::new("public", format!("{prefix}{number}")).unwrap();
        (0..count).map(name).collect()
    }

    pub(crate) async fn install(&self, specs: &[TriggerSpec]) {
        let plan = trigger::plan(&self.client, specs).await.unwrap();
        plan.apply(&self.client).await.unwrap();
    }

    /// Makes a table whose changes are recorded.
    pub(crate) async fn recorded(&self, prefix: &str) -> TriggerSpec {
        let table = self.tables(prefix, 1).await.remove(0);
        let spec = TriggerSpec::new(table).every_column().outbox();
        self.install(std::slice::from_ref(&spec)).await;
        spec
    }
}
