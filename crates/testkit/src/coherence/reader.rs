//! Readers, which read as fast as the subject answers.

use std::sync::Arc;
use std::time::Duration;

use actix::Arbiter;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::judge::Attempt;
use super::loader::Loader;
use super::report::Rule;
use super::run::Run;
use super::subject::Subject;
use crate::Error;

/// The number of reads before a reader yields to other tasks.
const READS_PER_YIELD: u32 = 16;

/// All readers of a check, on its thread and on others.
pub(super) struct Readers {
    arbiters: Vec<Arbiter>,
    ends: Vec<oneshot::Receiver<()>>,
}

impl Readers {
    pub(super) fn start<S: Subject>(run: &Arc<Run>, subject: &S, loader: &Loader) -> Self {
        let arbiters: Vec<Arbiter> = (0..run.settings.threads).map(|_| Arbiter::new()).collect();
        let mut ends = Vec::new();
        for number in 0..run.settings.readers {
            let (ended, end) = oneshot::channel::<()>();
            let guard = Guard {
                run: Arc::clone(run),
                _ended: ended,
            };
            let reader = Reader {
                random: run.random(1_000 + number as u64),
                run: Arc::clone(run),
                subject: subject.clone(),
                loader: loader.clone(),
            };
            let reading = async move {
                reader.read_on().await;
                drop(guard);
            };
            // Place 0 is the thread of the check.
            match number % (arbiters.len() + 1) {
                0 => drop(actix::spawn(reading)),
                place => drop(arbiters[place - 1].spawn(reading)),
            }
            ends.push(end);
        }
        Self { arbiters, ends }
    }

    /// Waits until all readers have ended.
    pub(super) async fn finished(&mut self) {
        for end in self.ends.drain(..) {
            // Nothing is sent: the reader drops the sender when it ends.
            let _ = end.await;
        }
    }

    pub(super) async fn stop(self) -> Result<(), Error> {
        for arbiter in self.arbiters {
            arbiter.stop();
            tokio::task::spawn_blocking(|| arbiter.join())
                .await
                .ok()
                .and_then(Result::ok)
                .ok_or_else(|| Error::new("a thread of readers panicked"))?;
        }
        Ok(())
    }
}

/// Reports a violation if a reader ends too early, and signals the end of the reader.
struct Guard {
    run: Arc<Run>,
    _ended: oneshot::Sender<()>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.run.is_stopped() {
            let text = || "a reader panicked".to_owned();
            self.run.tally.violation(Rule::Deadline, text);
        }
    }
}

struct Reader<S> {
    run: Arc<Run>,
    subject: S,
    loader: Loader,
    random: fastrand::Rng,
}

impl<S: Subject> Reader<S> {
    async fn read_on(mut self) {
        let mut reads = 0;
        while !self.run.is_stopped() {
            self.read().await;
            reads += 1;
            if reads % READS_PER_YIELD == 0 {
                tokio::task::yield_now().await;
            }
        }
    }

    async fn read(&mut self) {
        let key = self.run.random_key(&mut self.random);
        if self.random.u8(..16) == 0 {
            return self.cancel(key).await;
        }
        read_once(&self.run, &self.subject, key, &self.loader).await;
    }

    /// Reads with a short random time limit, and drops the read if it takes longer.
    async fn cancel(&mut self, key: i64) {
        let limit = Duration::from_micros(self.random.u64(..3_000));
        let attempt = Attempt::begin(&self.run, key);
        let reading = self.subject.read(key, self.loader.clone());
        match timeout(limit, reading).await {
            Ok(Ok(reading)) => attempt.judge(&self.run, reading),
            Ok(Err(_)) => {
                self.run.tally.reads.add(1);
                self.run.tally.failed_reads.add(1);
            }
            Err(_) => self.run.tally.cancelled_reads.add(1),
        }
    }
}

/// Reads a key and checks the answer. Returns the version, or `None` if the read failed.
pub(super) async fn read_once<S: Subject>(
    run: &Run,
    subject: &S,
    key: i64,
    loader: &Loader,
) -> Option<i64> {
    let attempt = Attempt::begin(run, key);
    let limit = run.settings.deadline;
    match timeout(limit, subject.read(key, loader.clone())).await {
        Ok(Ok(reading)) => {
            attempt.judge(run, reading);
            return Some(reading.version);
        }
        Ok(Err(failure)) => {
            tracing::trace!(key, %failure, "a read failed");
            run.tally.failed_reads.add(1);
            // The database is probably unavailable.
            sleep(Duration::from_millis(1)).await;
        }
        Err(_) => run.tally.violation(Rule::Deadline, || {
            format!("key {key}: a read did not end within {limit:?}")
        }),
    }
    run.tally.reads.add(1);
    None
}
