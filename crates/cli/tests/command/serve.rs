//! `pgherald serve` and `pgherald token`.

use std::io::Write;
use std::net::TcpStream as Plain;
use std::sync::Arc;

use rustix::process::Signal;
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{DEADLINE, Folder, Running, Scene, blocking, pgherald};

const USERS: &str = "CREATE TABLE users (id bigint PRIMARY KEY, tenant text);
    CREATE TABLE orders (id bigint PRIMARY KEY, tenant text);
    CREATE TABLE secrets (id bigint PRIMARY KEY, tenant text)";

/// The running command, and where it listens.
struct Server {
    running: Running,
    port: u16,
}

impl Server {
    /// Starts the command on a free port, with its log in a file.
    async fn start(scene: &Scene, log: &str, arguments: &[&str]) -> Self {
        let serve = ["serve", "--listen", "127.0.0.1:0"];
        let mut running = Running::logged(scene, log, &[&serve, arguments].concat());
        let line = running.line(|line| line.starts_with("listening on ")).await;
        let port = line.rsplit(':').next().unwrap().parse().unwrap();
        Self { running, port }
    }

    /// The answer to a request, as lines.
    async fn get(&self, path: &str, headers: &str) -> BufReader<TcpStream> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        BufReader::new(stream)
    }

    async fn text(&self, path: &str, headers: &str) -> String {
        let mut text = String::new();
        let mut answer = self.get(path, headers).await;
        timeout(DEADLINE, answer.read_to_string(&mut text))
            .await
            .unwrap()
            .unwrap();
        text
    }

    fn terminate(&self) {
        self.running.signal(Signal::TERM);
    }
}

/// Reads lines up to one that contains `text`.
async fn until(lines: &mut BufReader<TcpStream>, text: &str) -> String {
    let mut seen = String::new();
    loop {
        let mut line = String::new();
        let read = timeout(DEADLINE, lines.read_line(&mut line)).await;
        let read = read.unwrap_or_else(|_| panic!("no {text:?} in {seen}"));
        assert_ne!(read.unwrap(), 0, "no {text:?} in {seen}");
        seen.push_str(&line);
        if line.contains(text) {
            return seen;
        }
    }
}

