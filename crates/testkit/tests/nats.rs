//! NATS servers: they survive faults with their messages, require what they were built to require, and leave nothing behind.

#![allow(clippy::unwrap_used, reason = "tests stop at once")]

mod support;

use std::path::Path;

use async_nats::jetstream::{self, Context, stream};
use async_nats::{Client, ConnectOptions, Subscriber};
use futures_util::StreamExt as _;
use pgherald_testkit::FaultProxy;
use pgherald_testkit::nats::{NatsCluster, NatsServer};

#[tokio::test]
async fn messages_survive_kill_and_restart_on_the_same_port() {
    let server = NatsServer::start().await.unwrap();
    let port = server.port();
    let stream = create_stream(&connect(&server.url()).await, 1).await;
    store(&stream, "first").await;

    server.kill().await.unwrap();
    assert!(!server.is_running().await);
    server.start_again().await.unwrap();
    assert_eq!(messages(&server.url()).await, 1);

    server.restart().await.unwrap();
    assert_eq!(server.port(), port);
    assert_eq!(messages(&server.url()).await, 1);
}

#[tokio::test]
async fn paused_server_answers_nothing_until_it_is_resumed() {
    let server = NatsServer::start().await.unwrap();
    assert!(server.is_healthy().await);
    server.pause().await.unwrap();
    assert!(server.is_running().await && !server.is_healthy().await);
    server.resume().await.unwrap();
    connect(&server.url()).await.flush().await.unwrap();
    assert!(server.is_healthy().await);
}

#[tokio::test]
async fn partition_ends_with_the_proxys_fault() {
    let server = NatsServer::start().await.unwrap();
    let proxy = FaultProxy::start((server.host(), server.port()))
        .await
        .unwrap();
    let client = connect(&proxy.url(&server.url())).await;
    let mut events = client.subscribe("news").await.unwrap();
    // The subscription has arrived when an event has come back.
    client.publish("news", "first".into()).await.unwrap();
    assert_eq!(next(&mut events).await, "first");

    proxy.stall();
    let direct = connect(&server.url()).await;
    direct.publish("news", "held".into()).await.unwrap();
    direct.flush().await.unwrap();
    proxy.resume();
    assert_eq!(next(&mut events).await, "held");

    proxy.cut();
    support::until("connected again", || proxy.connections() == 1).await;
}

#[tokio::test]
async fn token_and_password_are_required() {
    for (builder, options) in [
        (
            NatsServer::builder().token("s3\\cret"),
            ConnectOptions::with_token("s3\\cret".to_owned()),
        ),
        (
            NatsServer::builder().password("us:er", "p\"w"),
            ConnectOptions::with_user_and_password("us:er".to_owned(), "p\"w".to_owned()),
        ),
    ] {
        let server = builder.start().await.unwrap();
        let open = format!("nats://{}:{}", server.host(), server.port());
        support::soon(Box::pin(options.connect(&open)))
            .await
            .unwrap();
        let refused = support::soon(Box::pin(async_nats::connect(&open)))
            .await
            .unwrap_err();
        assert_eq!(
            refused.kind(),
            async_nats::ConnectErrorKind::AuthorizationViolation
        );
    }
    let server = NatsServer::builder()
        .token("s3cret@")
        .start()
        .await
        .unwrap();
    let expected = format!("nats://s3cret%40@127.0.0.1:{}", server.port());
    assert_eq!(server.url(), expected);
}

#[tokio::test]
async fn options_limit_payloads_and_leave_out_jetstream() {
    let server = NatsServer::builder()
        .max_payload(2_000)
        .without_jetstream()
        .config("max_subscriptions: 7")
        .start()
        .await
        .unwrap();
    let client = connect(&server.url()).await;
    assert_eq!(client.server_info().max_payload, 2_000);
    assert!(!client.server_info().jetstream);
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn tls_is_required() {
    let server = NatsServer::builder().tls().start().await.unwrap();
    let authority = server.ca_certificate().unwrap().to_owned();
    let options = ConnectOptions::new().add_root_certificates(authority);
    let client = support::soon(Box::pin(options.connect(server.url())))
        .await
        .unwrap();
    assert!(client.server_info().tls_required);
    assert!(Box::pin(async_nats::connect(server.url())).await.is_err());
}

#[tokio::test]
async fn invalid_configuration_is_an_error_with_the_servers_words() {
    let error = NatsServer::builder()
        .config("no_such_setting: 1")
        .start()
        .await
        .unwrap_err();
    assert!(error.to_string().contains("no_such_setting"), "{error}");
}

#[tokio::test]
async fn cluster_keeps_messages_while_one_node_at_a_time_is_killed() {
    let cluster = NatsCluster::start().await.unwrap();
    let client = support::soon(Box::pin(async_nats::connect(cluster.urls())))
        .await
        .unwrap();
    let stream = create_stream(&client, 3).await;
    for node in cluster.nodes() {
        node.kill().await.unwrap();
        cluster.wait_until_healthy().await.unwrap();
        store(&stream, "news").await;
        node.start_again().await.unwrap();
        cluster.wait_until_healthy().await.unwrap();
    }
    for node in cluster.nodes() {
        assert!(messages(&node.url()).await >= 3);
    }
}

#[tokio::test]
async fn leaves_nothing_behind_on_drop() {
    for state in ["running", "paused", "killed"] {
        let server = NatsServer::start().await.unwrap();
        match state {
            "paused" => server.pause().await.unwrap(),
            "killed" => server.kill().await.unwrap(),
            _ => {}
        }
        let (directory, pid) = traces(&server);
        drop(server);
        assert!(!support::is_alive(pid), "{state}");
        assert!(!directory.exists(), "{state}");
    }
}

fn traces(server: &NatsServer) -> (std::path::PathBuf, u32) {
    let directory = server.log_file().parent().map(Path::to_owned).unwrap();
    let pid = std::fs::read_to_string(directory.join("server.pid")).unwrap();
    (directory, pid.trim().parse().unwrap())
}

async fn connect(url: &str) -> Client {
    let options = ConnectOptions::new();
    support::soon(Box::pin(options.connect(url))).await.unwrap()
}

async fn next(events: &mut Subscriber) -> String {
    let message = support::soon(events.next()).await.unwrap();
    String::from_utf8(message.payload.to_vec()).unwrap()
}

async fn create_stream(client: &Client, replicas: usize) -> Context {
    let context = jetstream::new(client.clone());
    let config = stream::Config {
        name: "NEWS".to_owned(),
        subjects: vec!["news".to_owned()],
        num_replicas: replicas,
        ..stream::Config::default()
    };
    support::soon(context.create_stream(config)).await.unwrap();
    context
}

/// Stores a message. Tries again while the stream has no leader.
async fn store(context: &Context, text: &'static str) {
    let stored = async {
        loop {
            let published = context.publish("news", text.into()).await;
            if let Ok(acknowledgement) = published
                && acknowledgement.await.is_ok()
            {
                break;
            }
        }
    };
    support::soon(stored).await;
}

async fn messages(url: &str) -> u64 {
    let context = jetstream::new(connect(url).await);
    let found = async {
        loop {
            if let Ok(stream) = context.get_stream("NEWS").await {
                break stream.cached_info().state.messages;
            }
        }
    };
    support::soon(found).await
}
