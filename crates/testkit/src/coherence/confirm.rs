//! Reads by writers of their own confirmed writes, concurrent with further writes (R6).

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_postgres::Transaction;

use super::loader::Loader;
use super::number_of;
use super::reader::read_once;
use super::report::Rule;
use super::run::Run;
use super::subject::{Confirmation, Subject};

/// The number of confirmations that may be pending for each writer. Beyond it, a writer requests none, so that it does not
/// stop while the source is not live.
const MAX_PENDING: u32 = 16;

#[derive(Clone)]
pub(super) struct Confirming<S> {
    run: Arc<Run>,
    subject: S,
    loader: Loader,
    permits: Arc<Semaphore>,
}

pub(super) struct Announced(Confirmation, OwnedSemaphorePermit);

impl<S: Subject> Confirming<S> {
    pub(super) fn new(run: &Arc<Run>, subject: &S, loader: &Loader) -> Self {
        Self {
            run: Arc::clone(run),
            subject: subject.clone(),
            loader: loader.clone(),
            permits: Arc::new(Semaphore::new(MAX_PENDING as usize)),
        }
    }

    /// Requests a confirmation, before the commit.
    pub(super) async fn announce(&self, transaction: &Transaction<'_>) -> Option<Announced> {
        let permit = Arc::clone(&self.permits).try_acquire_owned().ok()?;
        let confirmation = self.subject.announce(transaction).await?;
        Some(Announced(confirmation, permit))
    }

    /// Waits for the confirmation in a task, after the commit, and then reads the written rows.
    pub(super) fn confirm(&self, announced: Announced, written: Vec<(i64, i64)>) {
        let this = self.clone();
        actix::spawn(async move {
            let Announced(confirmation, permit) = announced;
            this.read(confirmation, written).await;
            drop(permit);
        });
    }

    async fn read(&self, confirmation: Confirmation, written: Vec<(i64, i64)>) {
        let Self {
            run,
            subject,
            loader,
            ..
        } = self;
        let limit = run.settings.deadline;
        match timeout(limit, confirmation.0).await {
            Ok(true) => run.tally.confirmed_writes.add(1),
            Ok(false) => return,
            Err(_) => {
                let text = || format!("a confirmation did not end within {limit:?}");
                return run.tally.violation(Rule::Deadline, text);
            }
        }
        for (key, version) in written {
            if let Some(read) = read_once(run, subject, key, loader).await
                && read < version
            {
                run.tally.violation(Rule::OwnWrite, || {
                    let (read, version) = (number_of(read), number_of(version));
                    format!("key {key}: read version {read} after {version} was confirmed")
                });
            }
        }
    }

    /// Waits until no confirmation is pending.
    pub(super) async fn finished(&self) {
        // Fails only if the semaphore is closed, which does not happen.
        let _ = self.permits.acquire_many(MAX_PENDING).await;
    }
}
