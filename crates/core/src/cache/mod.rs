//! Query results in memory, never stale for longer than an event takes to travel, and never silently so.
//!
//! ```text
//!                      ┌─ CacheDriver: strategy, flush on resync ─┐
//!   Subscription ────► │  (in a CacheActor, or a tokio task)      │
//!                      └───────────────────┬──────────────────────┘
//!                                          ▼ invalidates
//!   readers ── CacheHandle ──► gate ──► store ◄── loads, one per key
//!   (any thread, no mailbox)    │
//!                               └─ closed while the source is not live: reads go past the cache
//! ```
//!
//! # The race that is closed
//!
//! What most caches get wrong is a change that comes while the old value is being loaded:
//!
//! ```text
//!   reader      miss ── SELECT: version 1 ── … slow … ── store version 1        ◄── stale until the next change
//!   writer                     UPDATE to version 2, COMMIT
//!   cache                                     event: invalidate (nothing is there yet)
//! ```
//!
//! Here a load is registered *before* it begins. The invalidation finds it, and marks it as overtaken: its result goes to
//! those who already waited for it, and is not stored; whoever reads after the invalidation does not join it, but loads
//! anew.
//!
//! # What is guaranteed
//!
//! - **No stale fill.** A value whose load began before an invalidation of its key was applied is never served to a read
//!   that begins after that, and such a read never joins the older load.
//! - **A blind cache does not answer.** It answers only while the source is live *and* everything was flushed for the
//!   resync with which it became so. It stops answering before anybody learns that the source is down, and as
//!   soon as its driver is gone. [`WhenNotLive`] loosens this, up to a stated age.
//! - **Hits do not wait.** They cross no mailbox and await nothing.
//! - **Misses load once.** However many want a key, one loads it. A loader that fails tells all; one that panics or goes
//!   away leaves the load to the next. Errors are not stored, unless [`errors_for`](CacheBuilder::errors_for) says so.
//! - **In doubt, everything goes.** An event that cannot be mapped to keys, a panic in a strategy, too many held events:
//!   the cache is flushed.
//!
//! # What is not
//!
//! - A value may be stale for as long as an event travels: from the commit, through PostgreSQL and the listener, to the
//!   driver; and for as long as the [`Strategy`] holds it back. Who cannot wait takes a [`WriteToken`].
//! - Changes that are not announced are not seen: see [`trigger`](crate::trigger) for what those are.
//! - The loader must read what is committed, on the primary, in a transaction that began after it was called. One that reads
//!   a replica, or in an older snapshot, brings old values.
//! - The driver has to get to run: on a thread that other code blocks, it is late, and so are invalidations.
//! - A load is a part of the future that leads it, unless it is
//!   [detached](CacheHandle::get_or_load_detached). If a task keeps that future without polling it, the callers that joined
//!   wait with it, at most for [`load_timeout`](CacheBuilder::load_timeout).
//! - A load in which tasks are spawned that read the same cache may wait for itself; see [`LoadError::Recursive`].

mod builder;
mod dependency;
mod driver;
mod function;
mod handle;
mod housekeeping;
mod kept_errors;
mod key_check;
mod lead;
mod limit;
mod load;
mod load_error;
mod load_many;
mod loaded;
mod nesting;
mod observer;
mod pending;
mod refresh;
mod scope;
mod stats;
mod store;
// Not inside: `tests/interleavings` compiles the store with locks that work only there.
#[cfg(test)]
#[path = "store/tests.rs"]
mod store_tests;
mod strategy;
mod write_token;

pub use builder::CacheBuilder;
pub use dependency::Affected;
pub use driver::CacheDriver;
pub use function::CachedFn;
pub use handle::{CacheHandle, CacheKey, Stamp, WhenNotLive};
pub use key_check::KeyTypes;
pub use limit::LoadLimit;
pub use load_error::LoadError;
pub use loaded::Loaded;
pub use observer::{
    BypassReason, CacheEvent, CacheObserver, FlushCause, InvalidationCause, StaleReason,
};
pub use refresh::Refresh;
pub use scope::CacheScope;
pub use stats::CacheStats;
pub use strategy::{Debounced, Decision, Greedy, Strategy, Timed, Windowed};
pub use write_token::WriteToken;
