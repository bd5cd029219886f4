//! Reads the outbox for clients that continue from a position.
//!
//! ```text
//!   client with ?since= ──► Feed ── Request(position) ──► task ── Replayer (its own connection) ──► PostgreSQL
//!                            ▲                              │
//!                            └──── Step, one at a time ◄────┘
//! ```
//!
//! Owner: [`Replays`] owns the connections, which exist only once a client has continued. A replay is a task that borrows one. It
//! reads the next page when the client has taken the previous one, so a slow client costs a connection, but no memory.
//!
//! Guarantees:
//! - A replay has each event after the position that the filter matches, in the order of a source, up to a moment after its
//!   subscription began. The [`Seam`] tells which events of the subscription it has already had.
//! - If that cannot be guaranteed, the replay ends with [`Step::Lost`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pgherald_core::__private::host::outbox::{Position, Progress, Replayer, Seam};
use pgherald_core::{ConnectConfig, Event, Filter, Result, TableName};
use tokio::sync::{Semaphore, mpsc};

/// Replays, and so connections, at the same time. Further clients wait.
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
        let mut position = position.clone();
        let Ok(_permit) = self.permits.acquire().await else {
            return;
        };
        let mut count = 0;
        loop {
            match self.attempt(&mut position, filter, steps, &mut count).await {
                Ok(last) => {
                    let _ = steps.send(last).await;
                    return;
                }
                Err(error) if error.is_connection() => {
                    tracing::info!(error = %error.chain(), "replay was interrupted");
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => {
                    tracing::warn!(error = %error.chain(), "replay failed: the client reads its state again");
                    let _ = steps.send(Step::Lost).await;
                    return;
                }
            }
        }
    }

    /// Reads from `position` on, and moves it with each page. Returns the last step.
    async fn attempt(
        &self,
        position: &mut Position,
        filter: &Filter,
        steps: &mpsc::Sender<Step>,
        count: &mut usize,
    ) -> Result<Step> {
        let waiting = self.idle().pop();
        let mut replayer = match waiting.filter(Replayer::is_usable) {
            Some(replayer) => replayer,
            None => Replayer::connect(&self.config).await?,
        };
        let Some(mut replay) = replayer.begin(position, &self.progress) else {
            self.idle().push(replayer);
            return Ok(Step::Lost);
        };
        let last = loop {
            let page = replayer.next(&mut replay).await?;
            *count += page.events.len();
            if page.is_gap || *count > self.limit {
                break Step::Lost;
            }
            *position = replay.position();
            let matching = page
                .events
                .into_iter()
                .filter(|event| filter.matches(event));
            let matching: Vec<Event> = matching.collect();
            if !matching.is_empty() && steps.send(Step::Events(matching)).await.is_err() {
                break Step::Lost;
            }
            if page.is_last {
                break Step::End(replay.seam()?);
            }
        };
        self.idle().push(replayer);
        Ok(last)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Replayer>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
