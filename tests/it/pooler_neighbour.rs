//! Sources and consumers do not disturb other clients of a pooler in transaction mode. They reject the pooler by name, and
//! leave no notification, setting, lock or prepared statement in the server processes that those clients get.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pgherald::group::{Batch, BatchHandler, Consumer, ConsumerHandle, TransactionalHandler};
use pgherald::{
    Attempt, Backoff, DurableOptions, Error, ErrorKind, Event, EventHandler, HandlerResult, Health,
    RetryPolicy,
};
use pgherald_testkit::{Postgres, Probe};
use tokio_postgres::{AsyncMessage, Client, NoTls, SimpleQueryMessage, Transaction};

use crate::pgbouncer::Pooler;
use crate::pooler::OF_THREE;
use crate::support::{DEADLINE, client, config, listen, listen_to, outbox, recorded, source};

/// Requests of each client. All clients together make more than a thousand.
const REQUESTS: usize = 334;

/// The settings, prepared statements, locks and channels of a session. Pooler-detection locks are left out: while it connects,
/// pgherald takes a shared lock with a random key that no other client asks for.
const STATE: &str = "
    SELECT 'setting', name, setting FROM pg_settings WHERE source = 'session'
    UNION ALL SELECT 'custom', 'pgherald.acknowledging', current_setting('pgherald.acknowledging', true)
    UNION ALL SELECT 'listens', channel, '' FROM pg_listening_channels() AS channel
    UNION ALL SELECT 'prepared', name, statement FROM pg_prepared_statements
    UNION ALL SELECT 'lock', objid::text, mode FROM pg_locks
        WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND classid <> x'70676872'::int::oid
    UNION ALL SELECT 'temporary', relname, '' FROM pg_class WHERE relnamespace = pg_my_temp_schema()
    ORDER BY 1, 2, 3";

/// The settings that pgherald makes in its own sessions, and those that change how a client reads values. Reading all settings
/// would take longer.
const SETTINGS: &str = "SELECT name, current_setting(name, true) FROM unnest('{
        application_name, search_path, TimeZone, DateStyle, IntervalStyle, bytea_output, extra_float_digits, row_security,
        statement_timeout, lock_timeout, idle_in_transaction_session_timeout, idle_session_timeout, enable_seqscan,
        enable_hashjoin, jit, default_transaction_read_only, default_transaction_isolation, pgherald.acknowledging
    }'::text[]) AS name";

/// Locks left in any process after the test. None is needed then.
const LOCKS: &str = "SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory'
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";

/// The other client.
struct Neighbour {
    client: Client,
    /// Messages that the server sent without a request.
    messages: Arc<AtomicUsize>,
    before: [Vec<String>; 2],
}

