//! What a cache tells whoever wants to know as it happens.

use std::fmt;
use std::time::Duration;

use crate::event::Event;

/// Is told what a cache does. Called where it happens, on the thread of a reader or of the driver, with no lock
/// held: it should be quick. A panic in it is caught and logged.
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use pgherald_core::cache::{CacheEvent, CacheObserver};
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
    /// This has just happened.
    fn observe(&self, event: &CacheEvent<'_>);
}

/// Something that happened in a cache.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum CacheEvent<'a> {
    /// A valid value was served from memory.
    Hit,
    /// There was none.
    Miss,
    /// A read was given the error of an earlier load.
    ServedError,
    /// A read waits for a load that somebody else began.
    Joined,
    /// A load brought a value.
    Loaded {
        /// How long it took.
        elapsed: Duration,
        /// Whether the value was stored; it is not if it was invalidated meanwhile.
        stored: bool,
    },
    /// A load ended with an error.
    LoadFailed {
        /// How long it took.
        elapsed: Duration,
    },
    /// A load ended without a result, because its caller went away or it panicked.
    LoadAbandoned {
        /// Whether it panicked.
        panicked: bool,
    },
    /// A value had to go for want of room.
    Evicted,
    /// A read went past the cache.
    Bypassed(BypassReason),
    /// A value was served that is not known to be valid.
    ServedStale(StaleReason),
    /// Keys were invalidated.
    Invalidated {
        /// Why.
        cause: InvalidationCause,
        /// How many values or loads there were for them.
        keys: u64,
    },
    /// Everything was invalidated: reads that begin now load anew.
    Flushed(FlushCause),
    /// The effect of an event is in force: reads that begin now do not see what was before it.
    Applied(&'a Event),
    /// The strategy holds an event back.
    Held(&'a Event),
    /// The strategy applied what it held: the effect of so many events is in force.
    Released {
        /// How many.
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

            /// The word for logs and metrics.
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
    /// Why a read went past the cache.
    BypassReason {
        /// The source is not live, or what was missed is not accounted for yet.
        NotLive = "not_live",
        /// Nobody applies events to the cache: it was not started, or was stopped.
        NotDriven = "not_driven",
        /// The key is not equal to itself, or no event could name it: see [`row_of`](super::CacheBuilder::row_of).
        UnmatchedKey = "unmatched_key",
    }
}

reasons! {
    /// Why a value was served that is not known to be valid.
    StaleReason {
        /// The source is not live, and the cache may serve stale values then.
        NotLive = "not_live",
        /// It was invalidated, and is being loaded anew.
        Revalidating = "revalidating",
    }
}

reasons! {
    /// Why keys were invalidated.
    InvalidationCause {
        /// An event was about a row they depend on.
        Event = "event",
        /// Somebody asked for it.
        ByHand = "by_hand",
    }
}

reasons! {
    /// Why everything was invalidated.
    FlushCause {
        /// An event was about a whole table.
        Event = "event",
        /// The strategy said so.
        Strategy = "strategy",
        /// Events are missing.
        Resync = "resync",
        /// The row key of an event does not fit the cache's dependencies.
        Mismatch = "mismatch",
        /// Code of the user's panicked while events were applied.
        Panic = "panic",
        /// Somebody asked for it.
        ByHand = "by_hand",
    }
}
