//! Lost connections of transactional attempts: which losses count as failed attempts, and which attempts do not begin at all.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use pgherald_testkit::{FaultProxy, Postgres};
use tokio_postgres::Client;

use crate::script::{Step, effects, start};
use crate::support::{LIMIT, Log, Scene, degraded, drained, local, options, report};

const ROW_1: &str = "INSERT INTO jobs VALUES (1, 1)";
/// Backends of this database that wait for a lock.
const WAITING: &str = "SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'";

async fn terminate_waiting(client: &Client) {
    let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    client.batch_execute(sql).await.unwrap();
}

#[tokio::test]
async fn a_handler_idle_for_longer_than_its_lease_succeeds_within_its_timeout() {
    local(async {
        let scene = Scene::new().await;
        let log = Log::default();
        let options = options("g")
            .lease(Duration::from_millis(300))
            .timeout(LIMIT);
        let handle = start(&scene.url, options, &log, |_, _| {
            vec![Step::Note, Step::Rest(Duration::from_millis(1_500))]
        });
        scene.run(ROW_1).await;
        report(&handle, "handled", |report| report.handled == 1).await;
        let end = drained(&handle).await;
        assert_eq!((end.errors, end.retried, end.fenced), (0, 0, 0), "{end:?}");
        assert_eq!(log.lines(), ["1=1#1"]);
        assert_eq!(effects(&scene).await, [(1, 1)]);
    })
    .await;
}

#[tokio::test]
async fn a_connection_lost_before_the_commit_is_a_failed_attempt() {
    const QUIT: &str = "SELECT pg_terminate_backend(pg_backend_pid())";
    let ends: [fn() -> Step; 2] = [
        // The handler sees the loss.
        || Step::Sql(QUIT.to_owned()),
        // Only the acknowledgement sees the loss.
        || Step::Try(QUIT.to_owned()),
    ];
    for step in ends {
        local(async {
            let scene = Scene::new().await;
            let log = Log::default();
            let handle = start(
                &scene.url,
                options("g").slices(1),
                &log,
                move |line, _| match line {
                    "1=1" => vec![Step::Note, step()],
                    _ => vec![Step::Note],
                },
            );
            scene.run("INSERT INTO jobs VALUES (1, 1), (2, 1)").await;
            report(&handle, "a dead letter", |report| {
                (report.handled, report.dead_letters) == (1, 1)
            })
            .await;
            let end = drained(&handle).await;
            assert_eq!((end.errors, end.retried), (3, 2), "{end:?}");
            let calls = log
                .lines()
                .into_iter()
                .filter(|line| line.starts_with("1="));
            assert_eq!(calls.collect::<Vec<_>>(), ["1=1#1", "1=1#2", "1=1#3"]);
            assert_eq!(effects(&scene).await, [(2, 1)]);
        })
        .await;
    }
}

#[tokio::test]
async fn a_backend_terminated_during_the_acknowledgement_costs_an_attempt() {
    local(async {
        let scene = Scene::new().await;
        let log = Log::default();
        let handle = start(
            &scene.url,
            options("g").slices(1).timeout(LIMIT),
            &log,
            |_, _| vec![Step::Note],
        );
        report(&handle, "its slice", |report| report.slices == 1).await;
        let elsewhere = scene.connect().await;
        let hold = "BEGIN; SELECT FROM pgherald.consumer_cursor FOR SHARE";
        elsewhere.batch_execute(hold).await.unwrap();
        scene.run(ROW_1).await;
        scene.becomes(WAITING, 1).await;
        terminate_waiting(&scene.client).await;
        report(&handle, "a failed attempt", |report| report.errors == 1).await;
        elsewhere.batch_execute("ROLLBACK").await.unwrap();
        report(&handle, "handled", |report| report.handled == 1).await;
        let end = drained(&handle).await;
        assert_eq!((end.errors, end.dead_letters), (1, 0), "{end:?}");
        assert_eq!(log.lines(), ["1=1#1", "1=1#2"]);
        assert_eq!(effects(&scene).await, [(1, 1)]);
    })
    .await;
}

#[tokio::test]
async fn a_backend_terminated_during_the_commit_costs_no_attempt() {
    local(async {
        let scene = Scene::new().await;
        scene
            .run(
                "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                    PERFORM pg_advisory_xact_lock_shared(7); RETURN NULL;
                END $$;
                CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON effects DEFERRABLE INITIALLY DEFERRED
                    FOR EACH ROW EXECUTE FUNCTION wait()",
            )
            .await;
        let elsewhere = scene.connect().await;
        elsewhere
            .batch_execute("SELECT pg_advisory_lock(7)")
            .await
            .unwrap();
        let log = Log::default();
        let handle = start(
            &scene.url,
            options("g").slices(1).timeout(LIMIT),
            &log,
            |_, _| vec![Step::Note],
        );
        scene.run(ROW_1).await;
        scene.becomes(WAITING, 1).await;
        terminate_waiting(&scene.client).await;
        log.has(2).await;
        elsewhere
            .batch_execute("SELECT pg_advisory_unlock(7)")
            .await
            .unwrap();
        report(&handle, "handled", |report| report.handled == 1).await;
        let end = drained(&handle).await;
        assert_eq!((end.errors, end.retried), (0, 0), "{end:?}");
        assert_eq!(log.lines(), ["1=1#1", "1=1#1"]);
        assert_eq!(effects(&scene).await, [(1, 1)]);
    })
    .await;
}

