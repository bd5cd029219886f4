//! Credentials are looked up again for each connection.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pgherald::group::{Consumer, TransactionalHandler};
use pgherald::{
    Attempt, Backoff, ConnectConfig, DurableOptions, ErrorKind, Event, HandlerResult, NotifySource,
    NotifySourceBuilder, OutboxSource,
};
use pgherald_testkit::{Postgres, Seen};
use tokio_postgres::Transaction;

use crate::support::{
    DEADLINE, cause, client, listen, listen_to, live, not_live, numbers, recorded,
};

/// A token that changes while programs run.
#[derive(Clone, Default)]
struct Token(Arc<Mutex<Option<String>>>);

impl Token {
    fn set(&self, token: &str) {
        *self.0.lock().unwrap() = Some(token.to_owned());
    }

    fn provided(&self, url: &str) -> ConnectConfig {
        let token = self.clone();
        let config: ConnectConfig = url.parse().unwrap();
        config.password_provider(move || {
            let token = token.0.lock().unwrap().clone();
            async move { token.ok_or_else(|| io::Error::other("the vault is sealed")) }
        })
    }
}

/// A source that retries quickly.
fn quick(source: NotifySourceBuilder) -> NotifySourceBuilder {
    let backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(200));
    source.backoff(backoff)
}

struct Note;

impl TransactionalHandler for Note {
    type Event = Event;

    async fn handle(&self, _: Event, _: Attempt, at: &mut Transaction<'_>) -> HandlerResult {
        at.execute("INSERT INTO noted DEFAULT VALUES", &[]).await?;
        Ok(())
    }
}

#[actix::test]
async fn a_password_provider_is_called_for_each_connection() {
    let server = Postgres::builder().password("first").start().await.unwrap();
    let (direct, spec) = recorded(&server).await;
    let admin = client(&direct).await;
    admin
        .batch_execute("CREATE TABLE noted (n int)")
        .await
        .unwrap();
    let url = direct.replace(":first@", "@");
    assert_ne!(url, direct);
    let token = Token::default();
    token.set("first");
    let config = token.provided(&url);
    assert!(!format!("{config:?}").contains("first"));

    let by_notify = quick(NotifySource::builder(token.provided(&url)));
    let (_by_notify, by_notify) = listen(by_notify).await;
    let by_outbox = OutboxSource::builder(config.clone()).watch(spec);
    let (_by_outbox, by_outbox) = listen_to(by_outbox.factory().unwrap()).await;
    let options = DurableOptions::new("g").from_beginning();
    let (_group, consumer) = Consumer::transactional(config, options, || Note).unwrap();
    actix::spawn(consumer.run());
    let noted = async |count: i64| {
        let sql = "SELECT count(*) FROM noted";
        let waiting = async {
            while admin.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) != count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(DEADLINE, waiting).await.unwrap();
    };
    live(&by_notify).await;
    live(&by_outbox).await;
    admin
        .batch_execute("INSERT INTO t VALUES (1)")
        .await
        .unwrap();
    noted(1).await;

    admin
        .batch_execute("ALTER ROLE postgres PASSWORD 'second'")
        .await
        .unwrap();
    token.set("second");
    let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' \
        AND pid <> pg_backend_pid()";
    admin.execute(sql, &[]).await.unwrap();
    admin
        .batch_execute("INSERT INTO t VALUES (2)")
        .await
        .unwrap();
    let both = |seen: &Seen| numbers(seen) == [1, 2];
    by_outbox
        .wait_for("both rows", DEADLINE, both)
        .await
        .unwrap();
    let twice = |seen: &Seen| {
        seen.health()
            .iter()
            .filter(|health| health.is_live())
            .count()
            == 2
    };
    by_notify
        .wait_for("live again", DEADLINE, twice)
        .await
        .unwrap();
    noted(2).await;
}

#[actix::test]
async fn a_failing_password_provider_is_reported_and_retried() {
    let server = Postgres::builder().password("right").start().await.unwrap();
    let url = server.url().replace(":right@", "@");
    let token = Token::default();
    let (_listener, probe) = listen(quick(NotifySource::builder(token.provided(&url)))).await;
    let error = cause(&not_live(&probe).await);
    assert!(error.kind() == ErrorKind::Authentication && error.is_retryable());
    let chain = error.chain();
    assert!(
        chain.contains("the password provider failed: the vault is sealed"),
        "{chain}"
    );
    token.set("right");
    live(&probe).await;
}
