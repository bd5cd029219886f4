//! The session that reads groups and outbox, and runs the operations on groups.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use pgherald_core::__private::host::group::{Node, nodes};
use pgherald_core::__private::host::trigger::{Actual, Watched, inspect_all};
use pgherald_core::group::{Group, GroupStatus};
use pgherald_core::outbox::{self, OutboxStatus};
use pgherald_core::tokio_postgres::Client;
use pgherald_core::trigger::Drift;
use pgherald_core::{ConnectConfig, Error, Result};
use tokio::sync::watch;
use tokio::time::timeout;

/// How old a snapshot may be before it is read again.
const FRESH: Duration = Duration::from_secs(2);
/// How long a page waits for a new snapshot before it gets the last one.
const PATIENCE: Duration = Duration::from_millis(500);
/// The limit for all statements of a snapshot, and for an operation.
pub(super) const LIMIT: Duration = Duration::from_secs(15);
/// After this time without use, the session is closed.
const UNUSED: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Database {
    config: ConnectConfig,
    session: tokio::sync::Mutex<Option<Arc<Client>>>,
    latest: watch::Sender<Arc<Snapshot>>,
    /// Held while a snapshot is read.
    reading: Arc<tokio::sync::Mutex<()>>,
    used: Mutex<Instant>,
}

/// What the database says, at one time.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    /// When it was read successfully. `None` if that never happened.
    pub(super) read: Option<(Instant, SystemTime)>,
    /// When it was last attempted.
    pub(super) tried: Option<Instant>,
    /// Why the last attempt failed.
    pub(super) error: Option<Error>,
    pub(super) content: Content,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    /// `None` without an outbox.
    pub(super) outbox: Option<OutboxStatus>,
    pub(super) groups: Vec<GroupStatus>,
    pub(super) nodes: Vec<Node>,
    /// Groups whose requirements are not met.
    pub(super) unmet: Vec<(String, Drift)>,
    /// Installed triggers that differ from their specification.
    pub(super) drifts: Vec<Drift>,
}

impl Database {
    pub(super) fn new(config: ConnectConfig) -> Self {
        Self {
            config,
            session: tokio::sync::Mutex::default(),
            latest: watch::Sender::default(),
            reading: Arc::default(),
            used: Mutex::new(Instant::now()),
        }
    }

    /// Returns the session, which is opened if there is none.
    pub(super) async fn client(&self) -> Result<Arc<Client>> {
        *self.used() = Instant::now();
        let mut session = self.session.lock().await;
        if let Some(client) = session.as_ref().filter(|client| !client.is_closed()) {
            return Ok(Arc::clone(client));
        }
        let client = self.config.client().await?;
        // Without the limit, the server would continue a statement whose request has timed out.
        let limit = format!("SET statement_timeout = {}", LIMIT.as_millis());
        let set = client.batch_execute(&limit).await;
        set.map_err(|cause| Error::disconnected("cannot set up the session", cause))?;
        Ok(Arc::clone(session.insert(Arc::new(client))))
    }

    /// Returns the latest snapshot. If it is old, one that is read now, or the old one if that takes long.
    pub(super) async fn snapshot(self: Arc<Self>) -> Arc<Snapshot> {
        *self.used() = Instant::now();
        let mut latest = self.latest.subscribe();
        let snapshot = Arc::clone(&latest.borrow_and_update());
        let is_fresh = |tried: Instant| tried.elapsed() < FRESH;
        if snapshot.tried.is_some_and(is_fresh) {
            return snapshot;
        }
        // One task reads for all pages, and goes on if its page has gone.
        if let Ok(reading) = Arc::clone(&self.reading).try_lock_owned() {
            tokio::spawn(async move {
                let snapshot = self.read().await;
                self.latest.send_replace(Arc::new(snapshot));
                drop(reading);
            });
        }
        let _ = timeout(PATIENCE, latest.changed()).await;
        Arc::clone(&latest.borrow())
    }

    async fn read(&self) -> Snapshot {
        let before = Arc::clone(&self.latest.borrow());
        let tried = Some(Instant::now());
        let read = timeout(LIMIT, async { read(&*self.client().await?).await }).await;
        let error = match read {
            Ok(Ok((content, error))) => {
                return Snapshot {
                    read: Some((Instant::now(), SystemTime::now())),
                    tried,
                    error,
                    content,
                };
            }
            Ok(Err(error)) => error,
            Err(_) => {
                self.forget_session();
                late()
            }
        };
        Snapshot {
            read: before.read,
            tried,
            error: Some(error),
            content: before.content.clone(),
        }
    }

    /// Makes the next page read anew, after a change.
    pub(super) fn expire(&self) {
        self.latest.send_modify(|latest| {
            *latest = Arc::new(Snapshot {
                read: latest.read,
                tried: None,
                error: latest.error.clone(),
                content: latest.content.clone(),
            });
        });
    }

    /// Drops a session that does not answer.
    pub(super) fn forget_session(&self) {
        // If the session is being opened or handed out, that one is new.
        if let Ok(mut session) = self.session.try_lock() {
            *session = None;
        }
    }

    pub(super) fn close_if_unused(&self) {
        if self.used().elapsed() > UNUSED {
            self.forget_session();
        }
    }

    fn used(&self) -> MutexGuard<'_, Instant> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The error for a server that does not answer.
pub(super) fn late() -> Error {
    let cause = std::io::Error::new(
        std::io::ErrorKind::TimedOut,
        format!("no answer within {LIMIT:?}"),
    );
    Error::disconnected("the database does not answer", cause)
}

/// Reads everything. An outbox that cannot be read is an error beside the content: triggers are shown even to a role without rights
/// on the outbox.
async fn read(client: &Client) -> Result<(Content, Option<Error>)> {
    let actual = inspect_all(client, &[]).await?;
    let mut content = Content {
        unmet: actual
            .unmet()
            .map(|(requirement, drift)| (requirement.group.clone(), drift))
            .collect(),
        drifts: drifts(&actual),
        ..Content::default()
    };
    if !actual.has_outbox() {
        return Ok((content, None));
    }
    match read_outbox(client, &mut content).await {
        Ok(()) => Ok((content, None)),
        Err(error) if error.is_connection() => Err(error),
        Err(error) => Ok((content, Some(error))),
    }
}

async fn read_outbox(client: &Client, content: &mut Content) -> Result<()> {
    content.outbox = Some(outbox::status(client).await?);
    content.groups = Group::all(client).await?;
    content.nodes = nodes(client).await?;
    Ok(())
}

fn drifts(actual: &Actual) -> Vec<Drift> {
    let watched = actual.watched();
    let specs = watched.iter().filter_map(Watched::current);
    specs.flat_map(|spec| actual.verify(&spec)).collect()
}
