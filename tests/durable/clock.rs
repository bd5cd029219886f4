//! Leases and delays when the server's clock jumps. The tests move stored times instead of the clock.

use std::time::Duration;

use pgherald_core::Attempt;
use pgherald_core::group::Consumer;
use pgherald_core::outbox::{Retention, set_retention, trim};
use pgherald_core::{Backoff, Event, EventHandler, HandlerError, HandlerResult, RetryPolicy};

use crate::support::{LIMIT, Log, Scene, all_well, drained, local, options, report};

const LAG: &str = "SELECT lag_events + parked FROM pgherald.consumer_group_status";
const NODES: &str = "SELECT nodes FROM pgherald.consumer_group_status";

struct Nothing;

impl EventHandler for Nothing {
    type Event = Event;

    async fn handle(&self, _: Event, _: Attempt) -> HandlerResult {
        Ok(())
    }
}

/// Runs a consumer until it owns all slices, and aborts it.
async fn leave_a_dead_node(scene: &Scene) {
    let (handle, consumer) = Consumer::new(scene.config(), options("g"), || Nothing).unwrap();
    let running = tokio::task::spawn_local(consumer.run());
    report(&handle, "its slices", |report| report.slices == 8).await;
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
}

#[tokio::test]
async fn a_dead_node_is_replaced_within_its_lease_when_the_clock_is_set_back() {
    local(async {
        let scene = Scene::new().await;
        leave_a_dead_node(&scene).await;
        scene
            .run("UPDATE pgherald.consumer_node SET lease_until = lease_until + interval '1 hour'")
            .await;
        // No consumer has seen the node live, so the status does not count it.
        assert_eq!(scene.number(NODES).await, 0);
        let log = Log::default();
        scene
            .run("INSERT INTO jobs SELECT n, 1 FROM generate_series(1, 20) AS n")
            .await;
        let handle = scene.start(options("g"), &log, all_well());
        report(&handle, "all slices", |report| report.slices == 8).await;
        log.has(20).await;
        drained(&handle).await;
    })
    .await;
}

#[tokio::test]
async fn a_node_that_renews_its_lease_keeps_its_slices_when_the_clock_is_set_back() {
    local(async {
        let scene = Scene::new().await;
        let log = Log::default();
        let first = scene.start(options("g"), &log, all_well());
        let second = scene.start(options("g"), &log, all_well());
        for handle in [&first, &second] {
            report(handle, "half", |report| report.slices == 4).await;
        }
        let epochs = "SELECT sum(epoch)::bigint FROM pgherald.consumer_cursor";
        let before = scene.number(epochs).await;
        scene
            .run("UPDATE pgherald.consumer_node SET lease_until = lease_until + interval '1 hour'")
            .await;
        // Wait until each node has renewed its lease several times.
        let sql = "CREATE TABLE renewals (node bigint);
            CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                INSERT INTO public.renewals VALUES (NEW.id); RETURN NEW;
            END $$;
            CREATE TRIGGER note AFTER UPDATE ON pgherald.consumer_node FOR EACH ROW EXECUTE FUNCTION note()";
        scene.run(sql).await;
        let renewed = "SELECT count(*) FROM (SELECT FROM renewals GROUP BY node HAVING count(*) > 6) AS r";
        scene.becomes(renewed, 2).await;
        assert_eq!(scene.number(epochs).await, before, "slices changed hands");
        assert_eq!(scene.number(NODES).await, 2);
        drained(&first).await;
        drained(&second).await;
    })
    .await;
}

#[tokio::test]
async fn a_node_with_a_long_lease_is_not_removed_by_one_with_a_short_lease() {
    local(async {
        let scene = Scene::new().await;
        let log = Log::default();
        let patient = scene.start(options("g").lease(Duration::from_secs(3_600)), &log, all_well());
        report(&patient, "all", |report| report.slices == 8).await;
        let hasty = scene.start(options("g").lease(Duration::from_millis(300)), &log, all_well());
        report(&hasty, "half", |report| report.slices == 4).await;
        let sql = "SELECT (extract(epoch FROM min(lease_until)) * 1000)::bigint FROM pgherald.consumer_node";
        let before = scene.number(sql).await;
        // Several leases of the second node.
        let later = format!("SELECT (({sql}) > {before} + 2000)::int::bigint");
        scene.becomes(&later, 1).await;
        assert_eq!(patient.report().slices, 4);
        drained(&patient).await;
        drained(&hasty).await;
    })
    .await;
}

