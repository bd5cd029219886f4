//! The locks, atomics, hasher and clock of the cache store and its gate.
//!
//! In one place, so that tests can compile the store against primitives whose interleavings they control,
//! and repeat what they found: see `tests/interleavings`.

pub(crate) use std::sync::atomic::AtomicU64;
pub(crate) use std::sync::{Arc, OnceLock};

pub(crate) use foldhash::fast::RandomState;
pub(crate) use parking_lot::Mutex;

/// The time; that of tokio's clock, so that tests can hold it.
pub(crate) fn now() -> std::time::Instant {
    tokio::time::Instant::now().into_std()
}
