//! The relay: a group whose consumers store the events of the outbox in a stream.
//!
//! ```text
//!   outbox ── pages ──► consumer of the group ── batches of slices ──► stream
//!                            │      ▲                                   │
//!   cursors ◄── behind ──────┘      └──── last message of each slice ───┘
//! ```
//!
//! **The position lives in the stream.** The last message of each batch has the slice's cursor after it. A relay that takes a slice
//! over reads the last message of that slice, continues from its cursor, and expects that message's sequence with its first batch. So
//! a crash at any moment doubles nothing, and a relay that was stopped for longer than its lease is refused by the stream.
//!
//! Owners: the consumer of core (`group/engine/relays`) owns queues and positions. [`session`] owns the connection to NATS,
//! [`destination`] translates between both. [`heartbeats`] reads what the consumer has published.

mod actor;
mod destination;
mod heartbeats;
mod messages;
mod metrics;
mod options;
mod session;
mod stream;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pgherald_core::__private::host::group::relay;
use pgherald_core::group::{Consumer, ConsumerHandle, ConsumerReport};
use pgherald_core::{ConnectConfig, Health, Result};
use tokio::sync::watch;

pub use self::actor::RelayActor;
use self::destination::JetStream;
use self::heartbeats::Slices;
use self::metrics::Metrics;
pub use self::options::{RelayOptions, StreamOptions};
use self::session::Connector;
pub(crate) use self::stream::covers;
use crate::config::NatsConfig;

/// Stores the events of the outbox in a stream of NATS JetStream, each exactly once, in commit order of each row.
///
/// A relay does nothing until it is [run](Self::run). It runs on the thread that made it. Run any number of relays of the same group,
/// in any number of processes: they share the slices.
///
/// ```no_run
/// use pgherald_core::ConnectConfig;
/// use pgherald_nats::{NatsConfig, Relay, RelayOptions, StreamOptions};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> pgherald_core::Result<()> {
/// let database: ConnectConfig = "postgresql://app@localhost/shop".parse()?;
/// let nats = NatsConfig::new("nats://localhost")?;
/// let options = RelayOptions::new("fleet", "CHANGES").create(StreamOptions::new());
/// let (handle, relay) = Relay::new(database, nats, options)?;
/// let local = tokio::task::LocalSet::new();
/// local.spawn_local(relay.run());
/// local.run_until(tokio::signal::ctrl_c()).await.ok();
/// println!("{:?}", local.run_until(handle.drain(std::time::Duration::from_secs(10))).await);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Relay {
    consumer: Consumer,
    shared: Shared,
}

/// What the relay and its heartbeats share.
#[derive(Clone)]
struct Shared {
    connector: Arc<Connector>,
    slices: Arc<Slices>,
    metrics: Arc<Metrics>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.metrics.fmt(f)
    }
}

impl Relay {
    /// Makes a relay from a database to a stream. Connects to neither.
    ///
    /// # Errors
    /// If an option is out of its range.
    pub fn new(
        database: ConnectConfig,
        nats: NatsConfig,
        options: RelayOptions,
    ) -> Result<(RelayHandle, Self)> {
        nats.check()?;
        let options = options.checked()?;
        let group = options.group.clone();
        let shared = Shared {
            metrics: Arc::new(Metrics::new(group.group())),
            slices: Arc::default(),
            connector: Arc::new(Connector::new(nats, options)),
        };
        let destination = JetStream {
            connector: Arc::clone(&shared.connector),
            metrics: Arc::clone(&shared.metrics),
            slices: Arc::clone(&shared.slices),
        };
        let (consumer_handle, consumer) = relay(database, group, destination)?;
        let handle = RelayHandle {
            consumer: consumer_handle,
            metrics: Arc::clone(&shared.metrics),
        };
        Ok((handle, Self { consumer, shared }))
    }

    /// Connects to NATS, and verifies the server and the stream, which is created if the options say so. A running relay retries
    /// the errors that this returns.
    ///
    /// # Errors
    /// If no server can be reached, the server refuses the credentials, is older than 2.12 or has no JetStream, or the stream does not
    /// exist or fit.
    pub async fn verify(&self) -> Result<()> {
        self.shared.connector.open().await.map(drop)
    }

    /// Runs until the relay is [drained](RelayHandle::drain). It reconnects by itself, to both sides, and never gives up. If the
    /// future is dropped earlier, other relays take over its slices when its lease has expired.
    pub async fn run(self) {
        let Self { consumer, shared } = self;
        let Shared {
            connector,
            slices,
            metrics,
        } = shared;
        let heartbeats = heartbeats::send(connector, slices, metrics);
        tokio::select! {
            () = consumer.run() => {}
            () = heartbeats => {}
        }
    }
}

/// Reports on a running [`Relay`], and stops it. Cheap to clone; usable from any thread.
#[derive(Clone, Debug)]
pub struct RelayHandle {
    consumer: ConsumerHandle,
    metrics: Arc<Metrics>,
}

/// Counts of a relay since it was made, and its present state.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RelayReport {
    /// The report of its consumer. [`destination_error`](ConsumerReport::destination_error) is why nothing is stored at present.
    pub consumer: ConsumerReport,
    /// Batches that were stored.
    pub batches: u64,
    /// Events that were stored.
    pub events: u64,
    /// Batches that were refused, because another relay had stored events of the slice.
    pub fenced: u64,
    /// Batches that were refused for another reason, and sent again.
    pub refused: u64,
    /// Batches that were not answered. The relay has looked whether they are stored.
    pub unknown: u64,
    /// Resyncs that were stored.
    pub resyncs: u64,
    /// Events that were stored without columns, because they were too large for the server.
    pub truncated: u64,
}

impl RelayHandle {
    /// Returns a copy of the relay's report.
    #[must_use]
    pub fn report(&self) -> RelayReport {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let metrics = &self.metrics;
        RelayReport {
            consumer: self.consumer.report(),
            batches: get(&metrics.stored),
            events: get(&metrics.events),
            fenced: get(&metrics.fenced),
            refused: get(&metrics.refused),
            unknown: get(&metrics.unknown),
            resyncs: get(&metrics.resyncs),
            truncated: get(&metrics.truncated),
        }
    }

    /// Returns a receiver of the relay's health, to be read or awaited. It is live while its lease is valid and the stream accepts
    /// its batches.
    #[must_use]
    pub fn health(&self) -> watch::Receiver<Health> {
        self.consumer.health()
    }

    /// Stops the relay, and returns its report when it has ended. Batches that were sent are waited for, until `deadline`.
    pub async fn drain(&self, deadline: Duration) -> RelayReport {
        self.consumer.drain(deadline).await;
        self.report()
    }
}
