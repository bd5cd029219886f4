//! Attempts on one connection do not see what earlier attempts left in the session.

use std::time::Duration;

use crate::script::{Step, effects, start};
use crate::support::{LIMIT, Log, Scene, drained, local, options, report};

/// SQL that leaves something behind in the session, and a query that would show it to the next attempt.
const LEFT: [(&str, &str); 14] = [
    (
        "CREATE TEMP TABLE scratch (a int)",
        "SELECT coalesce(to_regclass('scratch')::text, 'none')",
    ),
    (
        "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "SELECT count(*)::text FROM pg_proc WHERE pronamespace = pg_my_temp_schema()",
    ),
    (
        "SET pgherald_test.tenant = 'one'",
        "SELECT coalesce(current_setting('pgherald_test.tenant', true), '')",
    ),
    (
        "SET work_mem = '123kB'",
        "SELECT (current_setting('work_mem') = '123kB')::text",
    ),
    (
        "SET search_path = pg_temp, pg_catalog",
        "SELECT current_setting('search_path')",
    ),
    (
        "SET statement_timeout = 0",
        "SELECT current_setting('statement_timeout')",
    ),
    (
        "SET idle_in_transaction_session_timeout = 0",
        "SELECT (current_setting('idle_in_transaction_session_timeout') <> '0')::text",
    ),
    (
        "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "SELECT current_setting('transaction_isolation')",
    ),
    (
        "SELECT pg_advisory_lock(4711)",
        "SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()",
    ),
    (
        "LISTEN here",
        "SELECT count(*)::text FROM pg_listening_channels()",
    ),
    (
        "PREPARE mine AS SELECT 1",
        "SELECT count(*)::text FROM pg_prepared_statements WHERE from_sql",
    ),
    (
        "DECLARE held CURSOR WITH HOLD FOR SELECT 1",
        "SELECT count(*)::text FROM pg_cursors WHERE is_holdable",
    ),
    // The role is reset only for the rest of the transaction.
    (
        "SET ROLE pg_monitor; SET LOCAL ROLE NONE",
        "SELECT (current_user = session_user)::text",
    ),
    (
        "SELECT nextval('numbers')",
        "SELECT coalesce(last_number(), 'none')",
    ),
];

#[tokio::test]
async fn attempts_do_not_see_session_state_of_earlier_attempts() {
    for (leave, show) in LEFT {
        // The state is cleaned after failed attempts, too.
        for fails in [false, true] {
            local(async {
                let scene = Scene::new().await;
                scene
                    .run(
                        "CREATE SEQUENCE numbers;
                        CREATE FUNCTION last_number() RETURNS text LANGUAGE plpgsql AS $$ BEGIN
                            RETURN lastval(); EXCEPTION WHEN OTHERS THEN RETURN NULL;
                        END $$",
                    )
                    .await;
                let log = Log::default();
                let one_connection = options("g").slices(1).concurrency(1).timeout(LIMIT);
                let handle = start(&scene.url, one_connection, &log, move |line, attempt| {
                    let mut steps = vec![Step::Show(show.to_owned()), Step::Sql(leave.to_owned())];
                    if fails && (line, attempt) == ("1=1", 1) {
                        steps.push(Step::Fail);
                    }
                    steps
                });
                scene
                    .run("INSERT INTO jobs VALUES (1, 1), (2, 1), (3, 1)")
                    .await;
                report(&handle, leave, |report| report.handled == 3).await;
                let end = drained(&handle).await;
                assert_eq!(end.errors, u64::from(fails), "{leave}: {end:?}");
                let lines = log.lines();
                let shown: Vec<&String> = lines.iter().filter(|line| !line.contains('#')).collect();
                assert_eq!(shown.len(), 3 + usize::from(fails), "{leave}: {lines:?}");
                assert!(
                    shown.iter().all(|line| *line == shown[0]),
                    "{leave}: {shown:?}"
                );
            })
            .await;
        }
    }
}

#[tokio::test]
async fn session_locks_of_an_attempt_are_released_at_its_end() {
    local(async {
        let scene = Scene::new().await;
        let log = Log::default();
        let handle = start(&scene.url, options("g"), &log, |_, _| {
            vec![Step::Sql("SELECT pg_advisory_lock(4711)".to_owned())]
        });
        scene.run("INSERT INTO jobs VALUES (1, 1)").await;
        report(&handle, "handled", |report| report.handled == 1).await;
        // No later attempt runs on that connection.
        let locks = "SELECT count(*) FROM pg_locks JOIN pg_database AS d ON d.oid = database
            WHERE locktype = 'advisory' AND objid = 4711 AND datname = current_database()";
        scene.becomes(locks, 0).await;
        drained(&handle).await;
    })
    .await;
}

#[tokio::test]
async fn a_session_that_cannot_be_cleaned_is_not_reused() {
    for leave in [
        // Cleaning up takes longer than this timeout.
        "SET statement_timeout = '1ms'; CREATE TEMP TABLE scratch AS SELECT FROM generate_series(1, 10)",
        // This removes prepared statements of the consumer as well.
        "DEALLOCATE ALL",
        "SELECT pg_terminate_backend(pg_backend_pid())",
    ] {
        local(async {
            let scene = Scene::new().await;
            let log = Log::default();
            let one_connection = options("g").slices(1).concurrency(1).timeout(LIMIT);
            let handle = start(&scene.url, one_connection, &log, move |line, attempt| {
                let first = (line, attempt) == ("1=1", 1);
                let mut steps = vec![Step::Note];
                if first {
                    steps.extend([Step::Try(leave.to_owned()), Step::Fail]);
                }
                steps
            });
            scene
                .run("INSERT INTO jobs SELECT n, 1 FROM generate_series(1, 20) AS n")
                .await;
            report(&handle, leave, |report| report.handled == 20).await;
            let end = drained(&handle).await;
            assert_eq!((end.errors, end.dead_letters), (1, 0), "{leave}: {end:?}");
            assert_eq!(effects(&scene).await.len(), 20, "{leave}");
        })
        .await;
    }
}

#[tokio::test]
async fn a_temporary_table_does_not_shadow_a_table_for_the_next_attempt() {
    local(async {
        let scene = Scene::new().await;
        let log = Log::default();
        let one_connection = options("g")
            .slices(1)
            .concurrency(1)
            .timeout(Duration::from_secs(30));
        let handle = start(&scene.url, one_connection, &log, |line, _| match line {
            "1=1" => vec![Step::Sql(
                "CREATE TEMP TABLE effects (LIKE public.effects INCLUDING ALL)".to_owned(),
            )],
            _ => vec![Step::Note],
        });
        scene.run("INSERT INTO jobs VALUES (1, 1), (2, 1)").await;
        report(&handle, "both", |report| report.handled == 2).await;
        drained(&handle).await;
        assert_eq!(effects(&scene).await, [(2, 1)]);
    })
    .await;
}
