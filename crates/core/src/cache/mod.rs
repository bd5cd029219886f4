//! Caches of query results in memory, which events invalidate.
//!
//! ```text
//!                      ┌─ CacheDriver: strategy, flush on resync ─┐
//!   Subscription ────► │  (in a CacheActor, or a tokio task)      │
//!                      └───────────────────┬──────────────────────┘
//!                                          ▼ invalidates
//!   readers ── CacheHandle ──► gate ──► store ◄── loads, one per key
//!   (any thread, no mailbox)    │
//!                               └─ closed while the source is not live: reads bypass the cache
//! ```
//!
//! # The race between a load and a change
//!
//! A change may arrive while the old value is being loaded. Many caches then store the old value:
//!
//! ```text
//!   reader      miss ── SELECT: version 1 ── … slow … ── store version 1        ◄── stale until the next change
//!   writer                     UPDATE to version 2, COMMIT
//!   cache                                     event: invalidate (nothing is there yet)
//! ```
//!
//! Here a load is registered *before* it begins. The invalidation finds it and marks it as overtaken. Callers that
//! already wait for an overtaken load get its result, but the cache does not store it. Reads that begin after the
//! invalidation start a new load.
//!
//! # Guarantees
//!
//! - **No stale fill.** A value whose load began before an invalidation of its key is never served to a read that
//!   begins after the invalidation was applied. Such a read never joins the older load.
//! - **A blind cache does not answer.** It answers only while the source is live *and* the cache has applied the
//!   resync, or the missed events, that preceded this. It stops answering before subscribers are notified that
//!   the source is down, and as soon as its driver is dropped. [`WhenNotLive`] allows stale values up to a maximum age instead.
//! - **Hits do not wait.** They use no mailbox and await nothing.
//! - **Misses load once.** Concurrent misses of a key share one load. If its loader fails, all callers get the error.
//!   If the loader panics or is dropped, the next caller loads. Errors are not stored, unless
//!   [`errors_for`](crate::CacheBuilder::errors_for) is set.
//! - **If in doubt, the cache is flushed:** for an event that cannot be mapped to keys, a panic in a strategy, or too
//!   many held events.
//!
//! # Limits
//!
//! - A value is stale while its event travels from the commit through PostgreSQL and the listener to the driver, and
//!   while the [`Strategy`] holds the event. A writer that must see its own commit uses a [`WriteToken`].
//! - The cache does not see changes that are not announced; [`trigger`](crate::trigger) lists them.
//! - The loader must read committed data, on the primary, in a transaction that began after the loader was called. A
//!   replica or an older snapshot returns old values.
//! - The driver needs time to run. If other code blocks its thread, invalidations are late.
//! - A load is part of the future of the caller that leads it, unless it is
//!   [detached](crate::CacheHandle::get_or_load_detached). If a task keeps that future without polling it, callers that joined
//!   the load wait for at most [`load_timeout`](crate::CacheBuilder::load_timeout).
//! - A loader that spawns tasks which read the same cache may wait for itself; see [`LoadError::Recursive`].
//!
//! [`WhenNotLive`]: crate::WhenNotLive
//! [`Strategy`]: crate::Strategy
//! [`WriteToken`]: crate::WriteToken
//! [`LoadError::Recursive`]: crate::LoadError::Recursive

pub(crate) mod builder;
pub(crate) mod dependency;
pub(crate) mod driver;
pub(crate) mod function;
pub(crate) mod handle;
mod housekeeping;
pub(crate) mod inner;
mod kept_errors;
mod key;
pub(crate) mod key_check;
mod lead;
pub(crate) mod limit;
mod load;
pub(crate) mod load_error;
mod load_many;
pub(crate) mod loaded;
mod nesting;
pub(crate) mod observer;
mod pending;
mod reading;
pub(crate) mod refresh;
pub(crate) mod scope;
pub(crate) mod stats;
mod store;
// Declared here, not in `store`: `tests/interleavings` compiles the store with locks that work only there.
#[cfg(test)]
#[path = "store/tests.rs"]
mod store_tests;
pub(crate) mod strategy;
pub(crate) mod write_token;

// What most programs use is at the root of the crate; the rest has this path.
pub use handle::Stamp;
pub use key::CacheKey;
pub use observer::{BypassReason, FlushCause, InvalidationCause, StaleReason};

pub(crate) use driver::CacheDriver;
pub(crate) use stats::CacheStats;
