//! Effects in the database of the outbox are committed together with the acknowledgement, or not at all.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use pgherald_core::group::{Consumer, ConsumerHandle, TransactionalHandler};
use pgherald_core::{Attempt, DurableOptions, Event, HandlerResult, Resync};
use pgherald_testkit::{FaultProxy, Postgres};
use rustix::process::{Pid, Signal, kill_process};
use tokio_postgres::Transaction;

use crate::support::{Scene, drained, local, options, report, shown};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Deed {
    Do,
    Fail,
    /// A statement fails, and the handler ignores the error.
    Swallow,
    /// Violates a deferred constraint, which is checked at the commit.
    Defer,
    Hang,
    /// A statement takes too long.
    Sleep,
    Panic,
    /// Terminates its own backend.
    Quit,
    /// Locks the cursors, and then runs no more statements.
    Hold,
    /// Stops the backend of the connection.
    Freeze,
}

thread_local! {
    static FROZEN: RefCell<Vec<Pid>> = const { RefCell::new(Vec::new()) };
}

type Plan = Rc<dyn Fn(&str, u32) -> Deed>;

struct Effects(Plan);

impl TransactionalHandler for Effects {
    type Event = Event;

    async fn resync(&self, _: Resync, _: &mut Transaction<'_>) -> HandlerResult {
        Ok(())
    }

    async fn handle(
        &self,
        event: Event,
        attempt: Attempt,
        transaction: &mut Transaction<'_>,
    ) -> HandlerResult {
        let shown = shown(&event);
        let (id, value) = shown.split_once('=').unwrap();
        let (id, value): (i32, i64) = (id.parse()?, value.parse()?);
        let note = "INSERT INTO effects (id, value, worker) VALUES ($1, $2, 0)";
        transaction.execute(note, &[&id, &value]).await?;
        match (self.0)(&shown, attempt.number()) {
            Deed::Do => Ok(()),
            Deed::Fail => Err("no".into()),
            Deed::Swallow => {
                transaction.execute("SELECT 1 / 0", &[]).await.unwrap_err();
                Ok(())
            }
            Deed::Defer => {
                transaction
                    .execute("INSERT INTO child VALUES (1)", &[])
                    .await?;
                Ok(())
            }
            Deed::Hang => std::future::pending().await,
            Deed::Sleep => {
                transaction.execute("SELECT pg_sleep(3600)", &[]).await?;
                Ok(())
            }
            Deed::Panic => panic!("a bug"),
            Deed::Quit => {
                let quit = "SELECT pg_terminate_backend(pg_backend_pid())";
                transaction.execute(quit, &[]).await?;
                tokio::time::sleep(Duration::from_millis(20)).await;
                Err("it should have ended".into())
            }
            Deed::Hold => {
                transaction
                    .execute("SELECT FROM pgherald.consumer_cursor FOR UPDATE", &[])
                    .await?;
                std::future::pending().await
            }
            Deed::Freeze => {
                let row = transaction
                    .query_one("SELECT pg_backend_pid()", &[])
                    .await?;
                let pid = Pid::from_raw(row.get(0)).unwrap();
                kill_process(pid, Signal::STOP).unwrap();
                FROZEN.with_borrow_mut(|frozen| frozen.push(pid));
                Ok(())
            }
        }
    }
}

fn start(
    url: &str,
    options: DurableOptions,
    plan: impl Fn(&str, u32) -> Deed + 'static,
) -> ConsumerHandle {
    let plan: Plan = Rc::new(plan);
    let factory = move || Effects(Rc::clone(&plan));
    let (handle, consumer) =
        Consumer::transactional(url.parse().unwrap(), options, factory).unwrap();
    tokio::task::spawn_local(consumer.run());
    handle
}