#[tokio::test]
async fn nodes_whose_leases_expire_by_a_clock_jump_join_again() {
    local(async {
        let scene = Scene::new().await;
        let log = Log::default();
        let first = scene.start(options("g"), &log, all_well());
        let second = scene.start(options("g"), &log, all_well());
        for handle in [&first, &second] {
            report(handle, "half", |report| report.slices == 4).await;
        }
        scene
            .run("INSERT INTO jobs SELECT n, 0 FROM generate_series(1, 40) AS n")
            .await;
        for _ in 0..3 {
            scene
                .run("UPDATE pgherald.consumer_node SET lease_until = lease_until - interval '1 hour';
                    UPDATE jobs SET value = value + 1")
                .await;
            scene.becomes(LAG, 0).await;
            scene.becomes("SELECT count(*) FROM pgherald.consumer_node WHERE lease_until > now()", 2).await;
        }
        for handle in [&first, &second] {
            report(handle, "half again", |report| report.slices == 4).await;
        }
        drained(&first).await;
        drained(&second).await;
        let lines = log.lines();
        for id in 1..=40 {
            for value in 0..=3 {
                assert!(lines.contains(&format!("{id}={value}#1")), "{id}={value}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_parked_event_waits_no_longer_than_its_policy_when_the_clock_is_set_back() {
    local(async {
        let scene = Scene::new().await;
        let wait = Duration::from_secs(2);
        let options = || options("g").retry(RetryPolicy::new(5, Backoff::new(wait, wait)));
        let log = Log::default();
        let plan = |line: &str, attempt: u32| match (line, attempt) {
            // Row 1 is parked by an acknowledgement, row 2 again by a settlement.
            ("1=1", 1) | ("2=1", 1 | 2) => {
                Err(HandlerError::retry_after("later", Duration::from_secs(2)))
            }
            _ => Ok(()),
        };
        let handle = scene.start(options(), &log, Box::new(plan));
        scene.run("INSERT INTO jobs VALUES (2, 1)").await;
        log.has(2).await;
        scene.run("INSERT INTO jobs VALUES (1, 1)").await;
        scene
            .becomes("SELECT sum(attempts)::bigint FROM pgherald.parked_event", 3)
            .await;
        drained(&handle).await;
        scene
            .run("UPDATE pgherald.parked_event SET due_at = due_at + interval '1 hour'")
            .await;
        let handle = scene.start(options(), &log, Box::new(plan));
        report(&handle, "both", |report| report.handled == 2).await;
        drained(&handle).await;
        // A dead letter that is retried does not wait either.
        scene.run("INSERT INTO jobs VALUES (3, 1)").await;
        let handle = scene.start(
            options(),
            &log,
            Box::new(|_, _| Err(HandlerError::permanent("no"))),
        );
        report(&handle, "dead", |report| report.dead_letters == 1).await;
        drained(&handle).await;
        scene.group("g").retry_dead_letters(None).await.unwrap();
        scene
            .run("UPDATE pgherald.parked_event SET due_at = due_at + interval '1 hour'")
            .await;
        let handle = scene.start(options(), &log, all_well());
        report(&handle, "again", |report| report.handled == 1).await;
        drained(&handle).await;
    })
    .await;
}

#[tokio::test]
async fn parts_closed_in_the_future_are_emptied_after_the_retention_time() {
    local(async {
        let scene = Scene::new().await;
        let log = Log::default();
        let handle = scene.start(options("g"), &log, all_well());
        scene.run("INSERT INTO jobs VALUES (1, 1)").await;
        log.has(1).await;
        scene.becomes(LAG, 0).await;
        let keep = Retention::new(Duration::from_millis(200)).max_bytes(1 << 40);
        set_retention(&scene.client, keep).await.unwrap();
        let rows = "SELECT count(*) FROM pgherald.outbox WHERE key LIKE '%1%'";
        let deadline = tokio::time::Instant::now() + LIMIT;
        while scene.number(rows).await > 0 {
            trim(&scene.client).await.unwrap();
            // The clock is set back after each closing.
            scene
                .run("UPDATE pgherald.outbox_part SET closed_at = closed_at + interval '10 years'
                    WHERE closed_at > clock_timestamp() - interval '100 milliseconds'
                        AND closed_at < clock_timestamp() + interval '1 year' AND NOT EXISTS (
                            SELECT FROM public.effects
                        );
                    INSERT INTO effects SELECT 1 FROM pgherald.outbox_part WHERE closed_at > clock_timestamp()")
                .await;
            assert!(tokio::time::Instant::now() < deadline, "rows are left");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(scene.number("SELECT count(*) FROM effects").await > 0, "nothing was moved");
        drained(&handle).await;
    })
    .await;
}
