//! A small cache with epochs and shared loads, into which the typical flaws of caches can be built.

mod applier;
mod state;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use actix::Actor;
use pgherald::{Health, Subscribe};
use pgherald_testkit::coherence::{
    CoherenceContext, Confirmation, Loader, ReadFailure, Reading, Subject,
};
use tokio::sync::watch;
use tokio_postgres::Transaction;

use applier::Applier;
use state::{Epoch, Found, State};

/// How long to wait for a write.
const PATIENCE: Duration = Duration::from_secs(1);

/// The flaw of a [`Naive`] cache.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Flaw {
    None,
    /// A load stores its value although the key was invalidated while it ran.
    StoresOldLoads,
    /// A read joins a load that began before the key was invalidated.
    JoinsOlderLoads,
    /// Serves values while the source is not live.
    AnswersBlindly,
    /// Joins loads of any age while the source is not live.
    JoinsBlindly,
    /// Keeps its values after its queue has lost events.
    IgnoresOverflow,
    /// Like `IgnoresOverflow`, but reports a flush.
    OnlyClaimsToFlush,
    /// Waiters of a load that fails or is cancelled wait for ever.
    AbandonsWaiters,
    /// Serves the values of other keys.
    MixesUpKeys,
    /// Confirms a write before it has applied it.
    ConfirmsAtOnce,
    /// Follows the health, which is ahead of its mailbox, and reacts to it late.
    HearsLate,
    /// Panics.
    Panics,
}

/// Even without a flaw, it serves values for a moment after an outage before it has received the resync, because health signals
/// are ahead of its mailbox. See [`Flaw::HearsLate`].
#[derive(Clone)]
pub(crate) struct Naive {
    state: Arc<Mutex<State>>,
    health: watch::Receiver<Health>,
    /// The number of applied signals, for those that wait for one.
    applied: watch::Sender<u64>,
    max_age: Duration,
    flaw: Flaw,
}

impl Naive {
    pub(crate) async fn start(context: &CoherenceContext, flaw: Flaw) -> pgherald::Result<Self> {
        Self::serving_stale(context, Duration::ZERO, flaw).await
    }

    /// A cache that serves values without a source for at most `max_age`.
    pub(crate) async fn serving_stale(
        context: &CoherenceContext,
        max_age: Duration,
        flaw: Flaw,
    ) -> pgherald::Result<Self> {
        let naive = Self {
            state: Arc::default(),
            health: context.health(),
            applied: watch::Sender::new(0),
            max_age,
            flaw,
        };
        let applier = Applier::new(naive.clone(), context.reporter());
        let subscribe = Subscribe::to("naive", context.filter(), applier.start().recipient())
            .options(context.subscription("naive"));
        context.herald().subscribe(subscribe).await?;
        Ok(naive)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn may_answer(&self) -> bool {
        self.flaw == Flaw::AnswersBlindly
            || match &*self.health.borrow() {
                Health::Live { .. } => true,
                Health::Degraded { since, .. } => SystemTime::now()
                    .duration_since(*since)
                    .is_ok_and(|age| age < self.max_age),
                _ => false,
            }
    }

    async fn load(
        &self,
        key: i64,
        loader: &Loader,
        (id, epoch): (u64, Epoch),
    ) -> Result<i64, ReadFailure> {
        let landing = Landing {
            naive: self,
            key,
            id,
        };
        let row = match self.flaw {
            Flaw::MixesUpKeys if key == 3 => 4,
            _ => key,
        };
        let version = loader.load(row).await?;
        let waiting = {
            let mut state = self.state();
            state.store(key, version, epoch, self.flaw == Flaw::StoresOldLoads);
            state.land(key, id)
        };
        drop(landing);
        for waiting in waiting {
            // The waiter may have gone.
            let _ = waiting.send(version);
        }
        Ok(version)
    }

    /// Waits until this many events of the transaction, or a later flush, were applied.
    async fn applied(self, transaction: u64, rows: i64) -> bool {
        let flushes = self.state().flushes();
        let mut applied = self.applied.subscribe();
        let seen = applied.wait_for(|_| {
            let state = self.state();
            state.seen(transaction) >= rows || state.flushes() > flushes
        });
        tokio::time::timeout(PATIENCE, seen).await.is_ok()
    }
}

/// Removes the flight when dropped, so that waiters load for themselves.
struct Landing<'a> {
    naive: &'a Naive,
    key: i64,
    id: u64,
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        if self.naive.flaw != Flaw::AbandonsWaiters {
            let waiting = self.naive.state().land(self.key, self.id);
            drop(waiting);
        }
    }
}

impl Subject for Naive {
    async fn read(&self, key: i64, loader: Loader) -> Result<Reading, ReadFailure> {
        loop {
            let blind = !self.may_answer();
            if blind && self.flaw != Flaw::JoinsBlindly {
                return Ok(Reading {
                    version: loader.load(key).await?,
                    from_memory: false,
                });
            }
            assert!(self.flaw != Flaw::Panics || key != 3, "on purpose");
            let found = self.state().find(key, self.flaw, blind);
            let (version, from_memory) = match found {
                Found::Value(version) => (version, true),
                Found::Flight(receiver) => match receiver.await {
                    Ok(version) => (version, false),
                    Err(_) => continue,
                },
                Found::Nothing(id, epoch) => (self.load(key, &loader, (id, epoch)).await?, false),
            };
            return Ok(Reading {
                version,
                from_memory,
            });
        }
    }

    async fn announce(&self, transaction: &Transaction<'_>) -> Option<Confirmation> {
        let sql = "SELECT pg_current_xact_id()::text, count(*) FROM public.coherence \
             WHERE xmin = pg_current_xact_id()::xid";
        let row = transaction.query_one(sql, &[]).await.ok()?;
        let id: u64 = row.get::<_, String>(0).parse().ok()?;
        Some(match self.flaw {
            Flaw::ConfirmsAtOnce => Confirmation::new(async { true }),
            _ => Confirmation::new(self.clone().applied(id, row.get(1))),
        })
    }
}
