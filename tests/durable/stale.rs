//! What a consumer writes about a slice waits for a lock while another consumer takes the slice: it writes nothing.
//!
//! Minor releases before November 2025 do not check the place of a row again that was found by it and had to be waited
//! for. So what fences has to be a condition on the row that is written.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use pgherald_core::group::ConsumerHandle;
use pgherald_core::{HandlerError, HandlerResult};

use crate::script::{Step, start};
use crate::support::{LIMIT, Log, Scene, drained, local, report, terms};

/// Backends of this database that wait for a lock.
const WAITING: &str = "SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'";
/// What the other consumer has come to.
const CURSOR: &str = "3:3: 0 3 0";

/// What is written late.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Late {
    /// A cursor.
    Done,
    /// A cursor, and an event to be parked.
    Park,
    /// That a parked event was handled.
    SettleDone,
    /// That a parked event has failed again.
    SettleFailed,
    /// A cursor, by an attempt.
    Commit,
    /// That a parked event was handled, by an attempt.
    CommitParked,
}

impl Late {
    fn is_transactional(self) -> bool {
        matches!(self, Self::Commit | Self::CommitParked)
    }

    /// Which attempt's outcome is written late.
    fn attempt(self) -> u32 {
        match self {
            Self::Done | Self::Park | Self::Commit => 1,
            Self::SettleDone | Self::SettleFailed | Self::CommitParked => 2,
        }
    }
}

fn soon() -> HandlerResult {
    Err(HandlerError::retry_after("later", Duration::ZERO))
}

fn begin(scene: &Scene, late: Late, log: &Log, gate: &Rc<Cell<bool>>) -> ConsumerHandle {
    let terms = terms("g")
        .slices(1)
        .lease(Duration::from_secs(20))
        .timeout(LIMIT);
    let gate = Rc::clone(gate);
    if late.is_transactional() {
        return start(&scene.url, terms, log, move |_, attempt| match attempt {
            _ if attempt == late.attempt() => vec![Step::Note, Step::Wait(Rc::clone(&gate))],
            _ => vec![Step::Fail],
        });
    }
    let plan = move |_: &str, attempt: u32| match late {
        Late::SettleDone | Late::SettleFailed if attempt == 1 => soon(),
        Late::Park | Late::SettleFailed => soon(),
        _ => Ok(()),
    };
    scene.start(terms, log, Box::new(plan))
}

async fn write_late(late: Late) {
    let scene = Scene::new().await;
    let (log, gate) = (Log::default(), Rc::new(Cell::new(false)));
    let handle = begin(&scene, late, &log, &gate);
    report(&handle, "its slice", |report| report.slices == 1).await;
    // Another consumer of the group, which lives for as long as this takes. By its id it comes after this one, so the slice
    // is this one's share.
    let node =
        "INSERT INTO pgherald.consumer_node SELECT (jsonb_populate_record(n, '{\"id\": 9223372036854775807}')).*
        FROM pgherald.consumer_node AS n";
    scene.run(node).await;
    scene
        .run("UPDATE pgherald.consumer_node SET lease_until = now() + interval '1 hour' WHERE id = 9223372036854775807")
        .await;
    let mut parked = 0;
    let elsewhere = scene.connect().await;
    let hold = "BEGIN; SELECT FROM pgherald.consumer_cursor FOR UPDATE";
    if late.attempt() == 1 {
        elsewhere.batch_execute(hold).await.unwrap();
        scene.run("INSERT INTO jobs VALUES (1, 1)").await;
        log.has(1).await;
    } else {
        // The first attempt fails and is parked, the second one is held up on the way.
        scene
            .run(
                "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                    PERFORM pg_advisory_xact_lock_shared(7); RETURN NULL;
                END $$",
            )
            .await;
        elsewhere
            .batch_execute("SELECT pg_advisory_lock(7)")
            .await
            .unwrap();
        // What parks waits before it commits, so that no second attempt begins before the cursor is held.
        scene
            .run("CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON pgherald.parked_event DEFERRABLE INITIALLY DEFERRED
                FOR EACH ROW EXECUTE FUNCTION slow()")
            .await;
        scene.run("INSERT INTO jobs VALUES (1, 1)").await;
        scene.becomes(WAITING, 1).await;
        let holder = scene.connect().await;
        let holding = tokio::spawn(async move {
            holder.batch_execute(hold).await.unwrap();
            holder
        });
        scene.becomes(WAITING, 2).await;
        elsewhere
            .batch_execute("SELECT pg_advisory_unlock(7)")
            .await
            .unwrap();
        let holder = holding.await.unwrap();
        log.has(2).await;
        gate.set(true);
        scene.becomes(WAITING, 1).await;
        parked = 1;
        take_over(&holder).await;
    }
    if late.attempt() == 1 {
        gate.set(true);
        scene.becomes(WAITING, 1).await;
        take_over(&elsewhere).await;
    }
    report(&handle, "it has noticed", |report| report.slices == 0).await;
    let text = "SELECT (cursor = '3:3: 0 3 0')::int::bigint FROM pgherald.consumer_cursor";
    assert_eq!(
        scene.number(text).await,
        1,
        "{late:?}: the new owner's cursor was overwritten"
    );
    let rows = "SELECT coalesce(sum(1 + 10 * attempts), 0)::bigint FROM pgherald.parked_event";
    assert_eq!(
        scene.number(rows).await,
        parked * 11,
        "{late:?}: parked events were changed"
    );
    let effects = "SELECT count(*) FROM effects";
    assert_eq!(
        scene.number(effects).await,
        0,
        "{late:?}: an effect was committed"
    );
    drained(&handle).await;
}

/// The other consumer claims the slice.
async fn take_over(client: &tokio_postgres::Client) {
    let sql = format!(
        "UPDATE pgherald.consumer_slice SET node = 9223372036854775807, epoch = epoch + 1;
        UPDATE pgherald.consumer_cursor SET epoch = epoch + 1, generation = 0, cursor = '{CURSOR}';
        COMMIT"
    );
    client.batch_execute(&sql).await.unwrap();
}

#[tokio::test]
async fn a_late_cursor_does_not_overwrite_that_of_the_next_owner() {
    local(write_late(Late::Done)).await;
}

#[tokio::test]
async fn a_late_park_writes_no_event_that_the_next_owner_handles() {
    local(write_late(Late::Park)).await;
}

#[tokio::test]
async fn a_late_settlement_removes_no_parked_event_of_the_next_owner() {
    local(write_late(Late::SettleDone)).await;
}

#[tokio::test]
async fn a_late_settlement_counts_no_attempt_of_the_next_owner() {
    local(write_late(Late::SettleFailed)).await;
}

#[tokio::test]
async fn a_late_attempt_commits_nothing_over_the_next_owner() {
    local(write_late(Late::Commit)).await;
}

#[tokio::test]
async fn a_late_attempt_at_a_parked_event_commits_nothing_over_the_next_owner() {
    local(write_late(Late::CommitParked)).await;
}
