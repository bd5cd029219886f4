//! Events that a cache reports to an observer.

use std::fmt;
use std::time::Duration;

use crate::event::Event;

/// Receives the events of a cache. It is called on the thread of the reader or driver that causes the event, without a
/// lock held, and should return quickly. A panic in it is caught and logged.
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use pgherald_core::{CacheEvent, CacheObserver};
///
/// #[derive(Default)]
/// struct Flushes(AtomicU64);
///
/// impl CacheObserver for Flushes {
///     fn observe(&self, event: &CacheEvent<'_>) {
///         if let CacheEvent::Flushed(_) = event {
///             self.0.fetch_add(1, Ordering::Relaxed);
///         }
///     }
/// }
/// ```
pub trait CacheObserver: Send + Sync + 'static {
    /// Called after each event.
    fn observe(&self, event: &CacheEvent<'_>);
}

/// An event in a cache.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum CacheEvent<'a> {
    /// A valid value was served from memory.
    Hit,
    /// A read found no value to serve.
    Miss,
    /// A read got the kept error of an earlier load.
    ServedError,
    /// A read joined a load that another caller had begun.
    Joined,
    /// A load returned a value.
    Loaded {
        /// The duration of the load.
        elapsed: Duration,
        /// Whether the value was stored. It is not if it was invalidated during the load.
        stored: bool,
    },
    /// A load ended with an error.
    LoadFailed {
        /// The duration of the load.
        elapsed: Duration,
    },
    /// A load ended without a result: its caller dropped it, or it panicked.
    LoadAbandoned {
        /// Whether it panicked.
        panicked: bool,
    },
    /// A value was evicted to make room.
    Evicted,
    /// A read bypassed the cache.
    Bypassed(BypassReason),
    /// A value was served that may be outdated.
    ServedStale(StaleReason),
    /// Keys were invalidated.
    Invalidated {
        /// The cause.
        cause: InvalidationCause,
        /// The number of values and loads that were invalidated.
        keys: u64,
    },
    /// Everything was invalidated: reads that begin from now on reload.
    Flushed(FlushCause),
    /// An event took effect: reads that begin from now on do not see values from before it.
    Applied(&'a Event),
    /// The strategy holds the event.
    Held(&'a Event),
    /// The strategy applied its held events: they have taken effect.
    Released {
        /// The number of events.
        events: u64,
    },
}

macro_rules! reasons {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $label:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            #[allow(dead_code, reason = "not every kind of reason is counted in a table")]
            pub(super) const COUNT: usize = [$($label),*].len();

            /// Returns the label for logs and metrics.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self {
                    $(Self::$variant => $label,)*
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.label())
            }
        }
    };
}

reasons! {
    /// Why a read bypassed the cache.
    BypassReason {
        /// The source is not live, or the cache has not been resynced yet.
        NotLive = "not_live",
        /// No driver applies events to the cache: it was not started, or was stopped.
        NotDriven = "not_driven",
        /// The key is not equal to itself, or no event can name it: see [`row_of`](crate::CacheBuilder::row_of).
        UnmatchedKey = "unmatched_key",
    }
}

reasons! {
    /// Why a value was served that may be outdated.
    StaleReason {
        /// The source is not live, and the cache may serve stale values in that state.
        NotLive = "not_live",
        /// The value was invalidated, and is being reloaded.
        Revalidating = "revalidating",
    }
}

reasons! {
    /// Why keys were invalidated.
    InvalidationCause {
        /// An event concerned a row that the keys depend on.
        Event = "event",
        /// The program called `invalidate`.
        ByHand = "by_hand",
    }
}

reasons! {
    /// Why everything was invalidated.
    FlushCause {
        /// An event concerned a whole table.
        Event = "event",
        /// The strategy requested it.
        Strategy = "strategy",
        /// Events may be missing.
        Resync = "resync",
        /// The row key of an event does not fit the cache's dependencies.
        Mismatch = "mismatch",
        /// User code panicked while events were applied.
        Panic = "panic",
        /// The program requested it.
        ByHand = "by_hand",
    }
}
