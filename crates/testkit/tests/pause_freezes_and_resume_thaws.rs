//! A paused server is there, and silent; a resumed one answers what it was asked meanwhile.

mod support;

use std::time::Duration;

use pgherald_testkit::Postgres;

#[tokio::test]
async fn pause_freezes_and_resume_thaws() {
    let server = Postgres::start().await.unwrap();
    let (client, connection) = support::connect(&server.url()).await;

    server.pause().await.unwrap();
    assert!(server.is_running().await);
    let question = tokio::spawn(async move { support::answer(&client).await });
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
    assert!(!question.is_finished() && !connection.is_finished());

    server.resume().await.unwrap();
    assert_eq!(support::soon(question).await.unwrap(), 42);
}

#[tokio::test]
async fn a_paused_server_can_be_stopped() {
    let server = Postgres::start().await.unwrap();
    server.pause().await.unwrap();
    tokio::time::timeout(Duration::from_secs(20), server.stop())
        .await
        .unwrap()
        .unwrap();
    assert!(server.pause().await.is_err(), "nothing there to be paused");
}
