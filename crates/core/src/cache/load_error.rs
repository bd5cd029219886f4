//! The error of a read that loads.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Why a read returned no value.
#[derive(Debug)]
#[non_exhaustive]
pub enum LoadError<E> {
    /// The loader's error. All callers that waited for the load share it.
    Failed(Arc<E>),
    /// The loader asked, directly or through other loads, for the key that it is loading. Waiting for it would never
    /// end.
    Recursive,
    /// The load took longer than the cache's [`load_timeout`](crate::CacheBuilder::load_timeout), which it contains.
    TimedOut(Duration),
    /// The runtime that ran a [detached](crate::CacheHandle::get_or_load_detached) load was shut down before the load ended.
    Cancelled,
}

impl<E> LoadError<E> {
    /// Returns the loader's error, if there is one.
    #[must_use]
    pub fn failure(&self) -> Option<&E> {
        match self {
            Self::Failed(error) => Some(error),
            Self::Recursive | Self::TimedOut(_) | Self::Cancelled => None,
        }
    }
}

impl<E> Clone for LoadError<E> {
    fn clone(&self) -> Self {
        match self {
            Self::Failed(error) => Self::Failed(Arc::clone(error)),
            Self::Recursive => Self::Recursive,
            Self::TimedOut(limit) => Self::TimedOut(*limit),
            Self::Cancelled => Self::Cancelled,
        }
    }
}

/// A loader's error is displayed as it displays itself.
impl<E: fmt::Display> fmt::Display for LoadError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => error.fmt(f),
            Self::Recursive => f.write_str(
                "a cache loader asked for the key it is loading; let it read the database instead",
            ),
            Self::TimedOut(limit) => write!(
                f,
                "loading into the cache took longer than {limit:?}, the cache's load_timeout"
            ),
            Self::Cancelled => f.write_str(
                "loading into the cache was cancelled: the runtime that ran the load was shut down",
            ),
        }
    }
}

impl<E: StdError + 'static> StdError for LoadError<E> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.failure().and_then(StdError::source)
    }
}
