//! What is between the program and the server, and which server it is.

use std::process::Command;
use std::time::Instant;

use pgherald_testkit::{FaultProxy, Postgres};

use super::{all_is_well, installed, on, only, wrong};
use crate::pgbouncer::Pooler;
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

/// Has the pooler change its mode.
fn become_mode(pooler: &Pooler, server: &Postgres, mode: &str) {
    pooler.configure(server, mode, "");
    let id = pooler.process.id().to_string();
    let status = Command::new("kill").args(["-HUP", &id]).status().unwrap();
    assert!(status.success());
}

#[tokio::test]
async fn a_pooler_in_the_way_is_found_until_it_keeps_sessions() {
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
    become_mode(&pooler, server, "session");
    let begun = Instant::now();
    while !wrong(&pooled, &[]).await.is_empty() && begun.elapsed() < DEADLINE {}
    all_is_well(&pooled, &[]).await;
}
