//! Tests of durable handlers with `TestDatabase`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at once")]

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use pgherald_core::group::{Batch, BatchHandler, TransactionalHandler};
use pgherald_core::trigger::TriggerSpec;
use pgherald_core::{
    Attempt, Changed, DurableOptions, Event, EventHandler, HandlerError, HandlerResult, Inserted,
    Operation, Resync, Table, TableName,
};
use pgherald_testkit::{Error, TestDatabase};
use tokio_postgres::Transaction;

struct User;

impl Table for User {
    const NAME: &'static str = "users";
    const KEY: &'static [&'static str] = &["id"];
    type Key = i64;
}

const TABLES: &str = "
    CREATE TABLE users (id bigint PRIMARY KEY, email text);
    CREATE TABLE statistics AS SELECT 0 AS users;
    CREATE TABLE seen (id bigint PRIMARY KEY DEFERRABLE INITIALLY DEFERRED)";

async fn database() -> TestDatabase {
    let database = TestDatabase::create().await.unwrap();
    database.execute(TABLES).await.unwrap();
    let users = TriggerSpec::of::<User>().unwrap().columns(["email"]);
    let users = users.old_columns().outbox();
    database.watch([users]).await.unwrap();
    database
}

fn inserted(id: i64) -> Event {
    let event = Event::builder("public", "users", Operation::Insert);
    event.key(id).build()
}

/// Counts users, and fails for some.
struct Count;

impl TransactionalHandler for Count {
    type Event = Inserted<User>;

