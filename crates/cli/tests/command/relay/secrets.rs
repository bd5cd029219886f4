//! Credentials work, and are in no output.

use pgherald_testkit::nats::{NatsBuilder, NatsServer};
use rustix::process::Signal;

use super::{STREAM, insert, scene};
use crate::support::{Folder, Ran, Running, Scene, pgherald};

const SECRET: &str = "s3cret-of-the-relay";
/// A pair of keys that is used nowhere else.
const SEED: &str = "SUAKGPNH26ODYVYYVMTY2ELG4PJ54ZSH575VGR2TP3MXOLZQWEEGQJ3EHM";
const USER: &str = "UDSPGIKS4OMPXO7QOM556Q7IJCP34M3HLRBMVMSZWMMHQCWTYG57RTYI";

async fn start(builder: NatsBuilder) -> (NatsServer, String) {
    let server = builder.start().await.unwrap();
    let url = format!("nats://127.0.0.1:{}", server.port());
    (server, url)
}

async fn dry_run(scene: &Scene, servers: &str, more: &[&str]) -> Ran {
    let arguments = [
        "relay",
        servers,
        "--stream",
        STREAM,
        "--create",
        "--dry-run",
    ];
    let ran = scene.pgherald(&[&arguments, more].concat()).await;
    for text in [&ran.stdout, &ran.stderr] {
        assert!(
            !text.contains("s3cret") && !text.contains(SEED),
            "{more:?}: {ran:?}"
        );
    }
    ran
}

#[tokio::test]
async fn token_works_from_a_file_and_a_url_and_is_shown_nowhere() {
    let scene = scene().await;
    let (server, url) = start(NatsServer::builder().token(SECRET)).await;
    let folder = Folder::new("token");
    let file = folder.file("token", &format!("{SECRET}\n"));
    let wrong = folder.file("wrong", "s3cret-of-others");
    let ran = dry_run(&scene, &url, &["--token-file", &file]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let ran = dry_run(&scene, &server.url(), &[]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    for more in [&[][..], &["--token-file", &wrong]] {
        let ran = dry_run(&scene, &url, more).await;
        assert_eq!(ran.code, 2, "{ran:?}");
        for part in ["refused the credentials", "hint: log in with --creds FILE"] {
            assert!(ran.stderr.contains(part), "{ran:?}");
        }
    }

    let log = folder.path("log");
    let arguments = [
        "relay",
        &url,
        "--stream",
        STREAM,
        "--create",
        "--token-file",
        &file,
        "--json",
    ];
    let mut running = Running::logged(&scene, &log, &arguments);
    let began = running.line(|_| true).await;
    insert(&scene, "users", 1..=10).await;
    let client = async_nats::ConnectOptions::with_token(SECRET.to_owned());
    let context = async_nats::jetstream::new(client.connect(&url).await.unwrap());
    super::until_stored(&context, 10, &log).await;
    server.stop().await.unwrap();
    server.start_again().await.unwrap();
    insert(&scene, "users", 11..=20).await;
    super::until_stored(&context, 20, &log).await;
    running.signal(Signal::TERM);
    assert_eq!(running.code().await, 0);
    let log = std::fs::read_to_string(&log).unwrap();
    assert!(
        !log.contains("s3cret") && !began.contains("s3cret"),
        "{began} {log}"
    );
    assert!(log.lines().all(|line| line.starts_with('{')), "{log}");
}

#[tokio::test]
async fn url_with_a_password_is_not_shown_by_any_error() {
    let scene = scene().await;
    let with_token = format!("nats://{SECRET}@127.0.0.1:1");
    let with_password = format!("nats://bob:{SECRET}@127.0.0.1:1");
    for url in [&with_token, &with_password] {
        for arguments in [
            &["relay", url][..],
            &["relay", url, url, "--stream", STREAM],
            &["relay", url, "--stream", STREAM, "--nonsense"],
            &[
                "relay",
                url,
                "--stream",
                STREAM,
                "--replicas",
                url,
                "--create",
            ],
            &["relay", url, "--stream", STREAM, "--prefix", url],
            &["relay", url, "--stream", url],
            &["relay", url, "--stream", STREAM, "--tables", url],
            &["relay", url, "--stream", STREAM],
            &["relay", &url[7..], "--stream", STREAM],
            &["relay", &format!("{url}/%zz"), "--stream", STREAM],
            &["relay", &format!("{url}:x"), "--stream", STREAM],
            &[url],
            &["install", url],
        ] {
            let ran = scene.pgherald(arguments).await;
            assert_ne!(ran.code, 0, "{arguments:?}: {ran:?}");
            assert!(!ran.stderr.contains("s3cret"), "{arguments:?}: {ran:?}");
            assert!(!ran.stdout.contains("s3cret"), "{arguments:?}: {ran:?}");
        }
    }
    let ran = pgherald(&["relay", &with_token, &with_token, "--stream", STREAM]).await;
    assert!(ran.stderr.contains("with commas between them"), "{ran:?}");
}

#[tokio::test]
async fn nkey_works_from_a_file() {
    let scene = scene().await;
    let users = format!("authorization {{ users: [ {{ nkey: {USER} }} ] }}");
    let (_server, url) = start(NatsServer::builder().config(&users)).await;
    let folder = Folder::new("nkey");
    let seed = folder.file("seed", SEED);
    let ran = dry_run(&scene, &url, &["--nkey", &seed]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    // Another seed, and what is none.
    let other = folder.file("other", &format!("S{}", "A".repeat(57)));
    let none = folder.file("none", SECRET);
    let ran = dry_run(&scene, &url, &["--nkey", &other]).await;
    assert_eq!(ran.code, 2, "{ran:?}");
    let ran = dry_run(&scene, &url, &["--nkey", &none]).await;
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("has no seed of an nkey"), "{ran:?}");
}

#[tokio::test]
async fn server_with_tls_needs_its_authority() {
    let scene = scene().await;
    let server = NatsServer::builder().tls().start().await.unwrap();
    let authority = server.ca_certificate().unwrap().display().to_string();
    let url = format!("nats://127.0.0.1:{}", server.port());
    let ran = dry_run(&scene, &url, &["--tls-ca", &authority]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let ran = dry_run(&scene, &url, &[]).await;
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("--tls-ca FILE"), "{ran:?}");
    let (_server, plain) = start(NatsServer::builder()).await;
    let ran = dry_run(&scene, &plain, &["--tls-ca", &authority]).await;
    assert_eq!(ran.code, 2, "a server without TLS: {ran:?}");
}
