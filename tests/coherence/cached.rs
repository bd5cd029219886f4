//! pgherald's cache, as a subject of checks.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pgherald::cache::CacheKey;
use pgherald::{CacheBuilder, CacheHandle};
use pgherald_testkit::coherence::{
    CoherenceContext, Confirmation, LoadFailure, Loader, ReadFailure, Reading, Row, Subject,
};
use tokio_postgres::Transaction;

/// How long to wait for a write.
const PATIENCE: Duration = Duration::from_secs(1);

/// A cache under test. Its keys consist of a row's key and a random number.
pub(crate) struct Cached<K: CacheKey> {
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
    pub(crate) async fn start(
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

    pub(crate) fn confirming(self) -> Self {
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

pub(crate) fn by_row() -> CacheBuilder<i64, i64> {
    CacheBuilder::new("by_row").row_of::<Row>()
}
