//! A paused server does not answer. After a resume, it answers the requests that it received meanwhile.

mod support;

use std::time::Duration;

use pgherald_testkit::Postgres;

#[tokio::test]
async fn pause_freezes_and_resume_thaws() {
    let server = Postgres::start().await.unwrap();
    let (client, connection) = support::connect(&server.url()).await;

    server.pause().await.unwrap();
    assert!(server.is_running().await);
    let query = tokio::spawn(async move { support::answer(&client).await });
    let pid = support::postmaster_pid(&server);
    let state = std::process::Command::new("ps")
        .args([
            "-o",
            "stat=",
            "--ppid",
            &pid.to_string(),
            "-p",
            &pid.to_string(),
        ])
        .output()
        .unwrap();
    let states = String::from_utf8(state.stdout).unwrap();
    assert!(states.lines().count() > 2, "{states}");
    assert!(
        states.lines().all(|state| state.starts_with('T')),
        "{states}"
    );
    assert!(!query.is_finished() && !connection.is_finished());

    server.resume().await.unwrap();
    assert_eq!(support::soon(query).await.unwrap(), 42);
}

#[tokio::test]
async fn stop_ends_a_paused_server() {
    let server = Postgres::start().await.unwrap();
    server.pause().await.unwrap();
    tokio::time::timeout(Duration::from_secs(20), server.stop())
        .await
        .unwrap()
        .unwrap();
    assert!(server.pause().await.is_err(), "the server is not running");
}
