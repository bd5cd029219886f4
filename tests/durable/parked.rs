//! The cost of parked events: settlements are written together, a retry reads what it has changed, and a consumer with too many
//! parked events is not live.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use pgherald_core::HandlerError;
use pgherald_testkit::Postgres;

use crate::meter::Meter;
use crate::support::{Log, Plan, Scene, all_well, degraded, drained, local, options, report};

/// Fails the first attempt of each event.
fn second_time() -> Plan {
    Box::new(|_, attempt| match attempt {
        1 => Err(HandlerError::retry_after("later", Duration::ZERO)),
        _ => Ok(()),
    })
}

const PARKED: &str = "SELECT parked FROM pgherald.consumer_group_status";

/// Counts the statements that delete parked events. The sequence has their number, plus one.
const COUNTED: &str = "CREATE SEQUENCE statements;
    CREATE FUNCTION note_statement() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
        PERFORM nextval('public.statements'); RETURN NULL;
    END $$;
    CREATE TRIGGER note_statement AFTER DELETE ON pgherald.parked_event FOR EACH STATEMENT EXECUTE FUNCTION note_statement()";
const STATEMENTS: &str = "SELECT nextval('statements') - 1";

#[tokio::test]
async fn settlements_of_many_parked_events_are_written_by_few_statements() {
    const EVENTS: i64 = 2_000;
    local(async {
        let scene = Scene::new().await;
        scene.run(COUNTED).await;
        let handle = scene.start(options("g"), &Log::default(), second_time());
        scene
            .run(&format!(
                "INSERT INTO jobs SELECT n, 1 FROM generate_series(1, {EVENTS}) AS n"
            ))
            .await;
        report(&handle, "all", |report| report.handled == EVENTS as u64).await;
        scene.becomes(PARKED, 0).await;
        let statements = scene.number(STATEMENTS).await;
        assert!(statements <= EVENTS / 10, "{statements} statements");
        drained(&handle).await;
    })
    .await;
}

#[tokio::test]
async fn a_rejected_settlement_leaves_the_others_of_its_batch_written() {
    local(async {
        let scene = Scene::new().await;
        let refuse = "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                RAISE 'not this one' USING ERRCODE = 'U0001';
            END $$;
            CREATE TRIGGER refuse BEFORE DELETE ON pgherald.parked_event
                FOR EACH ROW WHEN (OLD.key IN ('7', '8')) EXECUTE FUNCTION refuse()";
        scene.run(refuse).await;
        let handle = scene.start(options("g").slices(1), &Log::default(), second_time());
        scene
            .run("INSERT INTO jobs SELECT n, 1 FROM generate_series(1, 100) AS n")
            .await;
        scene.becomes(PARKED, 2).await;
        report(&handle, "held up", |report| report.held_up.len() == 1).await;
        scene
            .run("DROP TRIGGER refuse ON pgherald.parked_event")
            .await;
        scene.becomes(PARKED, 0).await;
        assert_eq!(drained(&handle).await.handled, 100);
    })
    .await;
}

/// Parked events beside the one that is retried.
const BYSTANDERS: i64 = 3_000;

#[tokio::test]
async fn a_retry_of_one_dead_letter_does_not_read_the_other_parked_events() {
    local(async {
        let server = Postgres::shared().await.unwrap();
        let scene = Scene::new().await;
        let meter = Meter::start(server).await;
        let (log, is_well) = (Log::default(), Rc::new(Cell::new(false)));
        let corrected = Rc::clone(&is_well);
        let plan: Plan = Box::new(move |line, _| match line {
            "0=1" if corrected.get() => Ok(()),
            "0=1" => Err(HandlerError::permanent("dead")),
            _ => Err(HandlerError::retry_after(
                "later",
                Duration::from_secs(3_600),
            )),
        });
        let handle = scene.start_at(&meter.url(&scene.url), options("g"), &log, plan);
        scene
            .run(&format!(
                "INSERT INTO jobs SELECT n, 1 FROM generate_series(0, {BYSTANDERS}) AS n"
            ))
            .await;
        scene.becomes(PARKED, BYSTANDERS).await;
        is_well.set(true);
        let group = scene.group("g");
        let dead = "SELECT dead_letters FROM pgherald.consumer_group_status";
        scene.becomes(dead, 1).await;
        let letters = group.dead_letters(None, 10).await.unwrap();
        let (before, handled) = (meter.answered(), handle.report().handled);
        let retried = group.retry_dead_letters(Some(&[letters[0].id])).await;
        assert_eq!(retried.unwrap(), 1);
        report(&handle, "handled", |report| report.handled > handled).await;
        let bytes = meter.answered() - before;
        // A parked event takes more than 50 bytes.
        assert!(bytes < 25 * BYSTANDERS as u64, "{bytes} bytes");
        drained(&handle).await;
    })
    .await;
}

#[tokio::test]
async fn a_consumer_with_too_many_parked_rows_is_not_live_and_names_the_way_out() {
    local(async {
        let scene = Scene::new().await;
        let (log, group) = (Log::default(), scene.group("g"));
        let handle = scene.start(options("g"), &log, all_well());
        report(&handle, "its slices", |report| report.slices == 8).await;
        drained(&handle).await;
        scene
            .run(
                "INSERT INTO pgherald.parked_event (group_name, id, slice, sent_at, relation, hash, operation, key, attempts, due_at)
                SELECT 'g', n, n % 8, now(), 0, 0, 'I', n::text, 1, now() + interval '1 h' FROM generate_series(1, 100000) AS n",
            )
            .await;
        let handle = scene.start(options("g"), &log, all_well());
        degraded(&handle, "100000 rows have parked events").await;
        let health = handle.health();
        assert!(health.borrow().to_string().contains("reads no new events"));
        scene.run("INSERT INTO jobs VALUES (1, 1)").await;
        // Dead letters do not count, so an operator may end it this way.
        let dead = "UPDATE pgherald.parked_event SET dead_at = now() WHERE id > 99000";
        scene.run(dead).await;
        drained(&handle).await;
        let handle = scene.start(options("g"), &log, all_well());
        log.has(1).await;
        assert!(handle.health().borrow().is_live());
        drained(&handle).await;
        group.delete().await.unwrap();
    })
    .await;
}
