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
//!   subscription began. The [`Seam`] tells which events of the subscription it has already had.
//! - If that cannot be guaranteed, the replay ends with [`Step::Lost`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pgherald_core::__private::host::outbox::{
    Position, Progress, Replay, Replayed, Replayer, Seam,
};
use pgherald_core::{ConnectConfig, Event, Filter, Result, TableName};
use tokio::sync::{Semaphore, mpsc};

/// Pages that are read at the same time, and so connections. Further replays wait.
const AT_ONCE: usize = 4;

/// The pause before another attempt when the database cannot be reached.
const PAUSE: Duration = Duration::from_millis(500);

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
    permits: Semaphore,
    idle: Mutex<Vec<Replayer>>,
}

/// What a replay yields.
#[derive(Debug)]
pub(crate) enum Step {
    /// The next events that match.
    Events(Vec<Event>),
    /// The position is not valid any more, or is too far behind.
    Lost,
    /// All events were read up to here.
    End(Seam),
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
                permits: Semaphore::new(AT_ONCE),
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

impl Shared {
    async fn replay(&self, position: &Position, filter: &Filter, steps: &mpsc::Sender<Step>) {
        let mut replay = None;
        let mut count = 0;
        let last = loop {
            let page = match self.page(position, &mut replay).await {
                Ok(Some(page)) => page,
                Ok(None) => break Step::Lost,
                Err(error) if error.is_connection() => {
                    tracing::info!(error = %error.chain(), "replay was interrupted");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
                Err(error) => {
                    tracing::warn!(error = %error.chain(), "replay failed: the client reads its state again");
                    break Step::Lost;
                }
            };
            count += page.events.len();
            if page.is_gap || count > self.limit {
                break Step::Lost;
            }
            let matching = page.events.into_iter();
            let matching: Vec<Event> = matching.filter(|event| filter.matches(event)).collect();
            if !matching.is_empty() && steps.send(Step::Events(matching)).await.is_err() {
                return;
            }
            if page.is_last {
                let seam = replay.as_ref().and_then(Replay::seam);
                break seam.map_or(Step::Lost, Step::End);
            }
        };
        let _ = steps.send(last).await;
    }

    /// Reads a page with a connection that nobody else uses meanwhile. `None` if the position is not valid any more.
    async fn page(
        &self,
        position: &Position,
        replay: &mut Option<Replay>,
    ) -> Result<Option<Replayed>> {
        let Ok(_permit) = self.permits.acquire().await else {
            return Ok(None);
        };
        let idle = self.idle().pop();
        let mut replayer = match idle.filter(Replayer::is_usable) {
            Some(replayer) => replayer,
            None => Replayer::connect(&self.config).await?,
        };
        if replay.is_none() {
            *replay = replayer.begin(position, &self.progress);
        }
        let page = match replay {
            Some(replay) => Some(replayer.next(replay).await?),
            None => None,
        };
        self.idle().push(replayer);
        Ok(page)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Replayer>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
