//! The coherence of pgherald's own cache.
//!
//! `PGHERALD_SEED`, `PGHERALD_FAULTS`, `PGHERALD_READS` and `PGHERALD_SECONDS` repeat and prolong a run.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pgherald::cache::CacheKey;
use pgherald::{CacheBuilder, CacheHandle, Debounced, Strategy, Timed, WhenNotLive, Windowed};
use pgherald_testkit::coherence::{
    CoherenceCheck, CoherenceContext, Confirmation, LoadFailure, Loader, NotLive, ReadFailure,
    Reading, Row, Subject,
};
use tokio_postgres::Transaction;

use crate::support::{assert_coherent, check, prolonged};

/// How long to wait for a write.
const PATIENCE: Duration = Duration::from_secs(1);

/// A cache under test. Its keys consist of a row's key and a random number.
struct Cached<K: CacheKey> {
    cache: CacheHandle<K, i64>,
    key: fn(i64, u8) -> K,
    confirms: bool,
}

impl<K: CacheKey> Clone for Cached<K> {
    fn clone(&self) -> Self {
        Self {
            cache: self.cache.clone(),
            ..*self
        }
    }
}

impl<K: CacheKey> Cached<K> {
    async fn start(
        context: CoherenceContext,
        builder: CacheBuilder<K, i64>,
        key: fn(i64, u8) -> K,
    ) -> pgherald::Result<Self> {
        let builder = builder
            .subscription(context.subscription("real"))
            .observer(Arc::new(context.reporter()));
        Ok(Self {
            cache: context.herald().start_cache(builder).await?,
            key,
            confirms: false,
        })
    }

    fn confirming(self) -> Self {
        Self {
            confirms: true,
            ..self
        }
    }

    /// Reads by `get_or_load`. A value that is ready at the first poll without a load was cached. A value that another read is
    /// loading takes longer.
    async fn get_or_load(&self, row: i64, key: K, loader: Loader) -> Result<Reading, ReadFailure> {
        let loaded = Arc::new(AtomicBool::new(false));
        let loads = Arc::clone(&loaded);
        let reading = self.cache.get_or_load(key, move || async move {
            loads.store(true, Ordering::Relaxed);
            loader.load(row).await
        });
        let (version, at_once) = counting_polls(reading).await;
        let version = version.map_err(|error| ReadFailure::new(error.to_string()))?;
        Ok(Reading {
            version: *version,
            from_memory: at_once && !loaded.load(Ordering::Relaxed),
        })
    }

    /// Reads by `get_many_or_load`, together with another key of the same row.
    async fn get_many_or_load(
        &self,
        row: i64,
        keys: [K; 2],
        loader: Loader,
    ) -> Result<Reading, ReadFailure> {
        let loaded = Arc::new(AtomicBool::new(false));
        let loads = Arc::clone(&loaded);
        // Retry if the load of another reader, which was joined, has failed.
        let load = move |missing: Vec<K>| {
            loads.store(true, Ordering::Relaxed);
            let loader = loader.clone();
            async move {
                let version = loader.load(row).await?;
                Ok::<_, LoadFailure>(missing.into_iter().map(move |key| (key, version)))
            }
        };
        let requested = keys[0].clone();
        let reading = self.cache.get_many_or_load(keys, load);
        let (versions, at_once) = counting_polls(reading).await;
        let versions = versions.map_err(|error| ReadFailure::new(error.to_string()))?;
        let missing = || ReadFailure::new("the loaded value is missing");
        Ok(Reading {
            version: **versions.get(&requested).ok_or_else(missing)?,
            from_memory: at_once && !loaded.load(Ordering::Relaxed),
        })
    }

    /// Reads without a loader: a missing value is loaded and inserted, unless it was invalidated meanwhile.
    async fn get_or_insert(
        &self,
        row: i64,
        key: K,
        loader: Loader,
    ) -> Result<Reading, ReadFailure> {
        if let Some(version) = self.cache.get(&key) {
            return Ok(Reading {
                version: *version,
                from_memory: true,
            });
        }
        let stamp = self.cache.stamp();
        let version = loader.load(row).await?;
        self.cache.insert(&stamp, key, version);
        Ok(Reading {
            version,
            from_memory: false,
        })
    }
}

/// The outcome of a future, and whether it was ready at the first poll.
async fn counting_polls<T>(future: impl Future<Output = T>) -> (T, bool) {
    let mut future = pin!(future);
    let mut polls = 0;
    let outcome = poll_fn(|cx| {
        polls += 1;
        future.as_mut().poll(cx)
    });
    let outcome = outcome.await;
    (outcome, polls == 1)
}

