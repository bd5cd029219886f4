//! Each refusal says what to do.

use async_nats::jetstream::stream::Config;
use pgherald_testkit::nats::NatsServer;
use rustix::process::Signal;

use super::{STREAM, jetstream, relay, scene};
use crate::support::{Folder, Ran, Scene, pgherald};

/// Runs the relay, which must refuse: the exit code, a part of the message, and a part of the hint.
async fn refused(scene: &Scene, arguments: &[&str], expected: (i32, &str, &str)) -> Ran {
    let ran = scene.pgherald(&[&["relay"], arguments].concat()).await;
    let (code, message, hint) = expected;
    assert_eq!(ran.code, code, "{arguments:?}: {ran:?}");
    assert!(ran.stderr.contains(message), "{arguments:?}: {ran:?}");
    assert!(ran.stderr.contains(hint), "{arguments:?}: {ran:?}");
    assert_eq!(ran.stdout, "", "{arguments:?}: {ran:?}");
    ran
}

#[tokio::test]
async fn servers_and_streams_that_do_not_fit_are_refused() {
    let (scene, nats) = (scene().await, NatsServer::start().await.unwrap());
    let url = nats.url();
    let to = |stream: &'static str| [&*url, "--stream", stream];
    let missing = (1, "there is no stream \"CHANGES\"", "hint: add --create");
    refused(&scene, &to(STREAM), missing).await;
    refused(&scene, &[&to(STREAM)[..], &["--dry-run"]].concat(), missing).await;
    let name = (1, "is no name of a stream", "without spaces, dots");
    refused(&scene, &to("a.b"), name).await;

    let context = jetstream(&nats).await;
    let other = Config {
        name: "OTHER".to_owned(),
        subjects: vec!["pg.1.>".to_owned()],
        ..Config::default()
    };
    context.create_stream(other).await.unwrap();
    let overlaps = (1, "another stream has some of the subjects", "--prefix");
    for more in [&["--create"][..], &["--create", "--dry-run"]] {
        refused(&scene, &[&to(STREAM)[..], more].concat(), overlaps).await;
    }
    let unfit = (1, "does not allow atomic batches", "--allow-batch");
    refused(&scene, &to("OTHER"), unfit).await;
    // Nothing was created by all of these.
    let groups = "SELECT count(*)::text FROM pgherald.consumer_group";
    assert_eq!(scene.value(groups).await, "0");

    let plain = NatsServer::builder().without_jetstream();
    let plain = plain.start().await.unwrap();
    let url = plain.url();
    let without = (
        2,
        "no NATS server with JetStream answers",
        "nats-server -js",
    );
    refused(&scene, &[&url, "--stream", STREAM, "--create"], without).await;
    let none = ["nats://127.0.0.1:1", "--stream", STREAM];
    refused(&scene, &none, (2, "cannot be reached", "nats-server -js")).await;
}

#[tokio::test]
async fn tables_that_are_not_recorded_are_refused() {
    let (scene, nats) = (scene().await, NatsServer::start().await.unwrap());
    let url = nats.url();
    for (pattern, expected) in [
        (
            "public.logins",
            (
                1,
                "public.logins announces its changes",
                "pgherald install public.logins --mode outbox --commit",
            ),
        ),
        (
            "shop.*",
            (
                1,
                "no table that records its changes matches \"shop.*\"",
                "pgherald status",
            ),
        ),
        ("orders", (2, "has no schema", "public.users")),
    ] {
        let arguments = [&*url, "--stream", STREAM, "--create", "--tables", pattern];
        refused(&scene, &arguments, expected).await;
    }
    let empty = Scene::new("").await;
    let arguments = [&*url, "--stream", STREAM, "--create"];
    let expected = (1, "there is no outbox", "--mode outbox --commit");
    refused(&empty, &arguments, expected).await;
    scene.run("ALTER TABLE users DISABLE TRIGGER ALL").await;
    let expected = (1, "public.users", "pgherald doctor prints the fix");
    refused(&scene, &arguments, expected).await;
}

#[tokio::test]
async fn groups_of_something_else_are_refused() {
    let (scene, nats) = (scene().await, NatsServer::start().await.unwrap());
    let folder = Folder::new("other_group");
    let more = ["--slices", "2"];
    let mut running = relay(&scene, &nats, &folder.path("log"), &more).await;
    // The group was made when the relay has connected.
    let context = jetstream(&nats).await;
    super::insert(&scene, "users", 1..=1).await;
    super::until_stored(&context, 1, &folder.path("log")).await;
    running.signal(Signal::TERM);
    assert_eq!(running.code().await, 0);
    let url = nats.url();
    let named = [
        "--stream",
        "B",
        "--create",
        "--group",
        "relay-CHANGES",
        "--prefix",
        "b",
    ];
    let expected = (
        1,
        "group relay-CHANGES relays to stream CHANGES of NATS, prefix pg",
        "--group GROUP",
    );
    refused(&scene, &[&[&*url], &named[..]].concat(), expected).await;
    let slices = [&*url, "--stream", STREAM, "--slices", "3"];
    let expected = (
        1,
        "has 2 slices, and 3 were asked for",
        "leave --slices out",
    );
    refused(&scene, &slices, expected).await;
    scene
        .run("UPDATE pgherald.consumer_group SET destination = NULL")
        .await;
    let expected = (
        1,
        "group relay-CHANGES runs a handler",
        "pgherald group delete --commit relay-CHANGES",
    );
    refused(&scene, &[&*url, "--stream", STREAM], expected).await;
}

#[tokio::test]
async fn command_lines_that_cannot_work_are_refused() {
    let scene = Scene::new("").await;
    let folder = Folder::new("arguments");
    let missing = folder.path("missing");
    let empty = folder.file("empty", "\n");
    let words = folder.file("words", "a b");
    let url = "nats://127.0.0.1:1";
    for (more, message, hint) in [
        (&["--prefix", "pg.*"][..], "is no prefix", "letters, digits"),
        (&["--max-age", "soon", "--create"], "12h or 7d", ""),
        (&["--max-age", "1h"], "--create", ""),
        (&["--replicas", "9", "--create"], "1..=5", ""),
        (
            &["--creds", &missing],
            "cannot read the credentials",
            "hint: correct the path",
        ),
        (
            &["--nkey", &missing],
            "cannot read the seed",
            "hint: correct the path",
        ),
        (&["--nkey", &words], "more than one word", ""),
        (&["--token-file", &empty], "the file is empty", ""),
        (
            &["--tls-ca", &missing],
            "cannot read the certificates",
            "hint: correct the path",
        ),
        (&["--tls-cert", &missing], "--tls-key", ""),
        (
            &["--tls-cert", &missing, "--tls-key", &missing],
            "cannot read the certificate",
            "hint: correct the path",
        ),
        (
            &["--creds", &missing, "--nkey", &missing],
            "cannot be used with",
            "",
        ),
        (
            &["--metrics", "127.0.0.1:1", "--dry-run"],
            "cannot be used with",
            "",
        ),
    ] {
        let arguments = [&[url, "--stream", STREAM][..], more].concat();
        refused(&scene, &arguments, (2, message, hint)).await;
    }
    for servers in ["", "http://localhost"] {
        let arguments = [servers, "--stream", STREAM];
        refused(&scene, &arguments, (2, "nats://HOST[:PORT]", "")).await;
    }
    let ran = pgherald(&["relay", url]).await;
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("--stream <NAME>"), "{ran:?}");
}
