//! The connections that consumers of a process share.
//!
//! ```text
//!   Connections ── open ──► Link: reads, writes, notifications │ ticks, trims
//!        ▲                   ▲         ▲
//!   cloned by consumers      └─────────┴── held by consumers while they are connected
//! ```
//!
//! A link is two sessions. It ends when the last consumer that holds it drops it. If a session ends, each of these consumers
//! finds out, and opens a link again: the first one connects, the others join it. A link on which a request was not answered in
//! time, or whose [history](History) has changed, is *retired*: the consumers that hold it keep it, but no other consumer joins it.
//!
//! All tasks of a link run on one runtime. If that is not the runtime of the consumers, a handler that blocks its thread delays
//! no other consumer.

use std::fmt;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_postgres::{AsyncMessage, Client};

use super::members::{Member, Members};
use super::reads::Reads;
use super::session::{limit_locks, prepare};
use crate::connect::{ConnectConfig, Connection};
use crate::error::{Error, ErrorKind, Result};
use crate::outbox::{History, WAKE_UP_CHANNEL};

/// How long connecting may take, and leaving the group at the end.
pub(super) const CONNECT: Duration = Duration::from_secs(10);
/// How often the outbox is trimmed.
pub(super) const TRIM: Duration = Duration::from_secs(10);
/// The kernel ends a shared session if the server does not acknowledge data for this time.
const SILENCE: Duration = Duration::from_secs(10);

/// The connections of a process to one database, for any number of [consumers](super::Consumer).
///
/// Consumers that share connections need two of them together instead of two each, and read new rows of the outbox together.
/// Give clones to [`DurableOptions::connections`](crate::DurableOptions::connections). The actors' `Herald` does so for its
/// durable handlers. Cheap to clone.
///
/// Nothing is connected before a consumer runs. The connections are driven on the runtime that this was made on, so it has to run
/// as long as the consumers do. If the connections are lost, all their consumers reconnect. All consumers must be of this
/// database. A consumer that waits for a lock for 300 ms gives up and tries again, because the others wait behind it.
///
/// ```no_run
/// # use pgherald_core::group::{Connections, Consumer};
/// # use pgherald_core::{Attempt, ConnectConfig, DurableOptions, Event, EventHandler, HandlerResult};
/// # struct Print;
/// # impl EventHandler for Print {
/// #     type Event = Event;
/// #     async fn handle(&self, _: Event, _: Attempt) -> HandlerResult { Ok(()) }
/// # }
/// # async fn example() -> pgherald_core::Result<()> {
/// let config: ConnectConfig = "postgresql://app@localhost/shop".parse()?;
/// let connections = Connections::new(config.clone());
/// let greet = DurableOptions::new("greet").connections(connections.clone());
/// let bill = DurableOptions::new("bill").connections(connections);
/// let (_, greet) = Consumer::new(config.clone(), greet, || Print)?;
/// let (_, bill) = Consumer::new(config, bill, || Print)?;
/// # drop((greet, bill));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Connections(Arc<Shared>);

struct Shared {
    config: ConnectConfig,
    /// Where the connections are driven. `None`: where the first consumer runs.
    runtime: Option<Handle>,
    is_shared: bool,
    made_at: Instant,
    link: tokio::sync::Mutex<Weak<Link>>,
}

impl Connections {
    /// Makes connections to the database of `config`, to be driven on the current tokio runtime. Outside of a runtime, they are
    /// driven on the runtime of the consumer that connects.
    #[must_use]
    pub fn new(config: ConnectConfig) -> Self {
        let mut config = config;
        config.for_listening("consumers", SILENCE, CONNECT);
        Self::of(config, Handle::try_current().ok(), true)
    }

    /// The connections of a single consumer, on its runtime. `config` is one for listening.
    pub(super) fn of_one(config: ConnectConfig) -> Self {
        Self::of(config, None, false)
    }

    fn of(config: ConnectConfig, runtime: Option<Handle>, is_shared: bool) -> Self {
        Self(Arc::new(Shared {
            config,
            runtime,
            is_shared,
            made_at: Instant::now(),
            link: tokio::sync::Mutex::default(),
        }))
    }

    /// When these connections were made. All consumers that share them poll at the same moments after it.
    pub(super) fn made_at(&self) -> Instant {
        self.0.made_at
    }

    /// Opens a link, or joins the one that is open. Callers that open one at the same time wait for each other.
    pub(super) async fn open(&self) -> Result<Arc<Link>> {
        let mut current = self.0.link.lock().await;
        if let Some(link) = current.upgrade()
            && link.is_usable()
        {
            return Ok(link);
        }
        let opening = Link::open(self.0.config.clone(), self.0.is_shared);
        let link = match &self.0.runtime {
            None => opening.await,
            Some(runtime) => Task(runtime.spawn(opening)).joined().await,
        };
        let link = Arc::new(link?);
        *current = Arc::downgrade(&link);
        Ok(link)
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Connections").field(&self.0.config).finish()
    }
}

impl fmt::Display for Connections {
    /// Shows where the connections lead, without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.config.fmt(f)
    }
}

