//! A database, a distributor and clients.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpServer};
use awc::ws::{CloseCode, Codec, Frame, Message};
use futures_util::{SinkExt, StreamExt};
use pgherald_actors::Herald;
use pgherald_core::trigger::TriggerSpec;
use pgherald_core::{Backoff, Channels, ConnectConfig, TableName};
use pgherald_distributor::{Distributor, DistributorBuilder, Limits};
use pgherald_testkit::Postgres;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_postgres::Client;

/// How long a test waits for an expected condition before it fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Waits for something that has to happen.
pub(crate) async fn soon<T>(what: impl Debug, future: impl Future<Output = T>) -> T {
    let outcome = timeout(DEADLINE, future).await;
    outcome.unwrap_or_else(|_| panic!("{what:?} did not happen within {DEADLINE:?}"))
}

fn spec(table: &str) -> TriggerSpec {
    TriggerSpec::new(TableName::new("public", table).unwrap())
}

/// A distributor of the tables `users` and `secrets` and of the channels `c*`.
pub(crate) struct Scene {
    pub(crate) database: String,
    pub(crate) client: Client,
    pub(crate) channels: Channels,
    pub(crate) distributor: Distributor,
    pub(crate) port: u16,
    herald: Arc<Herald>,
    server: ServerHandle,
}

impl Scene {
    /// A scene in a database of its own on the shared server.
    pub(crate) async fn new(limits: Limits) -> Self {
        let server = Postgres::shared().await.unwrap();
        Self::on(server.create_database().await.unwrap(), limits).await
    }

    /// A scene whose table is announced.
    pub(crate) async fn on(database: String, limits: Limits) -> Self {
        Self::watching(database, false, |builder| builder.limits(limits)).await
    }

    /// A scene whose distributor is configured by `configure`.
    pub(crate) async fn with(
        database: String,
        configure: impl FnOnce(DistributorBuilder) -> DistributorBuilder,
    ) -> Self {
        Self::watching(database, false, configure).await
    }

    /// A scene whose tables are recorded in the outbox.
    pub(crate) async fn recorded(limits: Limits) -> Self {
        let server = Postgres::shared().await.unwrap();
        Self::recorded_on(server.create_database().await.unwrap(), limits).await
    }

    pub(crate) async fn recorded_on(database: String, limits: Limits) -> Self {
        Self::watching(database, true, |builder| builder.limits(limits)).await
    }

    async fn watching(
        database: String,
        is_recorded: bool,
        configure: impl FnOnce(DistributorBuilder) -> DistributorBuilder,
    ) -> Self {
        let config: ConnectConfig = database.parse().unwrap();
        let client = config.client().await.unwrap();
        client
            .batch_execute(
                "CREATE TABLE IF NOT EXISTS users (id bigint PRIMARY KEY, tenant text, note text);
                 CREATE TABLE IF NOT EXISTS secrets (id bigint PRIMARY KEY, tenant text)",
            )
            .await
            .unwrap();
        let (mut spec, mut secrets) = (spec("users").columns(["tenant", "note"]), spec("secrets"));
        if is_recorded {
            (spec, secrets) = (spec.outbox(), secrets.outbox());
        }
        let channels = Channels::new();
        let herald = Herald::builder(config.application_name("distributor"))
            .watch_with(spec)
            .watch_with(secrets.columns(["tenant"]))
            .install_triggers()
            .source(|source| {
                source
                    .channels(&channels)
                    .heartbeat(Duration::from_millis(200), Duration::from_secs(5))
                    .backoff(Backoff::new(
                        Duration::from_millis(10),
                        Duration::from_millis(200),
                    ))
            })
            .start()
            .await
            .unwrap();
        let herald = Arc::new(herald);
        let builder = Distributor::builder(Arc::clone(&herald)).channels(channels.clone(), ["c*"]);
        let distributor = configure(builder).build().unwrap();
        let routes = distributor.clone();
        let server =
            HttpServer::new(move || App::new().configure(|config| routes.configure(config)))
                .workers(1)
                .disable_signals()
                .shutdown_timeout(1)
                .h1_allow_half_closed(false)
                .bind("127.0.0.1:0")
                .unwrap();
        let port = server.addrs()[0].port();
        let server = server.run();
        let handle = server.handle();
        actix_web::rt::spawn(server);
        Self {
            database,
            client,
            channels,
            distributor,
            port,
            herald,
            server: handle,
        }
    }

