//! `Postgres::kill` ends all backends, even busy ones.

mod support;

use pgherald_testkit::Postgres;

#[tokio::test]
async fn kill_leaves_no_backend() {
    let server = Postgres::start().await.unwrap();
    let (client, connection) = support::connect(&server.url()).await;
    let pid: i32 = client
        .query_one("select pg_backend_pid()", &[])
        .await
        .unwrap()
        .get(0);
    let busy = tokio::spawn(async move {
        client
            .batch_execute("select count(*) from generate_series(1, 1000000000000)")
            .await
    });

    server.kill().await.unwrap();

    assert!(!support::is_alive(pid.unsigned_abs()));
    assert!(support::soon(busy).await.unwrap().is_err());
    assert!(support::soon(connection).await.unwrap().is_err());
}
