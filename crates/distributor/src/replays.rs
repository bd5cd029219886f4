//! Reads the outbox for clients that continue from a position.
//!
//! ```text
//!   client with ?since= ──► Feed ── Request(position) ──► task ── Replayer (its own connection) ──► PostgreSQL
//!                            ▲                              │
//!                            └──── Step, one at a time ◄────┘
//! ```
//!
//! Owner: [`Replays`] owns the connections, which exist only once a client has continued. A replay is a task that borrows one for each
//! page, and reads the next page when the client has taken the previous one. So a slow client costs the others nothing.
//!
//! Guarantees:
//! - A replay has each event after the position that the filter matches, in the order of a source, up to a moment after its
//!   subscription began. The position at its end shows which events of the subscription it has already read.
//! - If that cannot be guaranteed, the replay ends with [`Step::Lost`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pgherald_core::__private::host::outbox::{
    Beginning, Position, Progress, Replay, Replayed, Replayer,
};
use pgherald_core::{ConnectConfig, ErrorKind, Event, Filter, Result, TableName};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, timeout};

/// Pages that are read at the same time, and so connections. Further replays wait.
const AT_ONCE: usize = 4;

/// How long a page may take, with the time to connect.
const DEADLINE: Duration = Duration::from_secs(15);

/// The pause before another attempt when the database cannot be reached.
const PAUSE: Duration = Duration::from_millis(500);

/// How long a replay may go without a page while the source has a session. Then the client reads its state again, because the source
/// may keep a session for long in a database that refuses new ones.
const PATIENCE: Duration = Duration::from_secs(10);

/// The outbox of a herald, for clients that continue.
#[derive(Clone, Debug)]
pub(crate) struct Replays {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: ConnectConfig,
    progress: Progress,
    /// The tables that are recorded in the outbox.
    tables: Vec<TableName>,
    /// The number of events after which a client reads its state again instead.
    limit: usize,
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Replayer>>,
}

/// What a replay yields.
#[derive(Debug)]
pub(crate) enum Step {
    /// The next events that match.
    Events(Vec<Event>),
    /// The position is not valid any more, or is too far behind, or the database refuses connections.
    Lost,
    /// The outbox was put back to a state before the position.
    WentBack,
    /// All events were read up to here.
    End(Position),
}

impl Replays {
    pub(crate) fn new(
        config: ConnectConfig,
        progress: Progress,
        tables: Vec<TableName>,
        limit: usize,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                config,
                progress,
                tables,
                limit,
                permits: Arc::new(Semaphore::new(AT_ONCE)),
                idle: Mutex::default(),
            }),
        }
    }

    /// Returns whether all events of a table are recorded.
    pub(crate) fn has(&self, table: &TableName) -> bool {
        self.shared.tables.contains(table)
    }

    /// Returns how far the source has emitted the outbox.
    pub(crate) fn progress(&self) -> &Progress {
        &self.shared.progress
    }

    /// Starts a replay on the current thread. It ends when the receiver is dropped.
    pub(crate) fn start(&self, position: Position, filter: Filter) -> mpsc::Receiver<Step> {
        let (steps, received) = mpsc::channel(1);
        let shared = Arc::clone(&self.shared);
        actix_web::rt::spawn(async move {
            let replay = shared.replay(&position, &filter, &steps);
            tokio::select! {
                () = steps.closed() => {}
                () = replay => {}
            }
        });
        received
    }
}

/// The outcome of reading a page.
enum Read {
    Page(Replay, Replayed),
    /// The position is not valid any more.
    Lost,
    /// The outbox was put back to a state before the position.
    WentBack,
    /// The connection was lost, or the source has no session.
    Interrupted(Option<Replay>),
    /// The connection was to a server with another history than that of the source.
    OtherServer,
}