    pub(crate) async fn sql(&self, sql: &str) {
        self.client.batch_execute(sql).await.unwrap();
    }

    pub(crate) async fn insert(&self, id: i64, tenant: &str, note: &str) {
        let sql = "INSERT INTO users VALUES ($1, $2, $3)";
        let values: [&(dyn tokio_postgres::types::ToSql + Sync); 3] = [&id, &tenant, &note];
        self.client.execute(sql, &values).await.unwrap();
    }

    pub(crate) async fn notify(&self, channel: &str, payload: &str) {
        let sql = "SELECT pg_notify($1, $2)";
        self.client
            .execute(sql, &[&channel, &payload])
            .await
            .unwrap();
    }

    /// Connects a WebSocket.
    pub(crate) async fn ws(&self, path: &str) -> Socket {
        self.try_ws(path).await.unwrap()
    }

    /// Connects a WebSocket, or returns the status with which it was refused.
    pub(crate) async fn try_ws(&self, path: &str) -> Result<Socket, u16> {
        self.try_ws_with(path, &[]).await
    }

    /// Connects a WebSocket with these headers.
    pub(crate) async fn try_ws_with(
        &self,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Socket, u16> {
        let upgrade = "upgrade: websocket\r\nsec-websocket-version: 13\r\n\
                       sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nconnection: upgrade\r\n";
        let lines = headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"));
        let headers: String = std::iter::once(upgrade.to_owned()).chain(lines).collect();
        let (status, _, stream) = self.send("GET", path, &headers).await;
        match status {
            101 => {
                assert!(stream.buffer().is_empty(), "{path}: frames with the head");
                let codec = Codec::new().max_size(1 << 20).client_mode();
                let framed = actix_codec::Framed::new(stream.into_inner(), codec);
                Ok(Socket { framed })
            }
            refused => Err(refused),
        }
    }

    /// The status with which a WebSocket is refused.
    pub(crate) async fn refused_ws(&self, path: &str, headers: &[(&str, &str)]) -> u16 {
        match self.try_ws_with(path, headers).await {
            Err(status) => status,
            Ok(_) => panic!("{path} was accepted"),
        }
    }

    /// The status and body of a plain request.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        self.get_with(path, "").await
    }

    /// The status and body of a request with these headers.
    pub(crate) async fn get_with(&self, path: &str, headers: &str) -> (u16, String) {
        let (status, _, mut body) = self.request(path, headers).await;
        let mut text = String::new();
        soon(path, body.read_to_string(&mut text)).await.unwrap();
        (status, text)
    }

    /// Starts a stream of Server-Sent Events.
    pub(crate) async fn sse(&self, path: &str) -> Events {
        self.sse_with(path, "").await
    }

    /// Starts a stream of Server-Sent Events with these headers.
    pub(crate) async fn sse_with(&self, path: &str, headers: &str) -> Events {
        let (status, head, lines) = self.request(path, headers).await;
        assert_eq!(status, 200, "{head}");
        assert!(head.contains("content-type: text/event-stream"), "{head}");
        Events { lines }
    }

    /// Sends a request and returns the status, the head and the rest of the answer.
    pub(crate) async fn request(
        &self,
        path: &str,
        headers: &str,
    ) -> (u16, String, BufReader<TcpStream>) {
        self.send("GET", path, headers).await
    }

