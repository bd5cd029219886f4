//! The path to the server: proxies, replicas and poolers.

use std::process::Command;
use std::time::Instant;

use pgherald_testkit::{FaultProxy, Postgres};

use super::{installed, is_healthy, on, only, wrong};
use crate::pgbouncer::Pooler;
use crate::support::{DEADLINE, Scene, connect};

#[tokio::test]
async fn lost_notifications_are_found() {
    let server = Postgres::shared().await.unwrap();
    let scene = installed("outbox").await;
    let proxy = FaultProxy::start((server.host(), server.port()))
        .await
        .unwrap();
    let through = Scene {
        url: proxy.url(&scene.url),
        client: connect(&scene.url).await,
    };
    is_healthy(&through, &[]).await;
    proxy.deafen();
    let part = "a notification of another connection did not arrive";
    only(&through, &[], "notifications", "failed", part).await;
    proxy.resume();
    is_healthy(&through, &[]).await;
}

#[tokio::test]
async fn replica_is_found_and_its_primary_is_healthy() {
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
    // A replica refuses LISTEN.
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
    is_healthy(&fixed, &[]).await;
}

/// Changes the mode of the pooler.
fn become_mode(pooler: &Pooler, server: &Postgres, mode: &str) {
    pooler.configure(server, mode, "");
    let id = pooler.process.id().to_string();
    let status = Command::new("kill").args(["-HUP", &id]).status().unwrap();
    assert!(status.success());
}

#[tokio::test]
async fn transaction_pooler_is_found_and_session_pooler_is_healthy() {
    let server = Postgres::shared().await.unwrap();
    let Some(pooler) = Pooler::start(server, "transaction", "").await else {
        return;
    };
    let scene = installed("outbox").await;
    let pooled = Scene {
        url: pooler.url(&scene.url, server),
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
    // `status` works, because a transaction keeps one session.
    for _ in 0..3 {
        pooled.fine(&["status"]).await;
    }
    // Commands that prepare statements sooner or later get a session with the statements of another client.
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
    become_mode(&pooler, server, "session");
    let begun = Instant::now();
    while !wrong(&pooled, &[]).await.is_empty() && begun.elapsed() < DEADLINE {}
    is_healthy(&pooled, &[]).await;
}
