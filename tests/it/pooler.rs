//! A pooler in transaction mode is rejected by name, before a LISTEN through it can reach other clients.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pgherald::group::{Consumer, TransactionalHandler};
use pgherald::{Attempt, DurableOptions, ErrorKind, Event, EventHandler, HandlerResult, Health};
use pgherald_testkit::{Postgres, Seen};
use tokio_postgres::{AsyncMessage, NoTls, Transaction};

use crate::pgbouncer::Pooler;
use crate::support::{
    DEADLINE, cause, client, config, listen, listen_to, live, outbox, recorded, source,
};

/// Busy clients of the pooler, which count the notifications that they receive.
struct Others {
    stop: Arc<AtomicBool>,
    requests: Arc<AtomicUsize>,
    notifications: Arc<AtomicUsize>,
}

impl Others {
    async fn start(url: &str, count: usize) -> Self {
        let others = Self {
            stop: Arc::default(),
            requests: Arc::default(),
            notifications: Arc::default(),
        };
        for _ in 0..count {
            let (client, mut connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
            let notifications = Arc::clone(&others.notifications);
            tokio::spawn(async move {
                while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
                    if matches!(message, AsyncMessage::Notification(_)) {
                        notifications.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
            let (stop, requests) = (Arc::clone(&others.stop), Arc::clone(&others.requests));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    client
                        .batch_execute("SELECT pg_sleep(0.001)")
                        .await
                        .unwrap();
                    requests.fetch_add(1, Ordering::Relaxed);
                    // Clients are idle now and then.
                    if requests.load(Ordering::Relaxed).is_multiple_of(7) {
                        tokio::time::sleep(Duration::from_millis(3)).await;
                    }
                }
            });
        }
        others
    }

    /// Waits for `count` more requests.
    async fn wait_for_requests(&self, count: usize) {
        let until = self.requests.load(Ordering::Relaxed) + count;
        let begun = Instant::now();
        while self.requests.load(Ordering::Relaxed) < until {
            assert!(
                begun.elapsed() < DEADLINE,
                "the other clients make no progress"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Others {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

struct Ignore;

impl EventHandler for Ignore {
    type Event = Event;

    async fn handle(&self, _: Event, _: Attempt) -> HandlerResult {
        Ok(())
    }
}

/// A pool of three connections for each database and user.
pub(crate) const OF_THREE: &str = "default_pool_size = 3\nmax_client_conn = 100\n";

/// Starts everything that listens through a pooler with these settings, while other clients are busy.
async fn nothing_listens_through(extra: &str) {
    let server = Postgres::shared().await.unwrap();
    let Some(pooler) = Pooler::start(server, "transaction", &format!("{OF_THREE}{extra}")).await
    else {
        return;
    };
    let (url, spec) = recorded(server).await;
    let direct = client(&url).await;
    let pooled = pooler.url(&url, server);
    let others = Others::start(&pooled, 6).await;
    let is_refused = |seen: &Seen| {
        assert!(seen.health().iter().all(|health| !health.is_live()));
        seen.health().len() >= 5
    };

    let (_by_outbox, by_outbox) = listen_to(outbox(&pooled, spec).factory().unwrap()).await;
    let (_listener, by_notify) = listen(source(&pooled).probe(false)).await;
    let (group, consumer) =
        Consumer::new(config(&pooled), DurableOptions::new("g"), || Ignore).unwrap();
    actix::spawn(consumer.run());
    for n in 0..20 {
        let sql =
            format!("INSERT INTO t VALUES ({n}); NOTIFY pgherald, 'x'; NOTIFY pgherald_outbox");
        direct.batch_execute(&sql).await.unwrap();
        others.wait_for_requests(20).await;
    }
    for probe in [by_outbox, by_notify] {
        let seen = probe.wait_for("refusals", DEADLINE, is_refused).await;
        let error = cause(&seen.unwrap());
        assert_eq!(error.kind(), ErrorKind::Pooler, "{}", error.chain());
        assert!(error.hint().contains("pooler"), "{}", error.hint());
    }
    let health = group.health();
    let begun = Instant::now();
    while !health.borrow().to_string().contains("pooler") {
        assert!(begun.elapsed() < DEADLINE, "{}", *health.borrow());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    others.wait_for_requests(100).await;
    assert_eq!(others.notifications.load(Ordering::Relaxed), 0);
}

#[actix::test]
async fn no_notification_reaches_other_clients_of_a_transaction_pooler() {
    nothing_listens_through("").await;
}

#[actix::test]
async fn no_notification_reaches_other_clients_of_a_round_robin_pooler() {
    nothing_listens_through("server_round_robin = 1").await;
}

#[actix::test]
async fn no_notification_reaches_other_clients_of_a_pooler_that_resets_connections() {
    nothing_listens_through("server_reset_query_always = 1").await;
}

/// A port that forwards `count` connections to the server and refuses later ones.
async fn forward(count: usize, server: &Postgres) -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let target = (server.host().to_owned(), server.port());
    tokio::spawn(async move {
        for _ in 0..count {
            let (mut near, _) = listener.accept().await.unwrap();
            let target = target.clone();
            tokio::spawn(async move {
                let mut far = tokio::net::TcpStream::connect(target).await.unwrap();
                // Copying stops when either side closes.
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    port
}

struct Write;

impl TransactionalHandler for Write {
    type Event = Event;

    async fn handle(
        &self,
        _: Event,
        _: Attempt,
        transaction: &mut Transaction<'_>,
    ) -> HandlerResult {
        transaction
            .execute("INSERT INTO effects DEFAULT VALUES", &[])
            .await?;
        Ok(())
    }
}

/// Runs a consumer whose first host accepts `count` connections, and whose second host is a pooler. The first connections are
/// the listening one and that of the check for poolers.
async fn pooler_behind_a_host_that_accepts(count: usize) {
    let server = Postgres::shared().await.unwrap();
    let Some(pooler) = Pooler::start(server, "transaction", OF_THREE).await else {
        return;
    };
    let (url, _) = recorded(server).await;
    let direct = client(&url).await;
    let setup = "CREATE TABLE effects (); INSERT INTO t VALUES (1)";
    direct.batch_execute(setup).await.unwrap();
    let own = format!("{}:{}", server.host(), server.port());
    let first = forward(count, server).await;
    let both = url.replace(
        &own,
        &format!("127.0.0.1:{first},127.0.0.1:{}", pooler.port),
    );
    let options = DurableOptions::new("g").from_beginning().concurrency(1);
    let (group, consumer) = Consumer::transactional(config(&both), options, || Write).unwrap();
    actix::spawn(consumer.run());
    let mut health = group.health();
    let is_refused = |health: &Health| match health {
        Health::Degraded { cause, .. } => cause.kind() == ErrorKind::Pooler,
        _ => false,
    };
    let waiting = async {
        while !is_refused(&health.borrow_and_update()) {
            assert_eq!(
                group.report().handled,
                0,
                "an attempt went through the pooler"
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(DEADLINE, waiting).await.unwrap();
}

#[actix::test]
async fn attempts_do_not_run_through_a_pooler_on_another_host() {
    pooler_behind_a_host_that_accepts(3).await;
}

#[actix::test]
async fn leases_are_not_renewed_through_a_pooler_on_another_host() {
    pooler_behind_a_host_that_accepts(2).await;
}

#[actix::test]
async fn a_consumer_with_one_host_checks_for_poolers_once() {
    let server = Postgres::shared().await.unwrap();
    let (url, _) = recorded(server).await;
    let setup = "CREATE TABLE effects (); INSERT INTO t VALUES (1)";
    client(&url).await.batch_execute(setup).await.unwrap();
    let own = format!("{}:{}", server.host(), server.port());
    // The listening connection, and those of the check for poolers, of the lease and of attempts.
    let port = forward(4, server).await;
    let url = url.replace(&own, &format!("127.0.0.1:{port}"));
    let options = DurableOptions::new("g").from_beginning().concurrency(1);
    let (group, consumer) = Consumer::transactional(config(&url), options, || Write).unwrap();
    actix::spawn(consumer.run());
    let begun = Instant::now();
    while group.report().handled == 0 {
        assert!(begun.elapsed() < DEADLINE, "{}", *group.health().borrow());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[actix::test]
async fn a_pooler_in_session_mode_is_accepted() {
    let server = Postgres::shared().await.unwrap();
    let Some(pooler) = Pooler::start(server, "session", OF_THREE).await else {
        return;
    };
    let (url, spec) = recorded(server).await;
    let pooled = pooler.url(&url, server);
    let (listener, probe) = listen_to(outbox(&pooled, spec).factory().unwrap()).await;
    live(&probe).await;
    drop((listener, probe));
    let other = server.create_database().await.unwrap();
    let (_listener, probe) = listen(source(&pooler.url(&other, server))).await;
    live(&probe).await;
}
