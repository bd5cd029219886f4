//! Sends messages to one WebSocket client.

use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::http::header::UPGRADE;
use actix_web::web::{Bytes, Payload};
use actix_web::{HttpResponse, Result};
use actix_ws::{CloseCode, CloseReason, MessageStream, Session};
use bytestring::ByteString;
use metrics::Counter;
use pgherald_core::{Payloads, PayloadsEnded};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::clients::Admission;
use crate::feed::{Closing, Feed, Next, Switch};
use crate::limits::Limits;
use crate::refusal::Refusal;
use crate::telemetry;

/// The close code for a client whose token is not valid any more.
const EXPIRED: u16 = 4401;

/// The close code for a client that was too slow.
const LAGGED: u16 = 4408;

/// What a socket sends.
pub(crate) trait Outgoing {
    /// Waits for the next frame. Cancel safe.
    async fn next(&mut self) -> Frame;
}

pub(crate) enum Frame {
    Text(ByteString),
    /// The end of the stream and its reason, with a last text if the protocol has one.
    Close(Closing, CloseReason, Option<ByteString>),
}

impl Outgoing for Feed {
    async fn next(&mut self) -> Frame {
        match Feed::next(self).await {
            Next::Message(message) => Frame::Text(message.json()),
            Next::Close(closing) => {
                let code = match closing {
                    Closing::Shutdown { .. } | Closing::Disconnected => CloseCode::Restart,
                    Closing::Lagged => CloseCode::Other(LAGGED),
                    Closing::Expired => CloseCode::Other(EXPIRED),
                };
                Frame::Close(closing, code.into(), Some(closing.message().json()))
            }
        }
    }
}

/// The payloads of one channel.
pub(crate) struct Channel {
    pub(crate) payloads: Payloads,
    pub(crate) switch: Switch,
}

impl Outgoing for Channel {
    async fn next(&mut self) -> Frame {
        let closing = tokio::select! {
            biased;
            closing = self.switch.off() => closing,
            received = self.payloads.recv() => match received {
                Ok(payload) => return Frame::Text(ByteString::from(&*payload)),
                Err(PayloadsEnded::Lagged) => Closing::Lagged,
                Err(_) => Closing::Disconnected,
            },
        };
        let (code, description) = match closing {
            Closing::Shutdown { .. } => (CloseCode::Restart, "the server shuts down"),
            Closing::Lagged => (CloseCode::Other(LAGGED), "too slow, payloads were dropped"),
            Closing::Expired => (CloseCode::Other(EXPIRED), "the token is not valid any more"),
            Closing::Disconnected => (CloseCode::Restart, "the database connection was lost"),
        };
        let description = Some(description.to_owned());
        Frame::Close(closing, CloseReason { code, description }, None)
    }
}

/// Refuses a request that does not ask for a WebSocket, before anything is done for it.
pub(crate) fn check_upgrade(request: &HttpRequest) -> Result<(), Refusal> {
    let upgrade = request.headers().get(UPGRADE);
    match upgrade.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket")) {
        true => Ok(()),
        false => Err(Refusal::no_upgrade()),
    }
}

/// Accepts a WebSocket and starts to send.
pub(crate) fn start(
    request: &HttpRequest,
    body: Payload,
    admission: Admission,
    outgoing: impl Outgoing + 'static,
    limits: &Limits,
) -> Result<HttpResponse> {
    let (response, session, incoming) = actix_ws::handle(request, body)?;
    let connection = Connection {
        session,
        incoming: incoming.max_frame_size(limits.frame_bytes),
        write: limits.write,
        idle: limits.idle,
        messages: admission.transport().messages(),
        heard: Instant::now(),
    };
    let ping = limits.heartbeat;
    actix_web::rt::spawn(connection.run(outgoing, ping));
    Ok(response.map_body(|_, body| BoxBody::new(Admitted { body, admission })))
}

