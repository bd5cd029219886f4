//! A loader's value with options.

use std::sync::Arc;
use std::time::Duration;

/// A loaded value with options of its own, for [`get_or_load_with`](crate::CacheHandle::get_or_load_with) and
/// [`insert_with`](crate::CacheHandle::insert_with).
///
/// ```
/// use std::time::Duration;
/// use pgherald_core::Loaded;
///
/// fn of(rates: Vec<f64>, market_is_open: bool) -> Loaded<Vec<f64>> {
///     match (rates.is_empty(), market_is_open) {
///         (true, _) => Loaded::new(rates).unstored(),
///         (false, true) => Loaded::new(rates).ttl(Duration::from_secs(1)),
///         (false, false) => Loaded::new(rates),
///     }
/// }
/// ```
#[derive(Debug)]
#[must_use = "a loader is to return it"]
pub struct Loaded<V> {
    pub(super) value: Arc<V>,
    pub(super) ttl: Option<Duration>,
    pub(super) stored: bool,
}

impl<V> Loaded<V> {
    /// Returns a value that is stored with the cache's time to live.
    pub fn new(value: V) -> Self {
        Self::shared(Arc::new(value))
    }

    /// As [`new`](Self::new), for a value in an [`Arc`].
    pub fn shared(value: Arc<V>) -> Self {
        Self {
            value,
            ttl: None,
            stored: true,
        }
    }

    /// Sets the time to live of this value, from the beginning of its load, instead of the cache's. It is not shortened
    /// at random. A value with a time to live of 0 is not stored.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Does not store the value: only the callers that wait for this load get it.
    pub fn unstored(mut self) -> Self {
        self.stored = false;
        self
    }
}

impl<V> From<Arc<V>> for Loaded<V> {
    fn from(value: Arc<V>) -> Self {
        Self::shared(value)
    }
}
