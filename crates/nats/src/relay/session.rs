//! Opens the connection of a relay to NATS when it is first needed.
//!
//! The client of the library reconnects by itself. But it does not read credentials again, and does not report why it fails. So the
//! relay replaces a client that has been without a connection for more than [`PATIENCE`].

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::stream::{Info, Stream};
use async_nats::jetstream::{Context, ContextBuilder};
use async_nats::{Client, HeaderMap};
use pgherald_core::__private::host::errors;
use pgherald_core::Result;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::options::RelayOptions;
use super::status::StreamStatus;
use super::stream;
use crate::config::NatsConfig;

/// The first version with atomic batches.
const OLDEST: (u64, u64) = (2, 12);
/// How long a client may be without a connection before another one replaces it.
const PATIENCE: Duration = Duration::from_secs(5);
/// The most attempts of a client to connect again, after which it ends. Without a limit, a client that was replaced would go on for
/// ever if the server refuses its credentials, for example.
const RECONNECTS: usize = 64;
/// The maximum size of the headers of an event and of its place in a batch, in bytes.
const HEADERS: usize = 1_024;

pub(super) struct Connector {
    config: NatsConfig,
    pub(super) options: RelayOptions,
    session: Mutex<Option<Session>>,
}

#[derive(Clone)]
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) context: Context,
    /// The maximum size of a message in the stream, in bytes, if it has such a limit.
    max_message: Option<usize>,
    /// When the client was first found without a connection. `None` while it has one.
    lost: Option<Instant>,
}

/// The stream and its present state.
pub(super) struct Opened {
    pub(super) stream: Stream,
    /// Identifies the stream: when it was created.
    pub(super) incarnation: Arc<str>,
    /// The greatest sequence that a message has ever had.
    pub(super) sequence: u64,
    /// The least sequence of a message.
    pub(super) first: u64,
    /// Whether limits delete the oldest messages.
    pub(super) is_limited: bool,
    pub(super) status: StreamStatus,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.config.fmt(f)
    }
}

impl Connector {
    pub(super) fn new(config: NatsConfig, options: RelayOptions) -> Self {
        Self {
            config,
            options,
            session: Mutex::default(),
        }
    }

    /// Returns the session. If there is none, or it is lost, connects and verifies the server.
    pub(super) async fn session(&self) -> Result<Session> {
        let mut current = self.session.lock().await;
        if let Some(session) = &mut *current
            && !session.is_lost()
        {
            return Ok(session.clone());
        }
        let connecting = self
            .config
            .connect_with(|options| options.max_reconnects(RECONNECTS));
        let client = connecting.await?;
        check_version(&client.server_info().version)?;
        let limit = self.config.request_limit();
        let context = ContextBuilder::new().timeout(limit).build(client.clone());
        let session = Session {
            client,
            context,
            max_message: current.as_ref().and_then(|before| before.max_message),
            lost: None,
        };
        *current = Some(session.clone());
        Ok(session)
    }

    /// Returns the session if it has a connection. Neither connects nor waits.
    pub(super) fn connected(&self) -> Option<Session> {
        let current = self.session.try_lock().ok()?;
        let is_connected =
            |session: &Session| session.client.connection_state() == State::Connected;
        current.clone().filter(is_connected)
    }

    /// Reads the stream from the server, and verifies it.
    pub(super) async fn open(&self) -> Result<Opened> {
        let session = self.session().await?;
        let (stream, info) = stream::open(&session.context, &self.options).await?;
        let limit = usize::try_from(info.config.max_message_size)
            .ok()
            .filter(|limit| *limit > 0);
        if let Some(session) = &mut *self.session.lock().await {
            session.max_message = limit;
        }
        Ok(Opened {
            stream,
            incarnation: incarnation(&info),
            sequence: info.state.last_sequence,
            first: info.state.first_sequence,
            is_limited: stream::is_limited(&info.config),
            status: StreamStatus::new(&info, &self.options),
        })
    }
}

impl Session {
    /// Whether the client has been without a connection for more than [`PATIENCE`].
    fn is_lost(&mut self) -> bool {
        if self.client.connection_state() == State::Connected {
            self.lost = None;
            return false;
        }
        let since = *self.lost.get_or_insert_with(Instant::now);
        since.elapsed() > PATIENCE
    }

    /// Returns the maximum size of an event's payload in bytes, if the event has these headers besides its own.
    pub(super) fn max_payload(&self, headers: &HeaderMap) -> usize {
        let of_headers: usize = headers
            .iter()
            .map(|(name, values)| {
                let values: usize = values.iter().map(|value| value.as_str().len() + 4).sum();
                let name: &str = name.as_ref();
                name.len() + values
            })
            .sum();
        let limit = self.client.max_payload();
        let limit = self.max_message.map_or(limit, |other| other.min(limit));
        limit.saturating_sub(of_headers + HEADERS)
    }
}

fn incarnation(info: &Info) -> Arc<str> {
    info.created.unix_timestamp_nanos().to_string().into()
}

fn check_version(version: &str) -> Result<()> {
    let mut numbers = version
        .split('.')
        .map(|number| number.parse::<u64>().unwrap_or_default());
    let found = (
        numbers.next().unwrap_or_default(),
        numbers.next().unwrap_or_default(),
    );
    match found >= OLDEST {
        true => Ok(()),
        false => Err(errors::bad_nats(format!(
            "the NATS server has version {version}, which has no atomic batches: use 2.12 or newer"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::check_version;

    #[test]
    fn servers_without_atomic_batches_are_refused() {
        for new in ["2.12.0", "2.15.1", "3.0.0-beta", "2.12.0-RC.1"] {
            assert!(check_version(new).is_ok(), "{new}");
        }
        for old in ["2.9.10", "2.11.99", "1.4.0", "", "x"] {
            let error = check_version(old).expect_err(old).to_string();
            assert!(error.contains("2.12"), "{error}");
        }
    }
}
