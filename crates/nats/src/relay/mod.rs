//! The relay: a group whose consumers store the events of the outbox in a stream.
//!
//! ```text
//!   outbox ── pages ──► consumer of the group ── batches of slices ──► stream
//!                            │      ▲                                   │
//!   cursors ◄── behind ──────┘      └──── last message of each slice ───┘
//! ```
//!
//! **The position lives in the stream.** The last message of each batch has the slice's cursor after the batch. A relay that takes
//! over a slice reads the last message of that slice, and continues from its cursor. Its first batch expects the sequence of that
//! message. So a crash at any moment duplicates no event, and the stream refuses a relay that was suspended for longer than its
//! lease.
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
mod status;
mod stream;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pgherald_actors::Herald;
use pgherald_actors::actix::Addr;
use pgherald_core::__private::host::group::relay;
use pgherald_core::group::{Consumer, ConsumerHandle, ConsumerReport};
use pgherald_core::{ConnectConfig, Error, Event, Health, Result};
use tokio::sync::{oneshot, watch};

pub use self::actor::RelayActor;
use self::destination::JetStream;
use self::heartbeats::Slices;
use self::metrics::Metrics;
pub use self::options::{RelayOptions, StreamOptions};
use self::session::Connector;
pub use self::status::StreamStatus;
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

/// State that the relay shares with its heartbeats.
#[derive(Clone)]
struct Shared {
    connector: Arc<Connector>,
    slices: Arc<Slices>,
    metrics: Arc<Metrics>,
    health: watch::Receiver<Health>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.metrics.fmt(f)
    }
}

impl Relay {
    /// Makes a relay from a database to a stream. Does not connect yet.
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
        let metrics = Arc::new(Metrics::new(group.group()));
        let connector = Arc::new(Connector::new(nats, options));
        let slices = Arc::<Slices>::default();
        let destination = JetStream {
            connector: Arc::clone(&connector),
            metrics: Arc::clone(&metrics),
            slices: Arc::clone(&slices),
        };
        let (consumer_handle, consumer) = relay(database, group, destination)?;
        let shared = Shared {
            health: consumer_handle.health(),
            connector: Arc::clone(&connector),
            slices,
            metrics: Arc::clone(&metrics),
        };
        let handle = RelayHandle {
            consumer: consumer_handle,
            connector,
            metrics,
        };
        Ok((handle, Self { consumer, shared }))
    }

    /// Starts a relay next to the handlers of a herald, which must watch tables in outbox mode. The relay requires the tables that
    /// its [filter](RelayOptions::filter) matches, and shares the connections of the herald's durable handlers. The herald drains
    /// the relay at shutdown.
    ///
    /// When this returns, the relay is live, so the stream receives each event that is committed from then on. If the herald was
    /// [started without waiting](pgherald_actors::HeraldBuilder::start_without_waiting), this does not wait either.
    ///
    /// ```no_run
    /// use pgherald_actors::Herald;
    /// use pgherald_core::TableName;
    /// use pgherald_core::trigger::TriggerSpec;
    /// use pgherald_nats::{NatsConfig, Relay, RelayOptions, StreamOptions};
    ///
    /// # async fn example() -> pgherald_core::Result<()> {
    /// let users = TableName::new("public", "users")?;
    /// let herald = Herald::builder("postgresql://app@localhost/shop".parse()?)
    ///     .watch_with(TriggerSpec::new(users).outbox())
    ///     .install_triggers()
    ///     .start()
    ///     .await?;
    /// let nats = NatsConfig::new("nats://localhost")?;
    /// let options = RelayOptions::new("fleet", "CHANGES").create(StreamOptions::new());
    /// let (handle, _) = Relay::start(&herald, nats, options).await?;
    /// println!("{:?}", handle.report());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If an option is out of its range. If the herald watches no table in outbox mode that the filter matches. If the relay is not
    /// live [in time](pgherald_actors::HeraldBuilder::live_within): the error has the cause, and the relay is stopped. If the
    /// herald was shut down.
    pub async fn start(
        herald: &Herald,
        nats: NatsConfig,
        mut options: RelayOptions,
    ) -> Result<(RelayHandle, Addr<RelayActor>)> {
        let group = options.group.clone();
        let (sender, receiver) = oneshot::channel();
        let make = move |database, group| {
            options.group = group;
            let (handle, relay) = Self::new(database, nats, options)?;
            let health = handle.health();
            // This fails only if the future of `start` was dropped.
            let _ = sender.send(handle.clone());
            Ok((RelayActor::new(handle, relay), health))
        };
        let relay = herald.start_consumer::<Event, _>(group, make).await?;
        let handle = receiver.await.map_err(|_| Error::shut_down())?;
        Ok((handle, relay))
    }

    /// Connects to NATS, and verifies the server and the stream. Creates a missing stream if the options say so. A running relay
    /// retries the errors that this returns.
    ///
    /// # Errors
    /// If no server can be reached. If the server refuses the credentials, is older than 2.12, or has no JetStream. If the stream
    /// does not exist or does not fit.
    pub async fn verify(&self) -> Result<()> {
        self.shared.connector.open().await.map(drop)
    }

    /// Like [`verify`](Self::verify), but creates nothing. Returns the stream, or `None` if it does not exist and a running relay would
    /// create it.
    ///
    /// # Errors
    /// As for [`verify`](Self::verify).
    pub async fn check(&self) -> Result<Option<StreamStatus>> {
        status::look(&self.shared.connector).await
    }

    /// Returns the description of the relay's destination, as in
    /// [`GroupStatus::destination`](pgherald_core::group::GroupStatus::destination).
    #[must_use]
    pub fn destination(&self) -> String {
        destination::name(&self.shared.connector.options)
    }

    /// Runs until the relay is [drained](RelayHandle::drain). It reconnects by itself, to both sides, and never gives up. If the
    /// future is dropped earlier, other relays take over its slices when its lease has expired.
    pub async fn run(self) {
        let Self { consumer, shared } = self;
        let Shared {
            connector,
            slices,
            metrics,
            health,
        } = shared;
        let heartbeats = heartbeats::send(connector, slices, metrics, health);
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
    connector: Arc<Connector>,
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
    /// Batches that were not stored for another reason. The relay sends them again.
    pub refused: u64,
    /// Batches that were not acknowledged. The relay reads from the stream whether they are stored.
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

    /// Returns a receiver of the relay's health, to be read or awaited. The relay is live while its lease is valid, it has read the
    /// stream, and the stream accepts its batches.
    #[must_use]
    pub fn health(&self) -> watch::Receiver<Health> {
        self.consumer.health()
    }

    /// Reads the status of the stream from the server. Returns `None` if the stream does not exist and the relay would create it.
    ///
    /// # Errors
    /// As for [`Relay::verify`].
    pub async fn stream(&self) -> Result<Option<StreamStatus>> {
        status::look(&self.connector).await
    }

    /// Stops the relay, and returns its report when it has ended. Waits up to `deadline` for the batches that it has sent.
    pub async fn drain(&self, deadline: Duration) -> RelayReport {
        self.consumer.drain(deadline).await;
        self.report()
    }
}
