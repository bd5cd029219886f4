//! Compares every key with the database while the writers are paused (R5).
//!
//! A *sentinel* row shows that all changes have arrived. It is written after all transactions that may still be running.
//! When its event, or a flush after its commit, was applied, all earlier changes were applied too. A source that keeps the order only
//! per key has applied them within its `max_lag`.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::time::{sleep, timeout};
use tokio_postgres::SimpleQueryMessage;

use super::clients::Clients;
use super::loader::Loader;
use super::reader::read_once;
use super::report::Rule;
use super::run::Run;
use super::subject::Subject;
use super::writer::Pause;
use super::{SENTINEL, number_of};
use crate::Error;

/// How long to wait for a sentinel before another one is written: the listener's connection may have been lost unnoticed.
const SENTINEL_LIMIT: Duration = Duration::from_secs(1);

const RAISE: &str = "BEGIN; LOCK TABLE public.coherence IN SHARE ROW EXCLUSIVE MODE; \
     UPDATE public.coherence SET version = version + 1 WHERE key = 0 RETURNING version; COMMIT";

pub(super) struct Comparison<'a, S> {
    pub(super) run: &'a Run,
    pub(super) subject: &'a S,
    pub(super) clients: &'a Arc<Clients>,
    pub(super) loader: &'a Loader,
}

impl<S: Subject> Comparison<'_, S> {
    /// Pauses the writers and compares.
    pub(super) async fn run(&self, pause: &Pause) {
        let paused = pause.write().await;
        self.run_paused().await;
        drop(paused);
    }

    /// Compares, while the caller has paused the writers.
    pub(super) async fn run_paused(&self) {
        let began = Instant::now();
        let limit = self.run.settings.quiet_deadline();
        let mut obstacle = "the source is not live".to_owned();
        while began.elapsed() < limit {
            if self.run.settings.until_violation.is_some() && self.run.is_done() {
                return;
            }
            if !self
                .run
                .liveness
                .live(limit.saturating_sub(began.elapsed()))
                .await
            {
                break;
            }
            let attempt = AssertUnwindSafe(self.attempt()).catch_unwind();
            match timeout(limit, attempt).await {
                Ok(Ok(Ok(()))) => {
                    self.run.tally.comparisons.add(1);
                    return;
                }
                Ok(Ok(Err(error))) => obstacle = error.to_string(),
                Ok(Err(_)) => {
                    let text = || "a read of the comparison panicked".to_owned();
                    self.run.tally.violation(Rule::Deadline, text);
                    return;
                }
                Err(_) => break,
            }
            sleep(Duration::from_millis(5)).await;
        }
        self.run.tally.violation(Rule::Quiet, || {
            format!(
                "the cache could not be compared with the database within {limit:?}: {obstacle}"
            )
        });
    }

    async fn attempt(&self) -> Result<(), Error> {
        let not_live = || Error::new("the source was not live during the comparison");
        let since = self.run.liveness.live_since().ok_or_else(not_live)?;
        self.send_sentinel().await?;
        let expected = self.clients.versions().await?;
        let compared = Instant::now();
        let wrong = loop {
            let mut wrong = Vec::new();
            for &(key, version) in &expected {
                let read = read_once(self.run, self.subject, key, &self.loader.prompt()).await;
                let read = read.ok_or_else(|| Error::new(format!("key {key} cannot be read")))?;
                if read != version {
                    wrong.push((key, version, read));
                }
            }
            if wrong.is_empty() || compared.elapsed() >= self.run.settings.max_lag {
                break wrong;
            }
            sleep(Duration::from_millis(5)).await;
        };
        if self.run.liveness.live_since() != Some(since) {
            return Err(not_live());
        }
        for (key, version, read) in wrong {
            self.run.tally.violation(Rule::Quiet, || {
                let (read, version) = (number_of(read), number_of(version));
                format!("key {key}: read version {read}, the database has {version}")
            });
        }
        Ok(())
    }

    /// Writes the sentinel and waits until it was applied.
    async fn send_sentinel(&self) -> Result<(), Error> {
        let client = self.clients.client().await?;
        let messages = client
            .simple_query(RAISE)
            .await
            .map_err(Error::during("cannot write the sentinel"))?;
        let version = messages.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0)?.parse::<i64>().ok(),
            _ => None,
        });
        let version = version.ok_or_else(|| Error::new("the sentinel row is missing"))?;
        self.run.floors.acknowledge(SENTINEL, version);
        let arrived = async {
            loop {
                let floor = self.run.floors.of(SENTINEL);
                if floor.event.max(floor.flush) >= version {
                    return;
                }
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(SENTINEL_LIMIT, arrived)
            .await
            .map_err(|_| Error::new("the last change, or a flush after it, was not applied"))
    }
}