/// Two sessions, and the tasks that drive them.
pub(super) struct Link {
    /// For pages, acknowledgements, parked events, and notifications.
    pub(super) client: Arc<Client>,
    /// For ticks and trimming, so that renewing a lease does not wait behind pages.
    pub(super) upkeep: Arc<Client>,
    pub(super) reads: Reads,
    /// The history that the positions in `reads` belong to: that of the first consumer.
    history: OnceLock<History>,
    members: Arc<Members>,
    ended: watch::Receiver<Option<Error>>,
    driver: JoinHandle<()>,
    runtime: Handle,
    /// When the outbox was trimmed last.
    trimmed: Mutex<Option<Instant>>,
    is_retired: AtomicBool,
}

/// A task that ends when this is dropped.
struct Task<T>(JoinHandle<Result<T>>);

impl<T> Task<T> {
    async fn joined(mut self) -> Result<T> {
        (&mut self.0).await.unwrap_or_else(|cause| {
            let message = "the runtime of the connections has ended";
            Err(Error::with_source(ErrorKind::Disconnected, message, cause))
        })
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Link {
    async fn open(config: ConnectConfig, is_shared: bool) -> Result<Self> {
        let (client, connection) = config.listening_session().await?;
        let members = Arc::new(Members::default());
        let (end, ended) = watch::channel(None);
        let driver = tokio::spawn(drive(connection, Arc::clone(&members), end));
        let client = Arc::new(client);
        let link = Self {
            history: OnceLock::new(),
            upkeep: Arc::new(config.session_client().await?),
            reads: Reads::new(Arc::clone(&client), Arc::clone(&members)),
            client,
            members,
            ended,
            driver,
            runtime: Handle::current(),
            trimmed: Mutex::default(),
            is_retired: AtomicBool::new(false),
        };
        for client in [&link.client, &link.upkeep] {
            prepare(client).await?;
            if is_shared {
                limit_locks(client).await?;
            }
        }
        let listen = format!("LISTEN {WAKE_UP_CHANNEL}");
        link.client
            .batch_execute(&listen)
            .await
            .map_err(|cause| Error::of_statement("the server refused LISTEN", cause))?;
        Ok(link)
    }

    /// Fails if `now`, the server's present history, does not continue the one of this link. A consumer calls this before it reads.
    pub(super) fn check(&self, now: &History) -> Result<()> {
        match now.continues(self.history.get_or_init(|| now.clone())) {
            true => Ok(()),
            false => {
                self.retire();
                let message =
                    "the history of the outbox has changed since the connections were opened";
                Err(Error::new(ErrorKind::History, message))
            }
        }
    }

    /// Registers a consumer of `group` for notifications.
    pub(super) fn join(&self, group: Arc<str>, lease: Duration) -> Arc<Member> {
        self.members.join(group, lease)
    }

    /// Runs a request where the connections are driven. A consumer whose thread is blocked would read no answer, and a session
    /// waits until each answer is read. The request ends with the returned future.
    pub(super) fn run<T: Send + 'static>(
        &self,
        request: impl Future<Output = Result<T>> + Send + 'static,
    ) -> impl Future<Output = Result<T>> + Send + 'static {
        Task(self.runtime.spawn(request)).joined()
    }

    /// Returns how long trimming the outbox may take: less than any consumer can wait until it renews its lease. `None` if a
    /// consumer has trimmed it on this link within [`TRIM`].
    pub(super) fn may_trim(&self) -> Option<Duration> {
        let mut trimmed = self.trimmed.lock().unwrap_or_else(PoisonError::into_inner);
        if trimmed.is_some_and(|at| at.elapsed() < TRIM) {
            return None;
        }
        *trimmed = Some(Instant::now());
        Some((self.members.shortest_lease()? / 3).min(TRIM))
    }

    /// Lets no other consumer join.
    pub(super) fn retire(&self) {
        self.is_retired.store(true, Ordering::Release);
    }

    fn is_usable(&self) -> bool {
        let has_retired = self.is_retired.load(Ordering::Acquire);
        !has_retired && self.ended.borrow().is_none() && !self.upkeep.is_closed()
    }

    /// Waits until the first session ends, and returns the cause.
    pub(super) async fn ended(&self) -> Error {
        let mut ended = self.ended.clone();
        let cause = ended.wait_for(Option::is_some).await;
        let cause = cause.ok().and_then(|cause| cause.clone());
        cause.unwrap_or_else(|| {
            Error::new(ErrorKind::Disconnected, "the connection's task has ended")
        })
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

async fn drive(
    mut connection: Connection,
    members: Arc<Members>,
    end: watch::Sender<Option<Error>>,
) {
    let cause = loop {
        match poll_fn(|cx| connection.poll_message(cx)).await {
            Some(Ok(AsyncMessage::Notification(notification))) => {
                members.notified(notification.payload());
            }
            Some(Ok(AsyncMessage::Notice(notice))) => {
                tracing::info!(severity = notice.severity(), "server: {}", notice.message());
            }
            Some(Ok(_)) => {}
            Some(Err(cause)) => {
                break Error::with_source(
                    ErrorKind::Disconnected,
                    "the connection was lost",
                    cause,
                );
            }
            None => {
                break Error::new(ErrorKind::Disconnected, "the server closed the connection");
            }
        }
    };
    end.send_replace(Some(cause));
}