impl Shared {
    async fn replay(
        self: &Arc<Self>,
        position: &Position,
        filter: &Filter,
        steps: &mpsc::Sender<Step>,
    ) {
        let (mut replay, mut count) = (None, 0);
        let mut interrupted: Option<Instant> = None;
        // A page is read when there is room for it.
        while let (Ok(room), Ok(permit)) = (
            steps.reserve().await,
            self.permits.clone().acquire_owned().await,
        ) {
            // The task continues if the client leaves, so that the connection stays in use until the server has answered.
            let read = Arc::clone(self).read(position.clone(), replay.take(), permit);
            let page = match actix_web::rt::spawn(read).await {
                Ok(Read::Page(after, page)) => {
                    (replay, interrupted) = (Some(after), None);
                    page
                }
                Ok(Read::OtherServer) => continue,
                Ok(Read::Interrupted(before)) => {
                    replay = before;
                    match self.progress.position() {
                        // Clients are not live without the source, so nothing is gained by giving up.
                        None => interrupted = None,
                        Some(_)
                            if interrupted.get_or_insert_with(Instant::now).elapsed()
                                > PATIENCE =>
                        {
                            tracing::warn!(
                                "replay was interrupted for {PATIENCE:?}: the client reads its state again"
                            );
                            return room.send(Step::Lost);
                        }
                        Some(_) => {}
                    }
                    drop(room);
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
                Ok(Read::WentBack) => return room.send(Step::WentBack),
                Ok(Read::Lost) | Err(_) => return room.send(Step::Lost),
            };
            count += page.events.len();
            if page.is_gap || count > self.limit {
                return room.send(Step::Lost);
            }
            let matching = page.events.into_iter();
            let matching: Vec<Event> = matching.filter(|event| filter.matches(event)).collect();
            match matching.is_empty() {
                true => drop(room),
                false => room.send(Step::Events(matching)),
            }
            if page.is_last {
                let end = replay.as_ref().and_then(Replay::end);
                let _ = steps.send(end.map_or(Step::Lost, Step::End)).await;
                return;
            }
        }
    }

    /// Reads a page with a connection that no other replay uses meanwhile.
    async fn read(
        self: Arc<Self>,
        position: Position,
        mut replay: Option<Replay>,
        _permit: OwnedSemaphorePermit,
    ) -> Read {
        match timeout(DEADLINE, self.page(&position, &mut replay)).await {
            Ok(Ok(read)) => read,
            Ok(Err(error)) if !error.is_connection() => {
                tracing::warn!(error = %error.chain(), "replay failed: the client reads its state again");
                match error.kind() {
                    ErrorKind::History => Read::WentBack,
                    _ => Read::Lost,
                }
            }
            Ok(Err(error)) => {
                tracing::info!(error = %error.chain(), "replay was interrupted");
                Read::Interrupted(replay)
            }
            Err(_) => {
                tracing::warn!(
                    "replay was interrupted: the database has not answered within {DEADLINE:?}"
                );
                Read::Interrupted(replay)
            }
        }
    }

    /// Reads a page, and keeps the connection if it can be used again.
    async fn page(&self, position: &Position, replay: &mut Option<Replay>) -> Result<Read> {
        let idle = self.idle().pop().filter(Replayer::is_usable);
        let is_new = idle.is_none();
        let mut replayer = match idle {
            Some(replayer) => replayer,
            None => Replayer::connect(&self.config).await?,
        };
        let begun = match replay {
            Some(begun) => Ok(begun),
            None => match replayer.begin(position, &self.progress, self.limit).await? {
                Beginning::Replay(begun) => Ok(replay.insert(begun)),
                Beginning::Lost => Err(Read::Lost),
                Beginning::Early => Err(Read::Interrupted(None)),
                Beginning::OtherHistory if is_new => return Ok(Read::Lost),
                Beginning::OtherHistory => return Ok(Read::OtherServer),
            },
        };
        let read = match begun {
            Ok(begun) => {
                let page = replayer.next(begun).await?;
                Read::Page(begun.clone(), page)
            }
            Err(read) => read,
        };
        self.idle().push(replayer);
        Ok(read)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Replayer>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
