//! Servers, streams and credentials that a relay refuses.

use async_nats::jetstream::stream::Config;
use pgherald_core::ErrorKind;
use pgherald_nats::{NatsConfig, Relay, RelayOptions, StreamOptions};
use pgherald_testkit::nats::NatsServer;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;

use crate::support::{STREAM, nats};

async fn verify(config: NatsConfig, options: RelayOptions) -> pgherald_core::Result<()> {
    let database = "postgresql://nobody@127.0.0.1:1/none".parse().unwrap();
    let (_handle, relay) = Relay::new(database, config, options).unwrap();
    relay.verify().await
}

/// Returns the error of a relay to this server.
pub(crate) async fn refusal(config: NatsConfig, options: RelayOptions) -> pgherald_core::Error {
    verify(config, options).await.unwrap_err()
}

/// Verifies that a relay can use this server.
pub(crate) async fn accepted(config: NatsConfig, options: RelayOptions) {
    verify(config, options).await.unwrap();
}

fn options() -> RelayOptions {
    RelayOptions::new("fleet", STREAM).create(StreamOptions::new())
}

#[tokio::test]
async fn wrong_credentials_are_an_authentication_error() {
    let server = NatsServer::builder()
        .token("right-token")
        .start()
        .await
        .unwrap();
    let url = format!("nats://127.0.0.1:{}", server.port());
    for config in [
        nats(&url),
        nats(&url).token("wrong-token"),
        nats(&url).user("bob", "wrong-token"),
    ] {
        let error = refusal(config, options()).await;
        assert_eq!(error.kind(), ErrorKind::Authentication, "{error:?}");
        assert!(!format!("{error:?}").contains("wrong-token"), "{error:?}");
    }
    let missing = nats(&url).credentials_file("/nowhere/relay.creds");
    let error = refusal(missing, options()).await;
    assert!(
        error.to_string().contains("/nowhere/relay.creds"),
        "{error}"
    );
    accepted(nats(&url).token("right-token"), options()).await;
}

#[tokio::test]
async fn server_without_jetstream_is_an_error_that_names_jetstream() {
    let server = NatsServer::builder()
        .without_jetstream()
        .start()
        .await
        .unwrap();
    for options in [options(), RelayOptions::new("fleet", STREAM)] {
        let error = refusal(nats(&server.url()), options).await;
        assert!(error.to_string().contains("JetStream"), "{error:?}");
    }
}

#[tokio::test]
async fn streams_that_do_not_fit_are_refused_and_not_changed() {
    let server = NatsServer::start().await.unwrap();
    let error = refusal(nats(&server.url()), RelayOptions::new("fleet", STREAM)).await;
    assert!(
        error.is_config() && error.to_string().contains("nats stream add"),
        "{error:?}"
    );

    let context = async_nats::jetstream::new(async_nats::connect(server.url()).await.unwrap());
    let other = Config {
        name: "OTHER".to_owned(),
        subjects: vec!["pg.1.>".to_owned()],
        ..Config::default()
    };
    context.create_stream(other.clone()).await.unwrap();
    let error = refusal(nats(&server.url()), options()).await;
    assert!(
        error.is_config()
            && error
                .to_string()
                .contains("another stream has some of the subjects"),
        "{error:?}"
    );
    let named = RelayOptions::new("fleet", "OTHER").create(StreamOptions::new());
    let error = refusal(nats(&server.url()), named).await;
    for part in ["pg.>", "atomic batches"] {
        assert!(error.to_string().contains(part), "{error:?}");
    }
    let after = context
        .get_stream("OTHER")
        .await
        .unwrap()
        .cached_info()
        .config
        .clone();
    assert!(after.subjects == other.subjects && !after.allow_atomic_publish);
}

#[tokio::test]
async fn stream_that_keeps_only_some_messages_of_a_subject_is_refused() {
    let server = NatsServer::start().await.unwrap();
    let context = async_nats::jetstream::new(async_nats::connect(server.url()).await.unwrap());
    let config = Config {
        name: STREAM.to_owned(),
        subjects: vec!["pg.>".to_owned()],
        allow_atomic_publish: true,
        max_messages_per_subject: 5,
        ..Config::default()
    };
    context.create_stream(config.clone()).await.unwrap();
    let error = refusal(nats(&server.url()), options()).await;
    assert!(error.is_config(), "{error:?}");
    for part in [
        "keeps 5 messages of each subject",
        "--max-msgs-per-subject=-1",
    ] {
        assert!(error.to_string().contains(part), "{error:?}");
    }
    let config = Config {
        max_messages_per_subject: -1,
        ..config
    };
    context.update_stream(config).await.unwrap();
    accepted(nats(&server.url()), options()).await;
}

/// Starts a server that announces an old version, and returns its URL. It only responds to pings.
async fn old_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let info = "INFO {\"server_id\":\"A\",\"version\":\"2.11.9\",\"headers\":true,\"max_payload\":1048576}\r\n";
            stream.write_all(info.as_bytes()).await.unwrap();
            let mut lines = BufReader::new(stream).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                if line == "PING" {
                    lines.get_mut().write_all(b"PONG\r\n").await.unwrap();
                }
            }
        }
    });
    format!("nats://127.0.0.1:{port}")
}

#[tokio::test]
async fn server_of_an_old_version_is_refused() {
    let error = refusal(nats(&old_server().await), options()).await;
    assert!(error.is_config(), "{error:?}");
    for part in ["2.11.9", "use 2.12 or newer"] {
        assert!(error.to_string().contains(part), "{error:?}");
    }
}

#[tokio::test]
async fn unreachable_server_is_a_retryable_error() {
    let error = refusal(nats("nats://127.0.0.1:1"), options()).await;
    assert!(error.is_retryable() && error.is_connection(), "{error:?}");
}

#[test]
fn prefixes_with_wildcards_are_refused() {
    for bad in ["pg.*", "pg.>", "*", ""] {
        assert!(
            bad.parse::<pgherald_nats::contract::Prefix>()
                .unwrap_err()
                .is_config()
        );
    }
}
