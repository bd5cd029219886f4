//! One connection to a distributor, from its opening to its loss.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::header::AUTHORIZATION;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Message as WebSocketMessage, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::address::Address;
use super::builder::Settings;
use super::message::{Message, parse};
use super::refusal;
use crate::error::{Error, ErrorKind, Result};

/// The text of a frame.
pub(super) type Frame = Utf8Bytes;

/// The maximum number of frames, and of their bytes, that are returned together.
const BATCH: usize = 512;
const BATCH_BYTES: usize = 1024 * 1024;

/// The heartbeats that may be missing.
const HEARTBEATS: u32 = 3;

/// A distributor that announces less would be lost whenever a thread is busy.
const SHORTEST_HEARTBEAT: Duration = Duration::from_millis(10);

/// An encrypted or plain connection.
trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

type Socket = WebSocketStream<Box<dyn Transport>>;

pub(super) struct Session {
    socket: Socket,
    from: Address,
    message_limit: usize,
    silence_limit: Duration,
    /// When something last arrived.
    heard: Instant,
    timer: Pin<Box<Sleep>>,
    /// Why the session cannot be used any more, held back until all earlier frames are passed on.
    failed: Option<Error>,
}

/// A session, and what the distributor has said of it.
pub(super) struct Opened {
    pub(super) session: Session,
    pub(super) resumable: bool,
}

impl Session {
    /// Connects, upgrades the connection, and waits for the first message.
    pub(super) async fn open(settings: &Settings, since: Option<&str>) -> Result<Opened> {
        let from = &settings.address;
        let authorization = settings.token.authorization(from).await?;
        let transport = connect(settings).await?;
        let upgrade = |cause| refusal::upgrade(from, !settings.token.is_none(), cause);
        let uri = from.stream(&settings.tables, since);
        let mut request = uri.into_client_request().map_err(upgrade)?;
        if let Some(authorization) = authorization {
            request.headers_mut().insert(AUTHORIZATION, authorization);
        }
        let config = WebSocketConfig::default()
            .max_message_size(Some(settings.message_limit))
            .max_frame_size(Some(settings.message_limit));
        let opening = client_async_with_config(request, transport, Some(config));
        let (socket, _) = Box::pin(opening).await.map_err(upgrade)?;
        let mut session = Self {
            socket,
            from: from.clone(),
            message_limit: settings.message_limit,
            silence_limit: settings.silence_limit,
            heard: Instant::now(),
            timer: Box::pin(sleep(settings.silence_limit)),
            failed: None,
        };
        let hello = session.first().await?;
        let Message::Hello {
            heartbeat,
            resumable,
        } = parse(&hello, from)?.message
        else {
            return Err(refusal::no_hello(from));
        };
        let silence = heartbeat.max(SHORTEST_HEARTBEAT).saturating_mul(HEARTBEATS);
        session.silence_limit = silence.min(settings.silence_limit);
        session
            .timer
            .as_mut()
            .reset(session.heard + session.silence_limit);
        Ok(Opened { session, resumable })
    }

    /// Waits for the first frame.
    async fn first(&mut self) -> Result<Frame> {
        loop {
            let received = self.socket.next().await;
            if let Some(frame) = self.take(received)? {
                self.heard = Instant::now();
                return Ok(frame);
            }
        }
    }

    /// Waits for frames. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<Vec<Frame>> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Vec<Frame>>> {
        let (mut frames, mut bytes) = (Vec::new(), 0);
        while self.failed.is_none() && frames.len() < BATCH && bytes < BATCH_BYTES {
            let Poll::Ready(received) = Pin::new(&mut self.socket).poll_next(cx) else {
                break;
            };
            self.heard = Instant::now();
            match self.take(received) {
                Ok(frame) => {
                    bytes += frame.as_ref().map_or(0, |frame| frame.len());
                    frames.extend(frame);
                }
                Err(error) => self.failed = Some(error),
            }
        }
        if !frames.is_empty() {
            return Poll::Ready(Ok(frames));
        }
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Err(error));
        }
        self.poll_silence(cx).map(Err)
    }

    /// Ready when nothing has arrived for too long. The socket was polled before, so nothing waits in it.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        while self.timer.as_mut().poll(cx).is_ready() {
            let until = self.heard + self.silence_limit;
            if Instant::now() >= until {
                return Poll::Ready(refusal::silent(&self.from, self.silence_limit));
            }
            self.timer.as_mut().reset(until);
        }
        Poll::Pending
    }

    /// Returns the text of a message; `None` for a ping, which the socket answers by itself.
    fn take(
        &self,
        received: Option<Result<WebSocketMessage, tokio_tungstenite::tungstenite::Error>>,
    ) -> Result<Option<Frame>> {
        let message = match received {
            Some(Ok(message)) => message,
            Some(Err(cause)) => return Err(refusal::broken(&self.from, self.message_limit, cause)),
            None => return Err(refusal::ended(&self.from)),
        };
        match message {
            WebSocketMessage::Text(text) => Ok(Some(text)),
            WebSocketMessage::Close(frame) => Err(refusal::close_frame(&self.from, frame.as_ref())),
            WebSocketMessage::Ping(_) | WebSocketMessage::Pong(_) | WebSocketMessage::Frame(_) => {
                Ok(None)
            }
            WebSocketMessage::Binary(_) => {
                let message = format!("the distributor at {} has sent a binary message", self.from);
                Err(Error::new(ErrorKind::Protocol, message))
            }
        }
    }
}

async fn connect(settings: &Settings) -> Result<Box<dyn Transport>> {
    let Address { host, port, .. } = &settings.address;
    let failed = |kind| {
        let message = format!("cannot connect to the distributor at {}", settings.address);
        move |cause| refusal::io_failed(kind, message, cause)
    };
    let stream = TcpStream::connect((&**host, *port))
        .await
        .map_err(failed(ErrorKind::Connect))?;
    stream
        .set_nodelay(true)
        .map_err(failed(ErrorKind::Connect))?;
    let Some(tls) = &settings.tls else {
        return Ok(Box::new(stream));
    };
    let name = ServerName::try_from(host.clone()).map_err(|cause| {
        let message = format!(
            "the host of the distributor at {} is no name of a server",
            settings.address
        );
        Error::with_source(ErrorKind::Config, message, cause)
    })?;
    let connector = TlsConnector::from(std::sync::Arc::clone(tls));
    let stream = connector
        .connect(name, stream)
        .await
        .map_err(failed(ErrorKind::Tls))?;
    Ok(Box::new(stream))
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("from", &self.from)
            .finish_non_exhaustive()
    }
}
