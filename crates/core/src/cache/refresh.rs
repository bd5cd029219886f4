//! Reloads of invalidated values in the background.

use std::error::Error as StdError;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::mpsc;

use super::inner::Inner;
use super::key::CacheKey;
use super::lead::Lead;
use super::store::{Accept, Begin};
use crate::panic::message;

/// How many requests may be queued. Beyond it, the next reader requests the reload again.
pub(super) const MAX_REQUESTS: usize = 1_024;
/// How many loads run at once, besides the limit of the cache's [`LoadLimit`](crate::LoadLimit).
const CONCURRENT: usize = 8;

type LoadFailure = Box<dyn StdError + Send + Sync>;
type Loading<V> = Pin<Box<dyn Future<Output = Result<V, LoadFailure>> + Send>>;
pub(super) type Load<K, V> = Box<dyn Fn(K) -> Loading<V> + Send + Sync>;

/// Serves invalidated values for a limited time while they are reloaded in the background.
///
/// This weakens the guarantees of a cache on purpose: for up to `max_stale` after an invalidation, reads may see the
/// old value.
///
/// ```
/// use std::time::Duration;
/// use pgherald_core::{CacheBuilder, Refresh};
/// # async fn load(id: i64) -> Result<String, std::io::Error> { Ok(id.to_string()) }
///
/// let refresh = Refresh::new(Duration::from_secs(2), |id| async move { Ok(load(id).await?) }).eager();
/// let users = CacheBuilder::<i64, String>::new("users").refresh(refresh);
/// ```
#[must_use = "a cache is to be built with it"]
pub struct Refresh<K, V> {
    pub(super) max_stale: Duration,
    pub(super) eager: bool,
    pub(super) load: Load<K, V>,
}

impl<K, V> Refresh<K, V> {
    /// Serves an invalidated value for up to `max_stale`. The first read in this time requests a reload by `load`.
    ///
    /// An error or panic of `load` is counted and logged, and the next read tries again. Few loads run at a time, so
    /// set [`load_timeout`](crate::CacheBuilder::load_timeout), which ends a load that hangs, with an error.
    pub fn new<L, F>(max_stale: Duration, load: L) -> Self
    where
        L: Fn(K) -> F + Send + Sync + 'static,
        F: Future<Output = Result<V, Box<dyn StdError + Send + Sync>>> + Send + 'static,
    {
        Self {
            max_stale,
            eager: false,
            load: Box::new(move |key| Box::pin(load(key))),
        }
    }

    /// Reloads a value as soon as an event has invalidated it, without waiting for a read. After a flush of everything,
    /// a value is reloaded only when it is read.
    pub fn eager(mut self) -> Self {
        self.eager = true;
        self
    }
}

impl<K, V> fmt::Debug for Refresh<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refresh")
            .field("max_stale", &self.max_stale)
            .field("eager", &self.eager)
            .finish_non_exhaustive()
    }
}

/// Runs the requested loads.
pub(super) struct Refresher<K: CacheKey, V> {
    pub(super) inner: Arc<Inner<K, V>>,
    pub(super) requests: mpsc::Receiver<K>,
    pub(super) load: Load<K, V>,
}

impl<K: CacheKey, V: Send + Sync + 'static> Refresher<K, V> {
    /// Runs until it is dropped.
    pub(super) async fn run(mut self) {
        let mut running = FuturesUnordered::new();
        loop {
            tokio::select! {
                request = self.requests.recv(), if running.len() < CONCURRENT => match request {
                    Some(key) => running.push(refresh(&self.inner, &self.load, key)),
                    None => return,
                },
                Some(()) = running.next(), if !running.is_empty() => {}
            }
        }
    }
}

async fn refresh<K: CacheKey, V: Send + Sync + 'static>(
    inner: &Arc<Inner<K, V>>,
    load: &Load<K, V>,
    key: K,
) {
    // A lead that is dropped on the way ends its flight.
    let refreshing = AssertUnwindSafe(refresh_one(inner, load, &key)).catch_unwind();
    let error = match refreshing.await {
        Ok(None) => return,
        Ok(Some(error)) => error,
        Err(panic) => {
            // If there was no flight yet, no other code resets this. The panic may come from the key's code.
            let _ = crate::panic::contained(|| inner.store.not_revalidating(&key));
            format!("panicked: {}", message(panic))
        }
    };
    tracing::warn!(
        cache = inner.name,
        error,
        "loading anew in the background failed"
    );
}

/// Returns the error, if the reload failed.
async fn refresh_one<K: CacheKey, V: Send + Sync + 'static>(
    inner: &Arc<Inner<K, V>>,
    load: &Load<K, V>,
    key: &K,
) -> Option<String> {
    if !inner.gate.is_open() {
        inner.store.not_revalidating(key);
        return None;
    }
    // Cloned before there is a flight: a panic must not leave one without a lead.
    let (of_lead, of_load) = (key.clone(), key.clone());
    // If another caller's load is in progress, it suffices.
    let Begin::Lead(flight) = inner.store.begin(key, inner.tags(key), Accept::Valid) else {
        return None;
    };
    let lead = Lead::new(Arc::clone(inner), of_lead, flight);
    let (flights, began) = (vec![lead.flight.id()], lead.flight.began());
    let loaded = inner
        .run(flights, began, async || load(of_load).await.map(Arc::new))
        .await;
    let error = inner.land(lead, loaded).err()?;
    let cause = error.failure().map(ToString::to_string);
    Some(cause.unwrap_or_else(|| error.to_string()))
}