/// The effects of each row, in order.
async fn effects(scene: &Scene) -> Vec<(i32, i64)> {
    let sql = "SELECT id, value FROM effects ORDER BY id, number";
    let rows = scene.client.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

const WORK: &str = "INSERT INTO jobs VALUES (1, 1), (2, 1); UPDATE jobs SET value = 2";
const ONCE: [(i32, i64); 4] = [(1, 1), (1, 2), (2, 1), (2, 2)];

#[tokio::test]
async fn a_failed_attempt_leaves_no_effect_and_is_retried() {
    for deed in [
        Deed::Fail,
        Deed::Swallow,
        Deed::Defer,
        Deed::Hang,
        Deed::Sleep,
        Deed::Panic,
    ] {
        local(async {
            let scene = Scene::new().await;
            scene
                .run(
                    "CREATE TABLE parent (id int PRIMARY KEY);
                    CREATE TABLE child (id int REFERENCES parent DEFERRABLE INITIALLY DEFERRED)",
                )
                .await;
            let options = options("g").timeout(Duration::from_millis(
                if deed == Deed::Hang || deed == Deed::Sleep {
                    200
                } else {
                    20_000
                },
            ));
            let plan = move |line: &str, attempt: u32| match (line, attempt) {
                ("1=1", 1 | 2) => deed,
                _ => Deed::Do,
            };
            let handle = start(&scene.url, options, plan);
            scene.run(WORK).await;
            report(&handle, &format!("{deed:?}"), |report| report.handled == 4).await;
            let end = drained(&handle).await;
            assert_eq!(effects(&scene).await, ONCE, "{deed:?}");
            assert_eq!((end.retried, end.dead_letters), (2, 0), "{deed:?}: {end:?}");
            assert_eq!(
                scene
                    .number("SELECT count(*) FROM pgherald.parked_event")
                    .await,
                0
            );
        })
        .await;
    }
}

#[tokio::test]
async fn an_event_that_never_succeeds_becomes_a_dead_letter_without_effects() {
    local(async {
        let scene = Scene::new().await;
        let plan = |line: &str, _| {
            if line == "1=1" {
                Deed::Swallow
            } else {
                Deed::Do
            }
        };
        let handle = start(&scene.url, options("g"), plan);
        scene.run(WORK).await;
        report(&handle, "all", |report| {
            report.handled == 3 && report.dead_letters == 1
        })
        .await;
        drained(&handle).await;
        assert_eq!(effects(&scene).await, ONCE[1..]);
        let letters = scene.group("g").dead_letters(None, 9).await.unwrap();
        assert!(
            letters[0].error.as_deref().unwrap().contains("aborted"),
            "{letters:?}"
        );
        // The retry is handled by a consumer that succeeds.
        assert_eq!(scene.group("g").retry_dead_letters(None).await.unwrap(), 1);
        let handle = start(&scene.url, options("g"), |_, _| Deed::Do);
        report(&handle, "again", |report| report.handled == 1).await;
        drained(&handle).await;
        assert_eq!(effects(&scene).await, [(1, 2), (1, 1), (2, 1), (2, 2)]);
    })
    .await;
}

#[tokio::test]
async fn roles_with_serializable_default_transactions_are_supported() {
    local(async {
        let scene = Scene::new().await;
        scene
            .set_for_new_sessions("default_transaction_isolation = serializable")
            .await;
        let plan = |line: &str, attempt: u32| match (line, attempt) {
            ("7=1", 1) => Deed::Fail,
            _ => Deed::Do,
        };
        let soon = pgherald_core::Backoff::new(Duration::from_millis(1), Duration::from_millis(9));
        let options = || options("g").retry(pgherald_core::RetryPolicy::new(100, soon));
        let first = start(&scene.url, options(), plan);
        scene
            .run("INSERT INTO jobs SELECT n, 1 FROM generate_series(1, 100) AS n")
            .await;
        let second = start(&scene.url, options(), plan);
        scene.run("UPDATE jobs SET value = 2").await;
        scene.becomes("SELECT count(*) FROM effects", 200).await;
        drained(&first).await;
        drained(&second).await;
        let expected: Vec<(i32, i64)> = (1..=100).flat_map(|id| [(id, 1), (id, 2)]).collect();
        assert_eq!(effects(&scene).await, expected);
    })
    .await;
}

#[tokio::test]
async fn roles_with_read_only_default_transactions_are_supported() {
    local(async {
        let scene = Scene::new().await;
        scene
            .set_for_new_sessions("default_transaction_read_only = on")
            .await;
        let plan = |line: &str, attempt: u32| match (line, attempt) {
            ("1=1", 1) => Deed::Fail,
            _ => Deed::Do,
        };
        let handle = start(&scene.url, options("g"), plan);
        scene.run(WORK).await;
        report(&handle, "all", |report| report.handled == 4).await;
        drained(&handle).await;
        assert_eq!(effects(&scene).await, ONCE);
    })
    .await;
}

#[tokio::test]
async fn an_attempt_on_a_silent_connection_ends_at_its_timeout() {
    local(async {
        let server = Postgres::shared().await.unwrap();
        let scene = Scene::new().await;
        let proxy = FaultProxy::start((server.host(), server.port()))
            .await
            .unwrap();
        let url = proxy.url(&scene.url);
        // The attempts' connections stay cut off, and no error is reported to them.
        let handle = start(
            &url,
            options("g").timeout(Duration::from_secs(3)),
            |_, _| Deed::Do,
        );
        scene
            .run("INSERT INTO jobs SELECT n, 1 FROM generate_series(1, 100) AS n")
            .await;
        report(&handle, "all", |report| report.handled == 100).await;
        let health = handle.health();
        proxy.stall();
        scene.run("UPDATE jobs SET value = 2").await;
        crate::support::until("not live", || !health.borrow().is_live(), String::new).await;
        proxy.resume();
        report(&handle, "all", |report| {
            report.handled >= 100 && report.in_flight == 0
        })
        .await;
        scene.becomes("SELECT count(*) FROM effects", 200).await;
        drained(&handle).await;
        let expected: Vec<(i32, i64)> = (1..=100).flat_map(|id| [(id, 1), (id, 2)]).collect();
        assert_eq!(effects(&scene).await, expected);
    })
    .await;
}

#[tokio::test]
async fn an_attempt_whose_acknowledgement_gets_no_response_is_retried_and_never_committed() {
    local(async {
        let scene = Scene::new().await;
        let is_first = std::cell::Cell::new(true);
        let plan = move |line: &str, _| match line == "1=1" && is_first.replace(false) {
            true => Deed::Freeze,
            false => Deed::Do,
        };
        let options = options("g").timeout(Duration::from_millis(500));
        let handle = start(&scene.url, options, plan);
        scene.run(WORK).await;
        report(&handle, "all", |report| report.handled == 4).await;
        for pid in FROZEN.take() {
            kill_process(pid, Signal::CONT).unwrap();
        }
        let open = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE '%in transaction%'";
        scene.becomes(open, 0).await;
        let end = drained(&handle).await;
        assert_eq!(effects(&scene).await, ONCE);
        assert_eq!((end.errors, end.dead_letters), (0, 0));
    })
    .await;
}

#[tokio::test]
async fn an_idle_transaction_ends_with_its_attempt() {
    local(async {
        let scene = Scene::new().await;
        let plan = |line: &str, attempt| match (line, attempt) {
            ("1=1", 1) => Deed::Hold,
            _ => Deed::Do,
        };
        let options = options("g").timeout(Duration::from_secs(4));
        let handle = start(&scene.url, options, plan);
        scene.run("INSERT INTO jobs VALUES (1, 1)").await;
        let held = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'";
        scene.becomes(held, 1).await;
        scene.run("SET lock_timeout = '60s'; SELECT FROM pgherald.consumer_cursor FOR UPDATE").await;
        assert_eq!(scene.number("SELECT count(*) FROM effects").await, 0);
        report(&handle, "handled", |report| report.handled == 1).await;
        drained(&handle).await;
        assert_eq!(effects(&scene).await, [(1, 1)]);
    })
    .await;
}

#[tokio::test]
async fn an_event_that_terminates_its_own_connection_does_not_block_others() {
    local(async {
        let scene = Scene::new().await;
        let plan = |line: &str, _| match line {
            "1=1" => Deed::Quit,
            _ => Deed::Do,
        };
        let handle = start(&scene.url, options("g").slices(1), plan);
        scene.run(WORK).await;
        report(&handle, "all", |report| {
            report.handled == 3 && report.dead_letters == 1
        })
        .await;
        drained(&handle).await;
        assert_eq!(effects(&scene).await, ONCE[1..]);
    })
    .await;
}

/// A trigger by which the group cannot record that row 1 has failed.
const REFUSE: &str = "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not this one'; END $$;
    CREATE TRIGGER refuse BEFORE INSERT ON pgherald.parked_event
        FOR EACH ROW WHEN (NEW.key = '1') EXECUTE FUNCTION refuse()";

fn first_fails(shown: &str, attempt: u32) -> Deed {
    match (shown, attempt) {
        ("1=1", 1) => Deed::Fail,
        _ => Deed::Do,
    }
}

#[tokio::test]
async fn a_held_up_slice_that_was_lost_continues_after_it_is_claimed_again() {
    local(async {
        let scene = Scene::new().await;
        scene.run(REFUSE).await;
        let handle = start(&scene.url, options("g").slices(1), first_fails);
        scene.run("INSERT INTO jobs VALUES (1, 1), (2, 1)").await;
        report(&handle, "held up", |report| report.held_up.contains_key(&0)).await;
        // The lease expires, as when a process was stopped.
        let epoch = "SELECT epoch FROM pgherald.consumer_cursor";
        let before = scene.number(epoch).await;
        scene.run("DELETE FROM pgherald.consumer_node").await;
        scene.becomes(epoch, before + 1).await;
        report(&handle, "held up again", |report| {
            report.errors == 2 && report.held_up.contains_key(&0)
        })
        .await;
        assert_eq!(effects(&scene).await, []);
        scene
            .run("DROP TRIGGER refuse ON pgherald.parked_event")
            .await;
        report(&handle, "both", |report| report.handled == 2).await;
        drained(&handle).await;
        assert_eq!(effects(&scene).await, [(1, 1), (2, 1)]);
    })
    .await;
}

#[tokio::test]
async fn events_of_a_held_up_slice_do_not_block_reading_other_slices() {
    local(async {
        let scene = Scene::new().await;
        scene.run(&REFUSE.replace("'1'", "'400'")).await;
        // More events than are taken in at a time, all of the slice of row 400.
        scene.run("INSERT INTO jobs SELECT n, 1 FROM generate_series(1, 10000) AS n").await;
        let other = "DELETE FROM pgherald.outbox WHERE hash & 1 <> (SELECT hash & 1 FROM pgherald.outbox WHERE key = '400')";
        scene.run(other).await;
        let in_all = scene.number("SELECT count(*) FROM pgherald.outbox").await;
        let plan = |shown: &str, attempt| match (shown, attempt) {
            ("400=1", 1) => Deed::Fail,
            _ => Deed::Do,
        };
        let handle = start(&scene.url, options("g").slices(2), plan);
        report(&handle, "held up", |report| report.held_up.len() == 1 && report.in_flight > 4_000).await;
        let before = handle.report().handled;
        scene.run("INSERT INTO jobs SELECT n, 1 FROM generate_series(10001, 10100) AS n").await;
        report(&handle, "others", |report| report.handled > before + 20).await;
        scene.run("DROP TRIGGER refuse ON pgherald.parked_event").await;
        report(&handle, "all", |report| report.handled as i64 == in_all + 100).await;
        assert_eq!(handle.report().errors, 1, "errors are counted for other events");
        drained(&handle).await;
    })
    .await;
}

/// An operator who resets statistics causes no new history.
#[tokio::test]
async fn resetting_statistics_does_not_stop_attempts() {
    local(async {
        let server = Postgres::start().await.unwrap();
        let scene = Scene::at(server.create_database().await.unwrap()).await;
        let handle = start(
            &scene.url,
            options("g").lease(Duration::from_secs(60)),
            |_, _| Deed::Do,
        );
        report(&handle, "slices", |report| report.slices == 8).await;
        scene.run("SELECT pg_stat_reset_shared('bgwriter')").await;
        // For connections that are opened from now on.
        scene
            .run("INSERT INTO jobs SELECT n, 1 FROM generate_series(1, 20) AS n")
            .await;
        report(&handle, "all", |report| report.handled == 20).await;
        drained(&handle).await;
        assert_eq!(effects(&scene).await.len(), 20);
    })
    .await;
}

/// The connections of attempts detect the new history before the session does. Both begin again.
#[tokio::test]
async fn attempts_that_detect_another_history_end_the_session_without_losing_events() {
    local(async {
        let scene = Scene::new().await;
        // The session itself looks again after a third of the lease, long after this test.
        let options = options("g").lease(Duration::from_secs(3_600));
        let handle = start(&scene.url, options, |_, _| Deed::Do);
        report(&handle, "slices", |report| report.slices == 8).await;
        scene
            .run("DELETE FROM pgherald.outbox_history; INSERT INTO jobs SELECT n, 1 FROM generate_series(1, 20) AS n")
            .await;
        report(&handle, "all and a resync", |report| report.handled == 21).await;
        drained(&handle).await;
        assert_eq!(effects(&scene).await.len(), 20);
    })
    .await;
}