    /// As [`request`](Self::request), with a method. The server closes the connection unless the headers have another wish.
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &str,
    ) -> (u16, String, BufReader<TcpStream>) {
        let socket = TcpSocket::new_v4().unwrap();
        // A buffer that does not grow: a client that does not read is soon full.
        socket.set_recv_buffer_size(1 << 16).unwrap();
        let address = ([127, 0, 0, 1], self.port).into();
        let mut stream = socket.connect(address).await.unwrap();
        let close = match headers.contains("connection: ") {
            true => "",
            false => "connection: close\r\n",
        };
        let request =
            format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n{close}{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        // The head is read byte by byte, because the rest may not be lines.
        let mut lines = BufReader::with_capacity(1, stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let read = soon(path, lines.read_line(&mut head)).await.unwrap();
            assert_ne!(read, 0, "the answer to {path} ends in {head:?}");
        }
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_lowercase(), lines)
    }

    /// Waits until this number of clients is connected.
    pub(crate) async fn clients(&self, count: usize) {
        let reached = async {
            while self.distributor.clients() != count {
                tokio::task::yield_now().await;
            }
        };
        soon(format!("{count} clients"), reached).await;
    }

    /// Ends the server and the herald.
    pub(crate) async fn end(self) {
        self.distributor.shutdown(Duration::from_secs(1)).await;
        self.server.stop(false).await;
        let _ = self.herald.shutdown(Duration::from_secs(1)).await;
    }
}

/// A WebSocket client.
pub(crate) struct Socket {
    framed: actix_codec::Framed<TcpStream, Codec>,
}

impl Socket {
    /// The next text, or the code with which the server closed.
    pub(crate) async fn next(&mut self) -> Result<String, u16> {
        loop {
            let frame = soon("a frame", self.framed.next()).await;
            match frame.expect("a frame before the end").unwrap() {
                Frame::Text(text) => return Ok(String::from_utf8(text.to_vec()).unwrap()),
                Frame::Ping(data) => self.framed.send(Message::Pong(data)).await.unwrap(),
                Frame::Close(reason) => {
                    return Err(reason.map_or(1005, |reason| reason.code.into()));
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// The next message that is no heartbeat.
    pub(crate) async fn message(&mut self) -> String {
        loop {
            let text = self.next().await.expect("a message");
            if !text.starts_with(r#"{"type":"heartbeat""#) {
                return text;
            }
        }
    }

    /// Reads up to the message `live`.
    pub(crate) async fn live(&mut self) {
        while self.message().await != r#"{"type":"live"}"# {}
    }

    pub(crate) async fn send(&mut self, message: Message) {
        self.framed.send(message).await.unwrap();
    }

    pub(crate) async fn close(mut self) {
        self.send(Message::Close(Some(CloseCode::Normal.into())))
            .await;
        assert_eq!(self.next().await, Err(1000));
    }
}

/// A client of Server-Sent Events.
pub(crate) struct Events {
    lines: BufReader<TcpStream>,
}

impl Events {
    /// The fields of the next block, or `None` at the end.
    pub(crate) async fn block(&mut self) -> Option<String> {
        let mut block = String::new();
        loop {
            let mut line = String::new();
            let read = soon("a block", self.lines.read_line(&mut line)).await;
            if read.unwrap() == 0 {
                assert_eq!(block, "");
                return None;
            }
            // The lines between chunks end in CR LF, those of events in LF.
            if !line.ends_with("\r\n") {
                block.push_str(&line);
            }
            if block.ends_with("\n\n") {
                return Some(block);
            }
        }
    }

    /// The data of the next message that is no heartbeat.
    pub(crate) async fn message(&mut self) -> String {
        loop {
            let block = self.block().await.expect("a message");
            let data = block.split_once("data: ").unwrap().1.trim_end();
            if !block.starts_with("event: heartbeat") {
                return data.to_owned();
            }
        }
    }
}

impl Socket {
    /// Waits for the answer to a ping.
    pub(crate) async fn pong(&mut self, data: &[u8]) {
        loop {
            match soon("a pong", self.framed.next()).await.unwrap().unwrap() {
                Frame::Pong(pong) => return assert_eq!(pong, data),
                Frame::Ping(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Reads without answering pings, up to the end.
    pub(crate) async fn close_code_without_pongs(&mut self) -> u16 {
        loop {
            match soon("a close", self.framed.next()).await.unwrap().unwrap() {
                Frame::Close(reason) => return reason.unwrap().code.into(),
                Frame::Ping(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

impl Socket {
    /// Reads one frame. Returns false at the end of the connection.
    pub(crate) async fn next_or_end(&mut self) -> bool {
        matches!(
            soon("a frame or the end", self.framed.next()).await,
            Some(Ok(_))
        )
    }
}