impl Neighbour {
    async fn connect(url: &str) -> Self {
        // Without a name of its own, the client would get that of the pooled connection's previous client.
        let url = format!("{url}?application_name=neighbour");
        let (client, mut connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
        let messages = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&messages);
        actix::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
                if let AsyncMessage::Notification(_) | AsyncMessage::Notice(_) = message {
                    counted.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        let before = [rows(&client, SETTINGS).await, rows(&client, STATE).await];
        Self {
            client,
            messages,
            before,
        }
    }

    /// Makes requests. Every second one is a transaction.
    async fn works(&self, what: &str, requests: usize) {
        let [settings, state] = &self.before;
        for number in 0..requests {
            let (sql, expected) = match number % 21 {
                20 => (STATE, state),
                _ => (SETTINGS, settings),
            };
            let found = match number % 2 {
                0 => rows(&self.client, sql).await,
                _ => rows(&self.client, &format!("BEGIN; {sql}; COMMIT")).await,
            };
            assert_eq!(found, *expected, "{what}, request {number}");
        }
        assert_eq!(self.messages.load(Ordering::Relaxed), 0, "{what}");
    }
}

/// Each row as a line.
async fn rows(client: &Client, sql: &str) -> Vec<String> {
    let answers = client.simple_query(sql).await.unwrap();
    let rows = answers.iter().filter_map(|answer| match answer {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let line = |row: &tokio_postgres::SimpleQueryRow| {
        let values = (0..row.len()).map(|column| row.get(column).unwrap_or("NULL").to_owned());
        values.collect::<Vec<_>>().join(" ")
    };
    rows.map(line).collect()
}

struct Handler;

impl EventHandler for Handler {
    type Event = Event;

    async fn handle(&self, event: Event, _: Attempt) -> HandlerResult {
        panic!("{event} came through the pooler");
    }
}

impl TransactionalHandler for Handler {
    type Event = Event;

    async fn handle(&self, event: Event, _: Attempt, _: &mut Transaction<'_>) -> HandlerResult {
        panic!("{event} came through the pooler");
    }
}

impl BatchHandler for Handler {
    type Event = Event;

    async fn handle(&self, batch: &mut Batch<Event>) -> HandlerResult {
        panic!("{batch:?} came through the pooler");
    }
}

/// A source or a consumer that rejects the pooler.
enum Rejecting {
    Source(Probe),
    Consumer(ConsumerHandle),
}

impl Rejecting {
    /// Waits until it reports that the pooler is rejected.
    async fn wait_for_rejection(&self) -> Error {
        let is_pooled = |health: &Health| match health {
            Health::Live { .. } => panic!("live through the pooler"),
            Health::Degraded { cause, .. } => {
                Some(cause.clone()).filter(|error| error.kind() == ErrorKind::Pooler)
            }
            _ => None,
        };
        match self {
            Self::Source(probe) => {
                let refused = probe.wait_for("a refusal", DEADLINE, |seen| {
                    seen.health()
                        .iter()
                        .any(|health| is_pooled(health).is_some())
                });
                let seen = refused.await.unwrap();
                seen.health().iter().find_map(is_pooled).unwrap()
            }
            Self::Consumer(handle) => {
                let mut health = handle.health();
                let refused = health.wait_for(|health| is_pooled(health).is_some());
                let refused = tokio::time::timeout(DEADLINE, refused).await;
                is_pooled(&refused.unwrap().unwrap()).unwrap()
            }
        }
    }
}

fn options() -> DurableOptions {
    let backoff = Backoff::new(std::time::Duration::ZERO, std::time::Duration::ZERO);
    DurableOptions::new("neighbour")
        .retry(RetryPolicy::new(1, backoff))
        .from_beginning()
}

#[actix::test]
async fn no_kind_of_source_or_consumer_disturbs_another_client_of_a_transaction_pooler() {
    let server = Postgres::shared().await.unwrap();
    let Some(pooler) = Pooler::start(server, "transaction", OF_THREE).await else {
        return;
    };
    for kind in ["notify", "outbox", "plain", "transactional", "batches"] {
        let (url, spec) = recorded(server).await;
        let direct = client(&url).await;
        let pooled = pooler.url(&url, server);
        // One for each process of the pool, so that together they get all of them.
        let mut neighbours = Vec::new();
        for _ in 0..3 {
            neighbours.push(Neighbour::connect(&pooled).await);
        }
        let work = async |requests| {
            let working = neighbours.iter().map(|one| one.works(kind, requests));
            futures_util::future::join_all(working).await;
        };
        let write = "INSERT INTO t SELECT coalesce(max(n), 0) + 1 FROM t; NOTIFY pgherald, 'x'; NOTIFY pgherald_outbox";
        direct.batch_execute(write).await.unwrap();
        let consumer = |made: pgherald::Result<(ConsumerHandle, Consumer)>| {
            let (handle, consumer) = made.unwrap();
            (handle, actix::spawn(consumer.run()))
        };
        let mut listener = None;
        let mut running = None;
        let rejecting = match kind {
            "notify" | "outbox" => {
                let (addr, probe) = match kind {
                    "notify" => listen(source(&pooled)).await,
                    _ => listen_to(outbox(&pooled, spec).factory().unwrap()).await,
                };
                listener = Some(addr);
                Rejecting::Source(probe)
            }
            _ => {
                let (config, options) = (config(&pooled), options());
                let (handle, task) = consumer(match kind {
                    "plain" => Consumer::new(config, options, || Handler),
                    "transactional" => Consumer::transactional(config, options, || Handler),
                    _ => Consumer::batches(config, options, || Handler),
                });
                running = Some(task);
                Rejecting::Consumer(handle)
            }
        };
        let writing = async {
            for _ in 0..50 {
                direct.batch_execute(write).await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        let (error, (), ()) = tokio::join!(rejecting.wait_for_rejection(), work(REQUESTS), writing);
        assert!(
            error.to_string().contains("pooler"),
            "{kind}: {}",
            error.chain()
        );
        assert!(error.hint().contains("pooler"), "{kind}: {}", error.hint());
        if let Rejecting::Consumer(handle) = &rejecting {
            assert_eq!(handle.drain(DEADLINE).await.handled, 0, "{kind}");
        }
        drop((rejecting, listener));
        if let Some(task) = running {
            task.await.unwrap();
        }
        work(50).await;
        // Nothing is left in the processes that other clients use.
        let waiting = async {
            while rows(&direct, LOCKS).await != ["0"] {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        let gone = tokio::time::timeout(DEADLINE, waiting).await;
        assert!(gone.is_ok(), "{kind}: a lock was left in the pool");
    }
}
