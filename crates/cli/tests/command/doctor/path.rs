//! What is between the program and the server, and which server it is.

use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use pgherald_testkit::{FaultProxy, Postgres};

use super::{all_is_well, installed, on, only, wrong};
use crate::support::{DEADLINE, Scene, connect};

#[tokio::test]
async fn a_path_that_loses_notifications_is_found() {
    let server = Postgres::shared().await.unwrap();
    let scene = installed("outbox").await;
    let proxy = FaultProxy::start((server.host(), server.port()))
        .await
        .unwrap();
    let through = Scene {
        url: proxy.url(&scene.url),
        client: connect(&scene.url).await,
    };
    all_is_well(&through, &[]).await;
    proxy.deafen();
    let part = "a notification of another connection did not arrive";
    only(&through, &[], "notifications", "failed", part).await;
    proxy.resume();
    all_is_well(&through, &[]).await;
}

#[tokio::test]
async fn a_replica_is_found_and_its_primary_is_well() {
    let (replica, primary) = (
        Postgres::start().await.unwrap(),
        Postgres::start().await.unwrap(),
    );
    let scene = on(&primary, "outbox").await;
    replica.stop().await.unwrap();
    std::fs::write(replica.data_dir().join("standby.signal"), "").unwrap();
    replica.start_again().await.unwrap();
    let url = replica.url();
    let on_replica = Scene {
        client: connect(&url).await,
        url,
    };
    let findings = wrong(&on_replica, &[]).await;
    let failed: Vec<_> = findings
        .iter()
        .filter(|finding| finding["result"] == "failed")
        .collect();
    assert_eq!(failed.len(), 2, "{findings:#?}");
    assert_eq!(failed[0]["check"], "primary");
    let fix = failed[0]["fix"].as_str().unwrap();
    let parameter = "?target_session_attrs=read-write";
    assert!(
        fix.contains("host1,host2") && fix.ends_with(parameter),
        "{fix}"
    );
    // LISTEN is what cannot be done there.
    assert_eq!(failed[1]["check"], "notifications");
    assert_eq!(failed[1]["fix"], fix);
    let both = format!(
        "{}:{},{}:{}",
        replica.host(),
        replica.port(),
        primary.host(),
        primary.port()
    );
    let alone = format!("{}:{}", primary.host(), primary.port());
    let fixed = Scene {
        url: scene.url.replace(&alone, &both) + parameter,
        client: scene.client,
    };
    all_is_well(&fixed, &[]).await;
}

/// PgBouncer, in a mode that can be changed. `None` where it is not installed.
struct Pooler {
    process: Child,
    settings: PathBuf,
    port: u16,
}

impl Pooler {
    async fn start(server: &Postgres, mode: &str) -> Option<Self> {
        let programs = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"];
        let Some(program) = programs.iter().find(|program| Path::new(program).is_file()) else {
            eprintln!("not tested: PgBouncer is not installed");
            return None;
        };
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let settings = std::env::temp_dir().join(format!("pgherald-pooler-{port}.ini"));
        Self::write(&settings, server, port, mode);
        // It refuses to run as root, and then runs as anybody else.
        let mut command = Command::new(program);
        if std::fs::metadata("/proc/self").unwrap().uid() == 0 {
            command.args(["-u", "nobody"]);
        }
        let process = command.arg("-q").arg(&settings).spawn().unwrap();
        let pooler = Self {
            process,
            settings,
            port,
        };
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < DEADLINE, "PgBouncer does not start");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Some(pooler)
    }

    fn write(settings: &Path, server: &Postgres, port: u16, mode: &str) {
        let (host, at) = (server.host(), server.port());
        let text = format!(
            "[databases]\n* = host={host} port={at} user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
            listen_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = {mode}\n"
        );
        std::fs::write(settings, text).unwrap();
    }

    fn become_mode(&self, server: &Postgres, mode: &str) {
        Self::write(&self.settings, server, self.port, mode);
        let id = self.process.id().to_string();
        let status = Command::new("kill").args(["-HUP", &id]).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_file(&self.settings);
    }
}

#[tokio::test]
async fn a_pooler_in_the_way_is_found_until_it_keeps_sessions() {
    let server = Postgres::shared().await.unwrap();
    let Some(pooler) = Pooler::start(server, "transaction").await else {
        return;
    };
    let scene = installed("outbox").await;
    let direct = format!(":{}/", server.port());
    let pooled = Scene {
        url: scene.url.replace(&direct, &format!(":{}/", pooler.port)),
        client: scene.client,
    };
    let findings = wrong(&pooled, &[]).await;
    let failed = findings
        .iter()
        .filter(|finding| finding["result"] == "failed");
    let failed: Vec<_> = failed.collect();
    assert_eq!(failed.len(), 2, "{findings:#?}");
    let expected = "connect to the server itself, or have the pooler keep sessions: pool_mode = session (pgbouncer.ini)";
    for (finding, check) in failed.into_iter().zip(["pooler", "notifications"]) {
        assert_eq!(
            (&finding["check"], &finding["fix"]),
            (&check.into(), &expected.into())
        );
    }
    // In one transaction, there is one session.
    for _ in 0..3 {
        pooled.fine(&["status"]).await;
    }
    // Whatever prepares statements meets those of others, sooner or later.
    let prepares = ["dead-letters", "list"];
    let mut ran = pooled.pgherald(&prepares).await;
    if ran.code == 0 {
        ran = pooled.pgherald(&prepares).await;
    }
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(
        ran.stderr.ends_with(&format!("\nhint: {expected}\n")),
        "{ran:?}"
    );
    pooler.become_mode(server, "session");
    let begun = Instant::now();
    while !wrong(&pooled, &[]).await.is_empty() && begun.elapsed() < DEADLINE {}
    all_is_well(&pooled, &[]).await;
}
