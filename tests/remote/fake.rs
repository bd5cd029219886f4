//! A distributor that answers as the test scripts it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use pgherald::rustls::crypto::CryptoProvider;
use pgherald::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use pgherald::rustls::{
    ClientConfig, ConfigBuilder, ConfigSide, RootCertStore, ServerConfig, WantsVerifier,
    WantsVersions,
};
use pgherald::{Error, ErrorKind, Signal, Source, TableName};
use pgherald_core::{Backoff, DistributorSource, DistributorSourceBuilder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};

use crate::support::{DEADLINE, soon};

/// A heartbeat that is not missed during a test.
const HEARTBEAT_MS: u64 = 60_000;

struct Fake(TcpListener);

/// A client that has connected.
struct Client {
    socket: WebSocketStream<TcpStream>,
    /// Path and query of its request.
    path: String,
    authorization: Option<String>,
}

impl Fake {
    async fn start() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    fn builder(&self) -> DistributorSourceBuilder {
        DistributorSource::builder(format!("http://{}", self.0.local_addr().unwrap()))
            .silence_limit(DEADLINE)
            .backoff(Backoff::new(
                Duration::from_millis(1),
                Duration::from_millis(20),
            ))
    }

    async fn accept(&self) -> Client {
        let (stream, _) = soon(self.0.accept()).await.unwrap();
        let (mut path, mut authorization) = (String::new(), None);
        #[allow(clippy::result_large_err, reason = "the signature is tungstenite's")]
        let inspect = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
            path = request.uri().to_string();
            let value = request.headers().get("authorization");
            authorization = value.map(|value| value.to_str().unwrap().to_owned());
            Ok(response)
        };
        let socket = accept_hdr_async(stream, inspect).await.unwrap();
        Client {
            socket,
            path,
            authorization,
        }
    }

    /// Accepts a client and sends it a hello and further messages.
    async fn welcome(&self, messages: &[&str]) -> Client {
        let mut client = self.accept().await;
        client.hello(HEARTBEAT_MS).await;
        client.send(messages).await;
        client
    }

    /// Answers a request by something else than an upgrade.
    async fn refuse(&self, answer: &str) {
        let (mut stream, _) = soon(self.0.accept()).await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.unwrap());
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
}

impl Client {
    async fn hello(&mut self, heartbeat_ms: u64) {
        let hello = format!(
            r#"{{"type":"hello","version":1,"heartbeat_ms":{heartbeat_ms},"resumable":true}}"#
        );
        self.send(&[&hello]).await;
    }

    async fn send(&mut self, messages: &[&str]) {
        for message in messages {
            self.socket.send(Message::text(*message)).await.unwrap();
        }
    }
}

/// Returns the next `count` signals, as words.
async fn signals(source: &mut DistributorSource, count: usize) -> String {
    let mut words = Vec::new();
    for _ in 0..count {
        words.push(match soon(source.next()).await {
            Signal::Live => "live".to_owned(),
            Signal::Events(events) => format!("{}", events.len()),
            Signal::Resync(resync) => resync.to_string(),
            Signal::Resumed => "resumed".to_owned(),
            Signal::Down(error) => format!("{:?}", error.kind()),
        });
    }
    words.join(" ")
}

async fn down(source: &mut DistributorSource) -> Error {
    match soon(source.next()).await {
        Signal::Down(error) => error,
        other => panic!("{other:?}"),
    }
}

const RESYNC: &str = r#"{"type":"resync","reasons":["started"],"lost":0,"scope":{}}"#;
const LIVE: &str = r#"{"type":"live"}"#;
const RESUMED: &str = r#"{"type":"resumed"}"#;

fn event(id: &str) -> String {
    format!(
        r#"{{"type":"event","id":"{id}","event":{{"operation":"insert","table":"t","sent_at":"2026-01-02T03:04:05Z","keys":[1]}}}}"#
    )
}