    async fn handle(
        &self,
        user: Inserted<User>,
        attempt: Attempt,
        transaction: &mut Transaction<'_>,
    ) -> HandlerResult {
        let sql = "UPDATE statistics SET users = users + 1";
        transaction.execute(sql, &[]).await?;
        match user.key {
            1 => Err("refused".into()),
            2 if !attempt.is_last() => Err("not yet".into()),
            3 => Err(HandlerError::snooze(Duration::from_secs(60))),
            4 => panic!("a bug"),
            // Refused at COMMIT.
            5 => {
                transaction
                    .execute("INSERT INTO seen VALUES (5), (5)", &[])
                    .await?;
                Ok(())
            }
            6 => {
                transaction.batch_execute("COMMIT").await?;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

#[tokio::test]
async fn sql_commits_the_effects_of_a_transactional_handler() -> Result<(), Error> {
    let database = TestDatabase::create().await?;
    database.execute(TABLES).await?;
    database
        .watch([TriggerSpec::of::<User>()?.outbox()])
        .await?;
    let outcome = database
        .transactional(DurableOptions::new("count"), || Count)
        .sql("INSERT INTO users VALUES (7)")
        .await?;
    assert!(outcome.is_handled(), "{outcome}");
    assert_eq!(
        database.rows("SELECT users FROM statistics").await?,
        [["1"]]
    );
    Ok(())
}

/// Runs one test. Returns the outcome and the count afterwards.
async fn run(is_sql: bool, id: i64, attempts: u32) -> (String, String) {
    let database = database().await;
    let test = database.transactional(DurableOptions::new("count"), || Count);
    let test = test.attempts(attempts);
    let outcome = match is_sql {
        true => test.sql(&format!("INSERT INTO users VALUES ({id})")).await,
        false => test.events([inserted(id)]).await,
    };
    let rows = database.rows("SELECT users FROM statistics").await.unwrap();
    (outcome.unwrap().to_string(), rows[0][0].clone())
}

#[tokio::test]
async fn sql_and_events_have_the_same_outcomes() {
    for (id, attempts, outcome, count) in [
        (7, 1, "1 handled, 0 failed", "1"),
        (
            1,
            1,
            "0 handled, 1 failed; insert public.users 1: refused (attempt 1)",
            "0",
        ),
        (
            1,
            3,
            "0 handled, 1 failed; insert public.users 1: refused (attempt 3)",
            "0",
        ),
        (2, 3, "1 handled, 0 failed", "1"),
        (
            3,
            3,
            "0 handled, 1 failed; insert public.users 3: snoozed",
            "0",
        ),
        (
            4,
            1,
            "0 handled, 1 failed; insert public.users 4: panicked: a bug (attempt 1)",
            "0",
        ),
        (5, 1, "0 handled, 1 failed; insert public.users 5: ", "0"),
        (
            6,
            1,
            "0 handled, 1 failed; insert public.users 6: the handler ended its transaction",
            "1",
        ),
    ] {
        for is_sql in [false, true] {
            let (found, users) = run(is_sql, id, attempts).await;
            assert!(found.starts_with(outcome), "{id} {is_sql}: {found}");
            assert_eq!(users, count, "{id} {is_sql}");
            assert!(id != 5 || found.contains("duplicate key"), "{found}");
        }
    }
}

#[tokio::test]
async fn sql_handles_only_its_own_changes_without_a_resync() {
    /// Fails permanently if there is a resync.
    struct Strict;

    impl TransactionalHandler for Strict {
        type Event = Changed<User>;

        async fn handle(
            &self,
            user: Changed<User>,
            _: Attempt,
            transaction: &mut Transaction<'_>,
        ) -> HandlerResult {
            let is_changed = user.event.changed() == Some(&["email".to_owned()][..]);
            let increment = if is_changed { 10 } else { 1 };
            let sql = "UPDATE statistics SET users = users + $1";
            transaction.execute(sql, &[&increment]).await?;
            Ok(())
        }

        async fn resync(&self, resync: Resync, _: &mut Transaction<'_>) -> HandlerResult {
            Err(HandlerError::permanent(resync.to_string()))
        }
    }

    let database = database().await;
    let test = database.transactional(DurableOptions::new("strict"), || Strict);
    let first = test.sql("INSERT INTO users VALUES (1), (2)").await.unwrap();
    assert_eq!(first.handled(), 2, "{first}");
    let second = test.sql("UPDATE users SET email = 'a' WHERE id = 1").await;
    assert_eq!(second.unwrap().handled(), 1);
    let none = test.sql("SELECT 1").await.unwrap();
    assert!(!none.is_handled());
    assert!(none.to_string().contains("no event was handled"), "{none}");
    let rows = database.rows("SELECT users FROM statistics").await.unwrap();
    assert_eq!(rows, [["12"]]);
    let truncated = test.sql("TRUNCATE users").await.unwrap();
    assert!(
        truncated
            .error()
            .is_some_and(|error| error == "rows_unknown"),
        "{truncated}"
    );
    let groups = database
        .rows("SELECT name FROM pgherald.consumer_group")
        .await;
    assert!(groups.unwrap().is_empty());
}

/// Records the keys of its events.
struct Note {
    keys: Rc<RefCell<Vec<i64>>>,
}

impl EventHandler for Note {
    type Event = Inserted<User>;

    async fn handle(&self, user: Inserted<User>, attempt: Attempt) -> HandlerResult {
        assert!(attempt.idempotency_key().is_some());
        self.keys.borrow_mut().push(user.key);
        match user.key {
            1 => Err("refused".into()),
            2 => std::future::pending().await,
            _ => Ok(()),
        }
    }
}

#[tokio::test]
async fn plain_handler_runs_with_sql_and_events() {
    let database = database().await;
    let keys = Rc::new(RefCell::new(Vec::new()));
    let recorded = Rc::clone(&keys);
    let options = DurableOptions::new("note").timeout(Duration::from_millis(200));
    let test = database.handler(options, move || Note {
        keys: Rc::clone(&recorded),
    });
    let other = Event::builder("public", "others", Operation::Insert)
        .key(9)
        .build();
    let outcome = test
        .events([inserted(1), other, inserted(2), inserted(3)])
        .await
        .unwrap();
    assert_eq!(keys.take(), [1, 2, 3]);
    assert_eq!(outcome.handled(), 1);
    assert_eq!(
        outcome
            .failures()
            .iter()
            .map(|failed| &*failed.error)
            .collect::<Vec<_>>(),
        ["refused", "took longer than 200ms"]
    );
    let sql = "INSERT INTO users VALUES (1), (2), (3); UPDATE users SET email = 'a'";
    let outcome = test.sql(sql).await.unwrap();
    let mut handled = keys.take();
    handled.sort_unstable();
    assert_eq!(handled, [1, 2, 3]);
    assert_eq!(
        (outcome.handled(), outcome.failures().len()),
        (1, 2),
        "{outcome}"
    );
}

#[tokio::test]
async fn batch_handler_receives_the_batches_of_a_consumer() {
    struct Index {
        sizes: Rc<RefCell<Vec<usize>>>,
    }

    impl BatchHandler for Index {
        type Event = Changed<User>;

        async fn handle(&self, batch: &mut Batch<Changed<User>>) -> HandlerResult {
            self.sizes.borrow_mut().push(batch.events().len());
            let refused = batch.events().iter().position(|user| user.key == 2);
            if let Some(index) = refused {
                batch.fail(index, "refused");
            }
            Ok(())
        }
    }

    let database = database().await;
    let sizes = Rc::new(RefCell::new(Vec::new()));
    let recorded = Rc::clone(&sizes);
    let test = database.batches(DurableOptions::new("index").max_batch(3), move || Index {
        sizes: Rc::clone(&recorded),
    });
    let test = test.attempts(2);
    let events = [1, 2, 3, 4, 4, 5].map(inserted);
    let outcome = test.events(events).await.unwrap();
    // At most three events, one of each row. The failed event is retried alone.
    assert_eq!(sizes.take(), [3, 1, 1, 2]);
    assert_eq!(outcome.handled(), 5);
    assert_eq!(outcome.failures()[0].attempts, 2);
    let outcome = test
        .sql("INSERT INTO users SELECT generate_series(1, 4)")
        .await
        .unwrap();
    assert_eq!(
        (outcome.handled(), outcome.failures().len()),
        (3, 1),
        "{outcome}"
    );
    assert!(sizes.take().iter().all(|size| *size <= 3));
}

#[tokio::test]
async fn invalid_tests_return_errors_that_name_the_cause() {
    let database = TestDatabase::create().await.unwrap();
    database.execute(TABLES).await.unwrap();
    let count = || database.transactional(DurableOptions::new("count"), || Count);
    let others = TableName::new("public", "statistics").unwrap();
    database
        .watch([TriggerSpec::new(others).outbox()])
        .await
        .unwrap();
    let error = count().sql("SELECT 1").await.unwrap_err().to_string();
    assert!(error.contains("would receive no events"), "{error}");

    let users = TriggerSpec::of::<User>().unwrap();
    database.watch([users.clone()]).await.unwrap();
    let error = count().sql("SELECT 1").await.unwrap_err().to_string();
    assert!(error.contains("notify mode"), "{error}");

    let other = TestDatabase::create().await.unwrap();
    other.execute(TABLES).await.unwrap();
    other.watch([users.outbox()]).await.unwrap();
    let count = other.transactional(DurableOptions::new("count"), || Count);
    let error = count.sql("INSERT INTO usres VALUES (1)").await.unwrap_err();
    let debug = format!("{error:?}");
    assert!(
        debug.contains("usres") && debug.contains("does not exist"),
        "{debug}"
    );
    // The group of the failed test was deleted.
    assert!(
        count
            .sql("INSERT INTO users VALUES (7)")
            .await
            .unwrap()
            .is_handled()
    );

    other
        .execute("DROP TRIGGER pgherald_notify_insert ON users")
        .await
        .unwrap();
    let count = count.within(Duration::from_secs(2));
    let error = count.sql("SELECT 1").await.unwrap_err().to_string();
    assert!(
        error.contains("did not become live") && error.contains("users"),
        "{error}"
    );

    let hanging = other.handler(DurableOptions::new("hang"), || Note {
        keys: Rc::default(),
    });
    let hanging = hanging.within(Duration::from_millis(100));
    let error = hanging.events([inserted(2)]).await.unwrap_err().to_string();
    assert!(error.contains("did not finish within 100ms"), "{error}");
}
