//! The locks, atomics, hasher and clock of the cache store and its gate.
//!
//! They are in one module so that tests can compile the store against primitives whose interleavings they control and
//! reproduce: see `tests/interleavings`.

pub(crate) use std::sync::atomic::AtomicU64;
pub(crate) use std::sync::{Arc, OnceLock};

pub(crate) use foldhash::fast::RandomState;
pub(crate) use parking_lot::Mutex;

/// Returns the time of tokio's clock, which tests can pause.
pub(crate) fn now() -> std::time::Instant {
    tokio::time::Instant::now().into_std()
}
