//! A consumer's write about a slice waits for a lock while another consumer claims the slice. The write must then change nothing.
//!
//! PostgreSQL minor releases before November 2025 do not recheck, after a lock wait, the row that led to the locked row. So the
//! fencing condition has to be on the row that is written.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use pgherald_core::group::ConsumerHandle;
use pgherald_core::{HandlerError, HandlerResult};

use crate::script::{Step, start};
use crate::support::{LIMIT, Log, Scene, drained, local, options, report};

/// Backends of this database that wait for a lock.
const WAITING: &str = "SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'";
/// The cursor of the other consumer.
const CURSOR: &str = "3:3: 0 3 0";

/// The write that comes late.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Late {
    /// A cursor.
    Done,
    /// A cursor, and an event that is parked.
    Park,
    /// The settlement of a parked event that was handled.
    SettleDone,
    /// The settlement of a parked event that failed again.
    SettleFailed,
    /// A cursor, in the transaction of an attempt.
    Commit,
    /// The settlement of a parked event, in the transaction of an attempt.
    CommitParked,
}

impl Late {
    fn is_transactional(self) -> bool {
        matches!(self, Self::Commit | Self::CommitParked)
    }

    /// The number of the attempt whose outcome is written late.
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
    let options = options("g")
        .slices(1)
        .lease(Duration::from_secs(20))
        .timeout(LIMIT);
    let gate = Rc::clone(gate);
    if late.is_transactional() {
        return start(&scene.url, options, log, move |_, attempt| match attempt {
            _ if attempt == late.attempt() => vec![Step::Note, Step::Wait(Rc::clone(&gate))],
            _ => vec![Step::Fail],
        });
    }
    let plan = move |_: &str, attempt: u32| match late {
        Late::SettleDone | Late::SettleFailed if attempt == 1 => soon(),
        Late::Park | Late::SettleFailed => soon(),
        _ => Ok(()),
    };
    scene.start(options, log, Box::new(plan))
}

async fn write_late(late: Late) {
    let scene = Scene::new().await;
    let (log, gate) = (Log::default(), Rc::new(Cell::new(false)));
    let handle = begin(&scene, late, &log, &gate);
    report(&handle, "its slice", |report| report.slices == 1).await;
    // Another consumer of the group that stays alive during the test. Its id is greater, so the slice remains the share of this
    // consumer.
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
        // The first attempt fails and is parked. The second one is delayed.
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
        // The parking statement waits before its commit, so that no second attempt begins before the cursor is locked.
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
    report(&handle, "the consumer has lost its slice", |report| {
        report.slices == 0
    })
    .await;
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

/// Claims the slice as the other consumer.
async fn take_over(client: &tokio_postgres::Client) {
    let sql = format!(
        "UPDATE pgherald.consumer_slice SET node = 9223372036854775807, epoch = epoch + 1;
        UPDATE pgherald.consumer_cursor SET epoch = epoch + 1, generation = 0, cursor = '{CURSOR}';
        COMMIT"
    );
    client.batch_execute(&sql).await.unwrap();
}

#[tokio::test]
async fn a_late_cursor_does_not_overwrite_the_cursor_of_the_next_owner() {
    local(write_late(Late::Done)).await;
}

#[tokio::test]
async fn a_late_write_parks_no_event_of_the_next_owner() {
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
async fn a_late_attempt_commits_nothing_after_the_next_owner_has_claimed_the_slice() {
    local(write_late(Late::Commit)).await;
}

#[tokio::test]
async fn a_late_attempt_of_a_parked_event_commits_nothing_after_the_next_owner_has_claimed_the_slice()
 {
    local(write_late(Late::CommitParked)).await;
}
