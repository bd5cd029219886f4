//! Sessions of sources make the settings they need, whatever the defaults of the role, the database or the server are.

use std::time::Duration;

use pgherald::GetStatus;
use pgherald_testkit::Postgres;

use crate::support::{
    DEADLINE, client, insert, listen, listen_to, live, numbers, outbox, recorded, source,
    watched_table,
};

#[actix::test]
async fn idle_session_timeout_does_not_end_the_listeners_session() {
    let server = Postgres::shared().await.unwrap();
    let url = server.create_database().await.unwrap();
    let admin = client(&url).await;
    let version: String = admin
        .query_one("SHOW server_version_num", &[])
        .await
        .unwrap()
        .get(0);
    if version.parse::<u32>().unwrap() < 140_000 {
        return;
    }
    let spec = watched_table(&admin, "t").await;
    let name = admin.query_one("SELECT quote_ident(current_database())", &[]);
    let name: String = name.await.unwrap().get(0);
    admin
        .batch_execute(&format!(
            "ALTER DATABASE {name} SET idle_session_timeout = '500ms'"
        ))
        .await
        .unwrap();
    // The source is idle for longer than the server allows.
    let source = source(&url)
        .watch(spec)
        .heartbeat(Duration::from_secs(600), Duration::from_secs(5));
    let (listener, probe) = listen(source).await;
    live(&probe).await;
    // The server ends two sessions, one after the other. Without its own setting, the listener's would have ended as well.
    for _ in 0..2 {
        let other = client(&url).await;
        let ended = async {
            while !other.is_closed() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(DEADLINE, ended).await.unwrap();
    }
    insert(&admin, "t", 1).await;
    let one = |seen: &pgherald_testkit::Seen| numbers(seen) == [1];
    probe.wait_for("row 1", DEADLINE, one).await.unwrap();
    let counts = listener.send(GetStatus).await.unwrap().counts;
    assert_eq!((counts.connected, counts.disconnected), (1, 0));
}

#[actix::test]
async fn timeouts_of_a_role_do_not_cancel_a_sources_statements() {
    let server = Postgres::start().await.unwrap();
    let (url, spec) = recorded(&server).await;
    let admin = client(&url).await;
    admin
        .batch_execute(
            "ALTER ROLE postgres SET statement_timeout = '150ms'; ALTER ROLE postgres SET lock_timeout = '100ms'; \
             ALTER ROLE postgres SET default_transaction_isolation = 'serializable'; \
             ALTER ROLE postgres SET \"DateStyle\" = 'German'; ALTER ROLE postgres SET quote_all_identifiers = on; \
             ALTER ROLE postgres SET bytea_output = 'escape'; ALTER ROLE postgres SET search_path = 'public'; \
             ALTER ROLE postgres SET client_min_messages = 'debug1'",
        )
        .await
        .unwrap();
    let source = outbox(&url, spec).heartbeat(Duration::from_secs(600), DEADLINE);
    let (listener, probe) = listen_to(source.factory().unwrap()).await;
    live(&probe).await;
    // Longer than the role's timeouts for statements and locks.
    admin
        .batch_execute("BEGIN; LOCK TABLE pgherald.outbox IN ACCESS EXCLUSIVE MODE")
        .await
        .unwrap();
    let watch = client(&url).await;
    watch
        .batch_execute("SET statement_timeout = 0; SET lock_timeout = 0")
        .await
        .unwrap();
    let sql = "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE NOT granted \
        AND clock_timestamp() - a.query_start > '300ms'";
    let waits = async {
        while watch.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == 0 {
            let counts = listener.send(GetStatus).await.unwrap().counts;
            assert_eq!(counts.disconnected, 0, "the statement was cancelled");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(DEADLINE, waits).await.unwrap();
    admin.batch_execute("COMMIT").await.unwrap();
    admin
        .batch_execute("INSERT INTO t VALUES (1)")
        .await
        .unwrap();
    let one = |seen: &pgherald_testkit::Seen| numbers(seen) == [1];
    probe.wait_for("row 1", DEADLINE, one).await.unwrap();
    let counts = listener.send(GetStatus).await.unwrap().counts;
    assert_eq!((counts.connected, counts.disconnected), (1, 0));
}