#[tokio::test]
async fn messages_become_signals_in_their_order() {
    let fake = Fake::start().await;
    let mut source = fake.builder().build().unwrap();
    let messages = [
        RESYNC,
        LIVE,
        &event("1"),
        &event("2"),
        r#"{"type":"heartbeat"}"#,
        r#"{"type":"lagged","missed":3}"#,
        &event("3"),
        r#"{"type":"down","reason":"triggers"}"#,
        RESUMED,
        r#"{"type":"live","id":"4"}"#,
        r#"{"type":"resync","reasons":["trimmed","table_altered"],"scope":{}}"#,
        r#"{"type":"closing","reason":"shutdown","retry_ms":0}"#,
    ];
    let server = fake.welcome(&messages);
    let expected = [
        "started", "live", "2", "overflow", "1", "Triggers", "resumed", "live",
    ];
    let (shown, _client) = tokio::join!(signals(&mut source, expected.len() + 2), server);
    assert_eq!(
        shown,
        format!("{} trimmed+table_altered Disconnected", expected.join(" "))
    );
}

#[tokio::test]
async fn a_source_continues_from_its_position() {
    let fake = Fake::start().await;
    let table = TableName::new("public", "t").unwrap();
    let mut source = fake.builder().tables([table]).build().unwrap();
    let messages = [RESYNC, LIVE, &event("1:2.3")];
    let (shown, client) = tokio::join!(signals(&mut source, 3), fake.welcome(&messages));
    assert_eq!(shown, "started live 1");
    assert_eq!(client.path, "/v1/ws?table=public%2Et");
    drop(client);
    let messages = [&event("4"), RESUMED, r#"{"type":"live","id":"5"}"#];
    let (shown, client) = tokio::join!(signals(&mut source, 4), fake.welcome(&messages));
    assert_eq!(shown, "Disconnected 1 resumed live");
    assert_eq!(client.path, "/v1/ws?table=public%2Et&since=1%3A2%2E3");
    drop(client);
    // A distributor of another database does not know the position.
    let lost = RESYNC.replace("started", "position_lost");
    let messages = [&*lost, LIVE];
    let (shown, client) = tokio::join!(signals(&mut source, 3), fake.welcome(&messages));
    assert_eq!(shown, "Disconnected reconnected live");
    assert_eq!(client.path, "/v1/ws?table=public%2Et&since=5");
}

#[tokio::test]
async fn a_silent_distributor_is_left() {
    let fake = Fake::start().await;
    let mut source = fake.builder().build().unwrap();
    let server = async {
        let mut client = fake.accept().await;
        client.hello(20).await;
        client.send(&[RESYNC, LIVE]).await;
        client
    };
    let (shown, _client) = tokio::join!(signals(&mut source, 3), server);
    assert_eq!(shown, "started live Disconnected");
    // One that sends no hello is left by the limit of the connect.
    let builder = fake.builder().connect_timeout(Duration::from_millis(50));
    let mut source = builder.build().unwrap();
    let (error, _client) = tokio::join!(down(&mut source), fake.accept());
    assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
}

#[tokio::test]
async fn pings_are_answered_and_show_that_the_peer_is_alive() {
    let fake = Fake::start().await;
    let mut source = fake.builder().build().unwrap();
    let server = async {
        let mut client = fake.welcome(&[RESYNC, LIVE]).await;
        client.socket.send(Message::Ping("p".into())).await.unwrap();
        let answer = client.socket.next().await.unwrap().unwrap();
        assert_eq!(answer, Message::Pong("p".into()));
    };
    let shown = async {
        let shown = signals(&mut source, 2).await;
        assert_eq!(shown, "started live");
        source.next().await
    };
    tokio::select! {
        signal = shown => panic!("{signal:?}"),
        () = soon(server) => {}
    }
}

#[tokio::test]
async fn refusals_are_typed_errors_and_retried() {
    let fake = Fake::start().await;
    let mut source = fake.builder().token("hunter2").build().unwrap();
    let body = r#"{"error":{"code":"bad_token","message":"the token is revoked"}}"#;
    let answer = format!(
        "HTTP/1.1 401 Unauthorized\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let (error, ()) = tokio::join!(down(&mut source), fake.refuse(&answer));
    assert_eq!(error.kind(), ErrorKind::Authentication);
    assert!(error.is_retryable() && error.hint().contains("token"));
    let text = format!("{error:?}");
    assert!(text.contains("the token is revoked"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
    for (status, kind) in [
        ("403 Forbidden", ErrorKind::Authentication),
        ("404 Not Found", ErrorKind::Protocol),
        ("503 Service Unavailable", ErrorKind::Connect),
        ("400 Bad Request", ErrorKind::Config),
    ] {
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        let (error, ()) = tokio::join!(down(&mut source), fake.refuse(&answer));
        assert_eq!(error.kind(), kind, "{error}");
    }
    let (error, ()) = tokio::join!(down(&mut source), fake.refuse("not HTTP\r\n\r\n"));
    assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
    let (shown, client) = tokio::join!(signals(&mut source, 2), fake.welcome(&[RESYNC, LIVE]));
    assert_eq!(shown, "started live");
    assert_eq!(client.authorization.as_deref(), Some("Bearer hunter2"));
    assert_eq!(client.path, "/v1/ws");
}

#[tokio::test]
async fn each_connection_asks_for_a_token() {
    let fake = Fake::start().await;
    let count = AtomicUsize::new(0);
    let provider = move || {
        let number = count.fetch_add(1, Ordering::Relaxed);
        async move {
            match number {
                0 => Err("no answer"),
                number => Ok(format!("token{number}")),
            }
        }
    };
    let builder = fake.builder().token_provider(provider);
    let mut source = builder.build().unwrap();
    let error = down(&mut source).await;
    assert_eq!(error.kind(), ErrorKind::Authentication, "{error}");
    assert!(error.chain().ends_with("no answer"), "{}", error.chain());
    for expected in ["Bearer token1", "Bearer token2"] {
        let (_, client) = tokio::join!(signals(&mut source, 2), fake.welcome(&[RESYNC, LIVE]));
        assert_eq!(client.authorization.as_deref(), Some(expected));
        drop(client);
        down(&mut source).await;
    }
}

#[tokio::test]
async fn a_token_that_expires_is_an_error_of_authentication() {
    let fake = Fake::start().await;
    let mut source = fake.builder().build().unwrap();
    let expired = [r#"{"type":"closing","reason":"expired","retry_ms":0}"#];
    let (error, _client) = tokio::join!(down(&mut source), fake.welcome(&expired));
    assert_eq!(error.kind(), ErrorKind::Authentication, "{error}");
    let server = async {
        let mut client = fake.welcome(&[]).await;
        let close = CloseFrame {
            code: 4401.into(),
            reason: "expired".into(),
        };
        client.socket.close(Some(close)).await.unwrap();
        client
    };
    let (error, _client) = tokio::join!(down(&mut source), server);
    assert_eq!(error.kind(), ErrorKind::Authentication, "{error}");
}

#[tokio::test]
async fn an_event_that_cannot_be_decoded_is_a_resync_in_its_place() {
    let fake = Fake::start().await;
    let mut source = fake.builder().build().unwrap();
    let broken = r#"{"type":"event","id":"2","event":{"operation":"upsert"}}"#;
    let messages = [RESYNC, LIVE, &event("1"), broken, &event("3")];
    let (shown, client) = tokio::join!(signals(&mut source, 5), fake.welcome(&messages));
    assert_eq!(shown, "started live 1 undecodable 1");
    drop(client);
    let (shown, client) = tokio::join!(signals(&mut source, 3), fake.welcome(&[RESUMED, LIVE]));
    assert_eq!(shown, "Disconnected resumed live");
    assert_eq!(client.path, "/v1/ws?since=3");
}

#[tokio::test]
async fn what_cannot_be_read_ends_the_connection_and_the_position() {
    let fake = Fake::start().await;
    let mut source = fake.builder().message_limit(1_024).build().unwrap();
    let long = format!(r#"{{"type":"news","x":"{}"}}"#, "x".repeat(1_024));
    for unreadable in ["junk", r#"{"type":"down","reason":7}"#, &long] {
        let messages = [RESYNC, LIVE, &event("1"), unreadable];
        let server = async {
            // The socket may be closed before the last message is written.
            let mut client = fake.accept().await;
            client.hello(HEARTBEAT_MS).await;
            for message in messages {
                let _ = client.socket.send(Message::text(message)).await;
            }
            client
        };
        let (shown, client) = tokio::join!(signals(&mut source, 4), server);
        assert!(shown.ends_with("live 1 Protocol"), "{shown}");
        assert_eq!(client.path, "/v1/ws");
    }
    for hello in [r#"{"type":"hello","version":2,"heartbeat_ms":1}"#, LIVE] {
        let server = async {
            let mut client = fake.accept().await;
            client.send(&[hello]).await;
            client
        };
        let (error, _client) = tokio::join!(down(&mut source), server);
        assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
    }
}

#[tokio::test]
async fn dropping_a_wait_loses_no_signal() {
    let fake = Fake::start().await;
    let mut source = fake.builder().build().unwrap();
    let server = async {
        let mut client = fake.welcome(&[RESYNC, LIVE]).await;
        for n in 0..200 {
            client.send(&[&event(&n.to_string())]).await;
            tokio::task::yield_now().await;
        }
        client
    };
    let events = async {
        let mut events = 0;
        while events < 200 {
            let wait = tokio::time::timeout(Duration::from_micros(50), source.next());
            if let Ok(Signal::Events(batch)) = wait.await {
                events += batch.len();
            }
        }
    };
    let (_, _client) = soon(async { tokio::join!(events, server) }).await;
}

#[tokio::test]
async fn certificates_are_checked() {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = certified.cert.der().clone();
    let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let server = with_ring(ServerConfig::builder_with_provider)
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(server));
    let fake = Fake::start().await;
    let port = fake.0.local_addr().unwrap().port();
    let builder = |host: &str| {
        DistributorSource::builder(format!("https://{host}:{port}"))
            .backoff(Backoff::new(Duration::from_millis(1), DEADLINE))
    };
    let trusting = |roots: Vec<CertificateDer<'static>>| {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(roots);
        with_ring(ClientConfig::builder_with_provider)
            .with_root_certificates(store)
            .with_no_client_auth()
    };
    let accept = async || {
        let (stream, _) = soon(fake.0.accept()).await.unwrap();
        acceptor.accept(stream).await
    };
    // One that the roots do not include, and one for another name.
    for (host, roots) in [
        ("localhost", vec![]),
        ("127.0.0.1", vec![certificate.clone()]),
    ] {
        let source = builder(host).tls_config(trusting(roots)).build();
        let (error, _) = tokio::join!(async { down(&mut source.unwrap()).await }, accept());
        assert_eq!(error.kind(), ErrorKind::Tls, "{}", error.chain());
    }
    let tls = trusting(vec![certificate]);
    let mut source = builder("localhost").tls_config(tls).build().unwrap();
    let server = async {
        let stream = accept().await.unwrap();
        let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
        let hello = r#"{"type":"hello","version":1,"heartbeat_ms":60000}"#;
        for message in [hello, RESYNC, LIVE] {
            socket.send(Message::text(message)).await.unwrap();
        }
        socket
    };
    let (shown, _socket) = tokio::join!(signals(&mut source, 2), server);
    assert_eq!(shown, "started live");
}

/// Makes a builder of a TLS configuration with the crypto provider that pgherald uses.
fn with_ring<S: ConfigSide>(
    builder: fn(Arc<CryptoProvider>) -> ConfigBuilder<S, WantsVersions>,
) -> ConfigBuilder<S, WantsVerifier> {
    let provider = Arc::new(pgherald::rustls::crypto::ring::default_provider());
    builder(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
}
