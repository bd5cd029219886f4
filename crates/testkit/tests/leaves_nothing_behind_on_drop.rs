//! Dropping a server ends it and removes its files, in every state.

mod support;

use pgherald_testkit::Postgres;

#[tokio::test]
async fn leaves_nothing_behind_on_drop() {
    for state in ["running", "paused", "killed", "stopped"] {
        let server = Postgres::start().await.unwrap();
        let pid = support::postmaster_pid(&server);
        let directory = server.data_dir().parent().unwrap().to_owned();
        match state {
            "paused" => server.pause().await.unwrap(),
            "killed" => server.kill().await.unwrap(),
            "stopped" => server.stop().await.unwrap(),
            _ => {}
        }
        drop(server);
        assert!(!support::is_alive(pid), "{state}");
        assert!(!directory.exists(), "{state}");
    }
}
