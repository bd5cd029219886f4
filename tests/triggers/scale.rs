//! The number of statements does not depend on the number of tables.

use std::time::Instant;

use pgherald_core::__private::host;
use pgherald_core::trigger::{self, Drift, DriftKind, TriggerSpec};
use pgherald_core::{ConnectConfig, NotifySource, OutboxSource, Signal, Source, TableName};
use pgherald_testkit::{FaultProxy, Postgres};
use tokio_postgres::Client;

use super::support::connect;

/// The schemas have tables with the same few names, so a lookup by name alone would find too many.
const TABLES_OF_A_SCHEMA: usize = 4;

/// A database with many tables, behind a proxy that counts statements.
struct Crowd {
    proxy: FaultProxy,
    /// The URL through the proxy.
    url: String,
    client: Client,
    specs: Vec<TriggerSpec>,
}

impl Crowd {
    /// Creates `count` tables. Every other one is in outbox mode.
    async fn new(server: &Postgres, count: usize) -> Self {
        let url = server.create_database().await.unwrap();
        let own = connect(&url).await;
        let sql = format!(
            "DO $$ BEGIN FOR n IN 0..{count} - 1 LOOP
                 EXECUTE format('CREATE SCHEMA IF NOT EXISTS s%s', n / {TABLES_OF_A_SCHEMA});
                 EXECUTE format('CREATE TABLE s%s.t%s (id bigint PRIMARY KEY, name text NOT NULL, price numeric)',
                     n / {TABLES_OF_A_SCHEMA}, n % {TABLES_OF_A_SCHEMA});
             END LOOP; END $$"
        );
        own.batch_execute("SET client_min_messages = warning")
            .await
            .unwrap();
        own.batch_execute(&sql).await.unwrap();
        let proxy = FaultProxy::start((server.host(), server.port()))
            .await
            .unwrap();
        let url = proxy.url(&url);
        let spec = |n: usize| {
            let schema = format!("s{}", n / TABLES_OF_A_SCHEMA);
            let table = TableName::new(schema, format!("t{}", n % TABLES_OF_A_SCHEMA)).unwrap();
            let spec = TriggerSpec::new(table).columns(["price"]);
            if n % 2 == 1 { spec.outbox() } else { spec }
        };
        Self {
            client: connect(&url).await,
            specs: (0..count).map(spec).collect(),
            proxy,
            url,
        }
    }

    fn config(&self) -> ConnectConfig {
        self.url.parse().unwrap()
    }

    /// Runs everything that inspects tables. Returns the number of statements of each step.
    async fn counts(&self) -> Vec<(&'static str, usize)> {
        let (client, specs) = (&self.client, &self.specs);
        let tables: Vec<_> = specs.iter().map(|spec| spec.table().clone()).collect();
        let (recorded, announced): (Vec<_>, Vec<_>) =
            specs.iter().cloned().partition(TriggerSpec::is_outbox);
        let mut counts = Vec::new();
        let mut before = self.proxy.statements();
        let mut begun = Instant::now();
        let mut count = |what| {
            let now = self.proxy.statements();
            println!("{} tables, {what}: {:?}", specs.len(), begun.elapsed());
            counts.push((what, now - before));
            (before, begun) = (now, Instant::now());
        };
        let plan = trigger::plan(client, specs).await.unwrap();
        count("plan");
        plan.apply(client).await.unwrap();
        count("apply");
        assert!(trigger::plan(client, specs).await.unwrap().is_empty());
        count("empty plan");
        assert_eq!(trigger::verify(client, specs).await.unwrap(), []);
        count("verify");
        assert_eq!(
            host::trigger::watched(client).await.unwrap().len(),
            specs.len()
        );
        count("watched");
        let names: Vec<_> = tables.iter().collect();
        let actual = host::trigger::inspect_all(client, &names).await.unwrap();
        count("inspect_all");
        assert!(actual.plan(specs).unwrap().is_empty());
        assert_eq!(actual.watched().len(), specs.len());
        count("decisions without a query");
        let source = NotifySource::builder(self.config());
        let source = announced
            .into_iter()
            .fold(source, |source, spec| source.watch(spec));
        live(source.build().unwrap()).await;
        count("a listener becomes live");
        let source = OutboxSource::builder(self.config());
        let source = recorded
            .into_iter()
            .fold(source, |source, spec| source.watch(spec));
        live(source.build().unwrap()).await;
        count("an outbox reader becomes live");
        client
            .batch_execute("ALTER SCHEMA s0 RENAME TO moved")
            .await
            .unwrap();
        count("rename");
        let drifts = trigger::verify(client, specs).await.unwrap();
        let missing = |drift: &&Drift| drift.kind == DriftKind::TableMissing;
        assert_eq!(drifts.iter().filter(missing).count(), TABLES_OF_A_SCHEMA);
        count("verify of missing tables");
        client
            .batch_execute("ALTER SCHEMA moved RENAME TO s0")
            .await
            .unwrap();
        count("rename back");
        let plan = trigger::plan_uninstall(client, &tables).await.unwrap();
        count("plan_uninstall");
        plan.apply(client).await.unwrap();
        count("uninstall");
        counts
    }
}

async fn live(mut source: impl Source) {
    loop {
        match source.next().await {
            Signal::Live => return,
            Signal::Down(error) => panic!("{}", error.chain()),
            _ => {}
        }
    }
}

#[tokio::test]
async fn the_number_of_statements_does_not_depend_on_the_number_of_tables() {
    let server = Postgres::shared().await.unwrap();
    let few = Crowd::new(server, 4).await.counts().await;
    let many = Crowd::new(server, 500).await.counts().await;
    assert_eq!(few.len(), many.len());
    for ((what, few), (_, many)) in few.into_iter().zip(many) {
        match what.ends_with("becomes live") {
            // The check for poolers polls until the server has noticed the end of a connection, at most about forty times.
            true => assert!(many <= few + 50, "{what}: {few} and {many} statements"),
            false => assert_eq!(few, many, "{what}"),
        }
    }
}