#[tokio::test]
async fn serve_sends_the_installed_tables_and_shuts_down_gracefully() {
    let scene = Scene::new(USERS).await;
    for (table, mode) in [
        ("users", "outbox"),
        ("orders", "notify"),
        ("secrets", "notify"),
    ] {
        let install = [
            "install",
            table,
            "--mode",
            mode,
            "--columns",
            "tenant",
            "--commit",
        ];
        scene.fine(&install).await;
    }
    let folder = Folder::new("tables");
    let log = folder.path("log");
    let tables = [
        "--tables",
        "public.users",
        "--tables",
        "*.o*",
        "--channels",
        "chat_*",
    ];
    let mut server = Server::start(&scene, &log, &tables).await;
    let ready = server.text("/readyz", "").await;
    assert!(ready.ends_with(r#"{"live":true}"#), "{ready}");
    let mut events = server.get("/v1/events", "").await;
    until(&mut events, r#"{"type":"live"}"#).await;
    scene
        .run("INSERT INTO secrets VALUES (1, 'a'); INSERT INTO users VALUES (2, 'a')")
        .await;
    let seen = until(&mut events, r#""table":"users""#).await;
    assert!(!seen.contains("secrets"), "{seen}");
    scene.run("INSERT INTO orders VALUES (3, 'a')").await;
    let seen = until(&mut events, r#""table":"orders""#).await;
    assert!(!seen.contains("secrets"), "{seen}");
    let metrics = server.text("/metrics", "").await;
    for line in [
        r#"pgherald_distributor_clients{transport="sse"} 1"#,
        "pgherald_listeners_live 1",
        "# HELP pgherald_distributor_messages_total",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
    server.terminate();
    until(&mut events, r#""reason":"shutdown""#).await;
    drop(events);
    assert_eq!(server.running.code().await, 0);
    let log = std::fs::read_to_string(&log).unwrap();
    assert!(log.contains(r#"path="/v1/events" status=200"#), "{log}");
}

#[tokio::test]
async fn serve_refuses_what_would_expose_the_database_or_cannot_work() {
    let scene = Scene::new(USERS).await;
    scene.fine(&["install", "users", "--commit"]).await;
    let folder = Folder::new("refused");
    let missing = folder.path("missing");
    for (arguments, code, message) in [
        (
            &["--listen", "0.0.0.0:0"][..],
            2,
            "reachable from other machines",
        ),
        (&["--listen", "[::]:0"], 2, "reachable from other machines"),
        (
            &["--tables", "public.other"],
            1,
            "no installed table matches",
        ),
        (&["--tables", "users"], 2, "public.users"),
        (&["--tokens", &missing], 2, "cannot read the tokens"),
        (&["--jwt-key", &missing], 2, "cannot read the key"),
        (
            &["--tls-cert", &missing, "--tls-key", &missing],
            2,
            "cannot read",
        ),
        (&["--tls-cert", &missing], 2, "--tls-key"),
        (
            &["--origin", "app.example.com"],
            2,
            "not the origin of a page",
        ),
        (&["--clients", "0"], 2, "the limit clients is 0"),
    ] {
        let ran = scene.pgherald(&[&["serve"], arguments].concat()).await;
        assert_eq!(ran.code, code, "{arguments:?}: {ran:?}");
        assert!(ran.stderr.contains(message), "{arguments:?}: {ran:?}");
    }
    let ran = scene.pgherald(&["serve", "--listen", "0.0.0.0:0"]).await;
    assert!(
        ran.stderr
            .contains("hint: require tokens: pgherald token new"),
        "{ran:?}"
    );
}

#[tokio::test]
async fn tokens_that_the_command_makes_are_accepted_and_never_logged() {
    let scene = Scene::new(USERS).await;
    scene
        .fine(&["install", "users", "--columns", "tenant", "--commit"])
        .await;
    let folder = Folder::new("tokens");
    let (file, log) = (folder.path("tokens.jsonl"), folder.path("log"));
    let new = [
        "token", "new", "a", "--tables", "public.*", "--rows", "tenant=a", "--rows", "tenant=b",
        "--append", &file,
    ];
    let ran = pgherald(&new).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let token = ran.stdout.trim();
    let shown = pgherald(&["token", "new", "b", "--observe", "--json"]).await;
    let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
    let mut lines = std::fs::read_to_string(&file).unwrap();
    assert!(!lines.contains(token), "{lines}");
    lines.push_str(&shown["line"].to_string());
    std::fs::write(&file, lines).unwrap();
    // A last line without its end is not continued.
    assert_eq!(pgherald(&new).await.code, 0);
    assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), 3);

    let mut server = Server::start(&scene, &log, &["--tokens", &file, "--json"]).await;
    let refused = server.text("/v1/events", "").await;
    assert!(refused.starts_with("HTTP/1.1 401"), "{refused}");
    let header = format!("authorization: Bearer {token}\r\n");
    let mut events = server.get("/v1/events", &header).await;
    until(&mut events, r#"{"type":"live"}"#).await;
    scene
        .run("INSERT INTO users VALUES (1, 'c'); INSERT INTO users VALUES (2, 'b')")
        .await;
    let seen = until(&mut events, r#""keys":["#).await;
    assert!(seen.contains(r#""keys":[2]"#), "{seen}");
    let observer = format!(
        "authorization: Bearer {}\r\n",
        shown["token"].as_str().unwrap()
    );
    let metrics = server.text("/metrics", &observer).await;
    assert!(
        metrics.contains(r#"pgherald_distributor_refusals_total{code="unauthorized"} 1"#),
        "{metrics}"
    );
    let with_ticket = server.text("/v1/events?ticket=a-secret-ticket", "").await;
    assert!(with_ticket.starts_with("HTTP/1.1 401"), "{with_ticket}");
    drop(events);
    server.terminate();
    assert_eq!(server.running.code().await, 0);
    let log = std::fs::read_to_string(&log).unwrap();
    assert!(
        !log.contains(token) && !log.contains("a-secret-ticket"),
        "{log}"
    );
    let answered = log.lines().filter(|line| line.contains("answered"));
    let answered: Vec<Value> = answered
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(answered[0]["status"], 401, "{log}");
    assert_eq!(answered[1]["client"], "a", "{log}");
}

#[tokio::test]
async fn token_new_refuses_patterns_without_a_schema() {
    let ran = pgherald(&["token", "new", "a", "--tables", "users"]).await;
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("public.users"), "{ran:?}");
    let ran = pgherald(&["token", "new", "a", "--columns", "id"]).await;
    assert_eq!(ran.code, 2, "{ran:?}");
}

#[tokio::test]
async fn serve_ends_tls_with_a_certificate_that_can_be_replaced() {
    let scene = Scene::new(USERS).await;
    scene.fine(&["install", "users", "--commit"]).await;
    let folder = Folder::new("tls");
    let (certificate, key, log) = (
        folder.path("cert.pem"),
        folder.path("key.pem"),
        folder.path("log"),
    );
    let write = || {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        std::fs::write(&certificate, made.cert.pem()).unwrap();
    };
    write();
    let tls = ["--tls-cert", &certificate, "--tls-key", &key];
    let server = Server::start(&scene, &log, &tls).await;
    let (port, path) = (server.port, certificate.clone());
    let ready = move || request_over_tls(port, &path);
    assert!(
        blocking(ready.clone())
            .await
            .unwrap()
            .ends_with(r#"{"live":true}"#)
    );
    write();
    let begun = std::time::Instant::now();
    // The client trusts the new certificate only.
    while blocking(ready.clone()).await.is_err() {
        assert!(
            begun.elapsed() < DEADLINE,
            "{}",
            std::fs::read_to_string(&log).unwrap()
        );
    }
}

fn request_over_tls(port: u16, certificate: &str) -> std::io::Result<String> {
    let mut roots = RootCertStore::empty();
    let certificate = rustls::pki_types::CertificateDer::from_pem_file(certificate);
    roots.add(certificate.unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = StreamOwned::new(client, Plain::connect(("127.0.0.1", port))?);
    stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut text = Vec::new();
    let read = std::io::Read::read_to_end(&mut stream, &mut text);
    // The server may end the connection without a word of TLS.
    match read {
        Err(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => Err(error),
        _ => Ok(String::from_utf8_lossy(&text).into_owned()),
    }
}