impl<K: CacheKey> Subject for Cached<K> {
    async fn read(&self, row: i64, loader: Loader) -> Result<Reading, ReadFailure> {
        let key = (self.key)(row, fastrand::u8(..4));
        match fastrand::u8(..8) {
            0 => self.get_or_insert(row, key, loader).await,
            1 => {
                let other = (self.key)(row, fastrand::u8(..4));
                self.get_many_or_load(row, [key, other], loader).await
            }
            2 if fastrand::u8(..32) == 0 => {
                self.cache.invalidate(&key);
                self.get_or_load(row, key, loader).await
            }
            _ => self.get_or_load(row, key, loader).await,
        }
    }

    async fn announce(&self, transaction: &Transaction<'_>) -> Option<Confirmation> {
        if !self.confirms {
            return None;
        }
        let token = self.cache.write_token();
        token.announce(transaction).await.ok()?;
        Some(Confirmation::new(async move {
            token.applied(PATIENCE).await.is_ok()
        }))
    }
}

fn by_row() -> CacheBuilder<i64, i64> {
    CacheBuilder::new("by_row").row_of::<Row>()
}

/// Runs checks until one in which the cache's queue overflowed. Each of them must be coherent. A check may end without an
/// overflow, because other faults may end the connection before a flood arrives.
async fn assert_coherent_with_losses(check: impl Fn() -> CoherenceCheck) {
    for _ in 0..5 {
        let report = prolonged(check().handlers())
            .run(async |context| Cached::start(context, by_row(), |row, _| row).await)
            .await
            .unwrap();
        assert_coherent(&report);
        assert!(report.hits > 0 && report.handler_reads > 0, "{report}");
        if report.lost > 0 {
            return;
        }
    }
    panic!("no queue overflowed");
}

#[actix::test]
async fn a_cache_by_row_is_coherent() {
    assert_coherent_with_losses(|| check().reopening().handlers()).await;
}

#[actix::test]
async fn a_cache_in_outbox_mode_is_coherent() {
    assert_coherent_with_losses(|| check().outbox().handlers()).await;
}

#[actix::test]
async fn a_cache_that_evicts_is_coherent() {
    let builder = by_row().capacity(16);
    let report = prolonged(check().handlers())
        .reopening()
        .run(async |context| Cached::start(context, builder, |row, _| row).await)
        .await
        .unwrap();
    assert_coherent(&report);
    assert!(report.hits > 0 && report.handler_reads > 0, "{report}");
}

#[actix::test]
async fn a_cache_that_serves_stale_values_is_coherent() {
    let max_age = Duration::from_millis(100);
    let builder = by_row().when_not_live(WhenNotLive::ServeStale { max_age });
    let report = prolonged(check().handlers())
        .when_not_live(NotLive::ServeStale { max_age })
        .run(async |context| Cached::start(context, builder, |row, _| row).await)
        .await
        .unwrap();
    assert_coherent(&report);
    assert!(report.hits > 0 && report.handler_reads > 0, "{report}");
}

#[actix::test]
async fn a_cache_whose_keys_depend_on_rows_is_coherent() {
    let builder = CacheBuilder::new("by_projection").row_by::<Row>(|key: &(i64, u8)| key.0);
    let report = prolonged(check().handlers())
        .reopening()
        .run(async |context| Cached::start(context, builder, |row, copy| (row, copy)).await)
        .await
        .unwrap();
    assert_coherent(&report);
    assert!(report.hits > 0 && report.handler_reads > 0, "{report}");
}

#[actix::test]
async fn a_reader_that_waits_for_its_write_token_reads_the_write() {
    let report = prolonged(check().handlers())
        .reopening()
        .run(async |context| {
            let cached = Cached::start(context, by_row(), |row, _| row).await?;
            Ok::<_, pgherald::Error>(cached.confirming())
        })
        .await
        .unwrap();
    assert_coherent(&report);
    assert!(report.confirmed_writes > 0, "{report}");
}

async fn assert_coherent_with(strategy: impl Strategy) {
    let builder = by_row().strategy(strategy);
    let report = prolonged(check().outbox().handlers())
        .run(async |context| Cached::start(context, builder, |row, _| row).await)
        .await
        .unwrap();
    assert_coherent(&report);
    assert!(report.hits > 0 && report.handler_reads > 0, "{report}");
}

#[actix::test]
async fn a_cache_whose_strategy_holds_events_is_coherent() {
    let period = Duration::from_millis(20);
    assert_coherent_with(Windowed::period(period).unwrap()).await;
    assert_coherent_with(Debounced::new(period, period * 3).unwrap()).await;
    assert_coherent_with(Timed::at_most_every(period).unwrap()).await;
    assert_coherent_with(Timed::every(period).unwrap()).await;
}