/// The body of a response, which keeps the place of its client for as long as the connection exists.
pub(crate) struct Admitted<B> {
    pub(crate) body: B,
    #[expect(dead_code, reason = "it is dropped with the body")]
    pub(crate) admission: Admission,
}

impl<B: MessageBody + Unpin> MessageBody for Admitted<B> {
    type Error = B::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Bytes, Self::Error>>> {
        std::pin::Pin::new(&mut self.get_mut().body).poll_next(cx)
    }
}

struct Connection {
    session: Session,
    incoming: MessageStream,
    write: Duration,
    idle: Duration,
    messages: Counter,
    /// When the client last sent something.
    heard: Instant,
}

/// The client is gone, or was told that the connection ends.
struct Ended;

impl Connection {
    async fn run(mut self, mut outgoing: impl Outgoing, ping: Duration) {
        let mut pings = interval(ping);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        pings.reset();
        loop {
            let done = tokio::select! {
                biased;
                message = self.incoming.recv() => self.on_message(message).await,
                _ = pings.tick() => self.on_tick().await,
                frame = outgoing.next() => self.send(frame).await,
            };
            if done.is_err() {
                return;
            }
        }
    }

    async fn send(&mut self, frame: Frame) -> Result<(), Ended> {
        match frame {
            Frame::Text(text) => self.text(text).await,
            Frame::Close(closing, reason, last) => {
                telemetry::closed(closing.reason());
                if let Some(last) = last {
                    self.text(last).await?;
                }
                self.close(reason).await
            }
        }
    }

    async fn text(&mut self, text: ByteString) -> Result<(), Ended> {
        let sent = timeout(self.write, self.session.text(text)).await;
        self.messages.increment(1);
        sent.map_err(|_| Ended)?.map_err(|_| Ended)
    }

    /// Closes the connection because of what the client has done or not done.
    async fn disconnect(&mut self, reason: &'static str, close: CloseReason) -> Result<(), Ended> {
        telemetry::closed(reason);
        self.close(close).await
    }

    async fn close(&mut self, reason: CloseReason) -> Result<(), Ended> {
        let _ = timeout(self.write, self.session.clone().close(Some(reason))).await;
        Err(Ended)
    }

    async fn on_message(
        &mut self,
        message: Option<Result<actix_ws::Message, actix_ws::ProtocolError>>,
    ) -> Result<(), Ended> {
        self.heard = Instant::now();
        match message {
            None => Err(Ended),
            Some(Ok(actix_ws::Message::Ping(data))) => {
                let sent = timeout(self.write, self.session.pong(&data)).await;
                sent.map_err(|_| Ended)?.map_err(|_| Ended)
            }
            Some(Ok(actix_ws::Message::Pong(_) | actix_ws::Message::Nop)) => Ok(()),
            Some(Ok(actix_ws::Message::Close(reason))) => {
                let code = reason.map_or(CloseCode::Normal, |reason| reason.code);
                self.close(code.into()).await
            }
            Some(Ok(_)) => {
                let description = "clients send no messages on this stream".to_owned();
                let description = Some(description);
                let code = CloseCode::Policy;
                self.disconnect("policy", CloseReason { code, description })
                    .await
            }
            Some(Err(actix_ws::ProtocolError::Overflow)) => {
                self.disconnect("size", CloseCode::Size.into()).await
            }
            Some(Err(_)) => {
                self.disconnect("protocol", CloseCode::Protocol.into())
                    .await
            }
        }
    }

    async fn on_tick(&mut self) -> Result<(), Ended> {
        if self.heard.elapsed() > self.idle {
            tracing::debug!("WebSocket client sent nothing for too long");
            let description = Some("no answer to pings".to_owned());
            let code = CloseCode::Policy;
            let close = CloseReason { code, description };
            return self.disconnect("idle", close).await;
        }
        let sent = timeout(self.write, self.session.ping(b"")).await;
        sent.map_err(|_| Ended)?.map_err(|_| Ended)
    }
}