#[tokio::test]
async fn a_handler_that_ends_its_transaction_fails_without_losing_effects() {
    for end in ["ROLLBACK", "COMMIT"] {
        // The first attempt of a new event, and an attempt of a parked one.
        for ending in [1, 2] {
            local(async {
                let scene = Scene::new().await;
                let log = Log::default();
                let script = move |line: &str, attempt| match line {
                    "1=1" if attempt == ending => vec![Step::Note, Step::Sql(end.to_owned())],
                    "1=1" if attempt > ending => vec![Step::Note],
                    "3=1" => Vec::new(),
                    _ if attempt == 2 => Vec::new(),
                    _ => vec![Step::Fail],
                };
                let options = options("g").slices(1).concurrency(1);
                let handle = start(&scene.url, options, &log, script);
                // After these events, every statement of an attempt is prepared on its connection.
                scene.run("INSERT INTO jobs VALUES (2, 1), (3, 1)").await;
                report(&handle, "others", |report| report.handled == 2).await;
                scene.run(ROW_1).await;
                report(&handle, "handled", |report| report.handled == 3).await;
                let report = drained(&handle).await;
                let expected = 1 + u64::from(ending);
                assert_eq!(report.errors, expected, "{end}: {report:?}");
                let expected: &[(i32, i64)] = match end {
                    "ROLLBACK" => &[(1, 1)],
                    // The handler committed an effect by itself, which it must not do.
                    _ => &[(1, 1), (1, 1)],
                };
                assert_eq!(effects(&scene).await, expected, "{end}");
            })
            .await;
        }
    }
}

#[tokio::test]
async fn the_server_ends_the_transaction_of_a_disconnected_handler() {
    local(async {
        let server = Postgres::shared().await.unwrap();
        let scene = Scene::new().await;
        let proxy = FaultProxy::start((server.host(), server.port()))
            .await
            .unwrap();
        let (log, never) = (Log::default(), Rc::new(Cell::new(false)));
        let options = options("g").slices(1).timeout(Duration::from_secs(1));
        let handle = start(&proxy.url(&scene.url), options, &log, move |_, _| {
            let lock = "SELECT FROM public.others FOR UPDATE".to_owned();
            vec![Step::Note, Step::Sql(lock), Step::Wait(Rc::clone(&never))]
        });
        scene.run("INSERT INTO jobs VALUES (1, 1)").await;
        let open = "SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND state = 'idle in transaction'";
        scene.becomes(open, 1).await;
        // The process or its network stands still: the server sees no end of the connection.
        proxy.stall();
        scene.becomes(open, 0).await;
        drop(handle);
    })
    .await;
}

#[tokio::test]
async fn attempts_that_cannot_begin_because_the_server_is_down_are_not_counted() {
    local(async {
        let server = Postgres::start().await.unwrap();
        let mut scene = Scene::at(server.create_database().await.unwrap()).await;
        let (log, is_open) = (Log::default(), Rc::new(Cell::new(false)));
        let gate = Rc::clone(&is_open);
        let options = options("g").slices(8).concurrency(2).timeout(LIMIT);
        let handle = start(&scene.url, options, &log, move |_, _| {
            vec![Step::Note, Step::Wait(Rc::clone(&gate))]
        });
        scene
            .run("INSERT INTO jobs SELECT n, 1 FROM generate_series(1, 30) AS n")
            .await;
        log.has(2).await;
        report(&handle, "taken in", |report| report.in_flight == 30).await;
        server.kill().await.unwrap();
        degraded(&handle, "").await;
        is_open.set(true);
        // The two attempts under way have failed. No other begins while the server is down.
        report(&handle, "two failed", |report| report.errors == 2).await;
        let since = handle.health().borrow().to_string();
        assert!(since.contains("connect"), "{since}");
        let calls = log.lines().len();
        server.start_again().await.unwrap();
        scene.client = scene.connect().await.into();
        scene.becomes("SELECT count(*) FROM effects", 30).await;
        assert_eq!(calls, 2);
        let end = drained(&handle).await;
        assert_eq!((end.errors, end.dead_letters), (2, 0), "{end:?}");
        let second: Vec<_> = log
            .lines()
            .into_iter()
            .filter(|line| !line.ends_with("#1"))
            .collect();
        assert!(second.len() <= 2, "{second:?}");
    })
    .await;
}

#[tokio::test]
async fn attempts_share_the_connections_that_their_role_is_limited_to() {
    local(async {
        let scene = Scene::new().await;
        let role = format!("few_{}", fastrand::u64(..));
        scene
            .run(&format!(
                "CREATE ROLE {role} LOGIN CONNECTION LIMIT 2;
                GRANT USAGE ON SCHEMA pgherald TO {role};
                GRANT ALL ON ALL TABLES IN SCHEMA pgherald, public TO {role};
                GRANT ALL ON ALL SEQUENCES IN SCHEMA pgherald, public TO {role}"
            ))
            .await;
        let log = Log::default();
        let url = format!("{}?user={role}", scene.url);
        let handle = start(&url, options("g").concurrency(8), &log, |_, _| {
            vec![Step::Note]
        });
        scene
            .run("INSERT INTO jobs SELECT n, 1 FROM generate_series(1, 40) AS n")
            .await;
        // The consumer uses both connections and none is left for its attempts. The health reports it.
        degraded(&handle, "cannot start an attempt").await;
        assert!(log.lines().is_empty());
        scene
            .run(&format!("ALTER ROLE {role} CONNECTION LIMIT 4"))
            .await;
        report(&handle, "all", |report| report.handled == 40).await;
        let end = drained(&handle).await;
        assert_eq!((end.errors, end.retried), (0, 0), "{end:?}");
        assert_eq!(effects(&scene).await.len(), 40);
        scene
            .run(&format!("DROP OWNED BY {role}; DROP ROLE {role}"))
            .await;
    })
    .await;
}
