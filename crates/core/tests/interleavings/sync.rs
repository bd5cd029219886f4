//! The primitives of `src/sync.rs`, controlled by `shuttle` and deterministic.

use std::cell::Cell;
use std::sync::LazyLock;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

pub(crate) use std::sync::Arc;

pub(crate) use foldhash::fast::FixedState as RandomState;
pub(crate) use shuttle::sync::atomic::AtomicU64;

/// A mutex with the interface of the one in `parking_lot`.
#[derive(Debug)]
pub(crate) struct Mutex<X>(shuttle::sync::Mutex<X>);

impl<X> Mutex<X> {
    pub(crate) fn new(value: X) -> Self {
        Self(shuttle::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> shuttle::sync::MutexGuard<'_, X> {
        self.0.lock().unwrap()
    }
}

/// The `OnceLock` of `std`, with a possible switch before and after each use.
#[derive(Debug)]
pub(crate) struct OnceLock<X> {
    value: std::sync::OnceLock<X>,
    switch: AtomicU64,
}

impl<X> OnceLock<X> {
    pub(crate) fn new() -> Self {
        Self {
            value: std::sync::OnceLock::new(),
            switch: AtomicU64::new(0),
        }
    }

    pub(crate) fn get(&self) -> Option<&X> {
        self.switch.load(SeqCst);
        let value = self.value.get();
        self.switch.load(SeqCst);
        value
    }

    pub(crate) fn set(&self, value: X) -> Result<(), X> {
        self.switch.load(SeqCst);
        let set = self.value.set(value);
        self.switch.load(SeqCst);
        set
    }
}

thread_local! {
    // All tasks of one exploration run on one thread.
    static ELAPSED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// The current time, which changes only by [`advance`].
pub(crate) fn now() -> Instant {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    *START + ELAPSED.get()
}

pub(crate) fn restart_clock() {
    ELAPSED.set(Duration::ZERO);
}

pub(crate) fn advance(by: Duration) {
    // Other tasks may run before the time changes.
    shuttle::thread::yield_now();
    ELAPSED.set(ELAPSED.get() + by);
}
