//! The gate of a cache: decides whether cached values may be served.
//!
//! ```text
//!                    router: Live(n) ──► live = n          driver: flushed for n ──► caught up = n
//!                    router: Down    ──► live = none       driver: gone          ──► caught up = none
//!
//!                    open = there is a session, and both are of it
//! ```
//!
//! A *session* begins with the resync with which a source becomes live, or at the point where the source has caught up on
//! what it missed. It ends with `Down`. Both halves are in one word, so a read decides with a single load.
//!
//! Guarantees:
//! - The gate closes before any other component learns that the source is down.
//! - It opens only after the cache has flushed for the resync that began the current session, or has applied the events
//!   before that session. While these are still queued, the gate stays closed although the source is live.
//! - It never opens again after the subscription, the driver or the last reader is gone.

use std::num::NonZeroU32;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU8, AtomicU32};
use std::time::Instant;

use tokio::sync::Notify;

use crate::sync::{AtomicU64, Mutex, now};

/// The time from a resync to the next `Down`. Unique in this process. Later sessions are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Session(NonZeroU32);

impl Session {
    pub(crate) fn next() -> Self {
        // Does not use the atomics of `sync`, because only uniqueness matters.
        static LAST: AtomicU32 = AtomicU32::new(0);
        loop {
            let number = LAST.fetch_add(1, Relaxed).wrapping_add(1);
            if let Some(number) = NonZeroU32::new(number) {
                return Self(number);
            }
        }
    }
}

#[derive(Debug)]
pub(crate) struct Gate {
    /// The session in which the source is live (upper half), and the session that the cache has caught up with (lower half).
    /// 0 means none.
    word: AtomicU64,
    /// When the gate last closed.
    closed_at: Mutex<Option<Instant>>,
    /// The state of ownership: [`FREE`], [`CLAIMED`] or [`ABANDONED`].
    owner: AtomicU8,
    /// Wakes tasks that wait until the gate opens or is abandoned.
    changed: Notify,
}

/// No subscription has claimed the gate yet.
const FREE: u8 = 0;
/// A subscription writes its half. A second one would miss the resync that the first one received.
const CLAIMED: u8 = 1;
/// The driver or the last reader is gone.
const ABANDONED: u8 = 2;

const fn live(word: u64) -> u64 {
    word >> 32
}

const fn caught_up(word: u64) -> u64 {
    word & 0xffff_ffff
}

const fn is_open(word: u64) -> bool {
    live(word) == caught_up(word) && word != 0
}

impl Gate {
    pub(crate) fn new() -> Self {
        Self {
            word: AtomicU64::new(0),
            closed_at: Mutex::new(None),
            owner: AtomicU8::new(FREE),
            changed: Notify::new(),
        }
    }

    /// Claims the gate for a subscription. Returns false if another subscription has claimed it before.
    pub(crate) fn claim(&self) -> bool {
        self.owner
            .compare_exchange(FREE, CLAIMED, AcqRel, Acquire)
            .is_ok()
    }

    /// Returns whether cached values may be served.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        is_open(self.word.load(Acquire))
    }

    /// Returns whether a driver applies events to the cache, or will do so when the source is live.
    pub(crate) fn is_driven(&self) -> bool {
        caught_up(self.word.load(Acquire)) != 0 || self.owner.load(Acquire) == CLAIMED
    }

    /// Returns when the gate last closed, if ever.
    pub(crate) fn closed_at(&self) -> Option<Instant> {
        *self.closed_at.lock()
    }

    pub(crate) fn is_live(&self) -> bool {
        live(self.word.load(Acquire)) != 0
    }

    /// The source is live. If it was live before, the new session closes the gate until the cache has caught up again.
    pub(crate) fn set_live(&self, session: Session) {
        let number = u64::from(session.0.get());
        self.update(|word| {
            let next = number << 32 | caught_up(word);
            self.closing(word, next);
            next
        });
    }

    /// The source is not live, or the subscription receives no more signals.
    pub(crate) fn set_not_live(&self) {
        self.update(|word| {
            let next = caught_up(word);
            self.closing(word, next);
            next
        });
    }

    /// Records the time if `next` closes an open gate. A gate that did not open in this session keeps the earlier time,
    /// because the cached values are as old as before. The time is stored before the gate closes, so a reader that finds the
    /// gate closed also finds the time.
    fn closing(&self, word: u64, next: u64) {
        if is_open(word) && !is_open(next) {
            *self.closed_at.lock() = Some(now());
        }
    }

    /// The cache has flushed for the resync that began `session`, or nothing was missing before it.
    pub(crate) fn set_caught_up(&self, session: Session) {
        let number = u64::from(session.0.get());
        self.update(|word| live(word) << 32 | number);
        // The readers may have abandoned the gate in the meantime.
        if self.is_abandoned() {
            self.update(|word| live(word) << 32);
        }
    }

    /// Closes the gate for good: the driver or the last reader is gone.
    pub(crate) fn abandon(&self) {
        self.owner.store(ABANDONED, Release);
        self.update(|word| live(word) << 32);
    }

    /// Returns whether the gate is closed for good.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.owner.load(Acquire) == ABANDONED
    }

    pub(crate) async fn abandoned(&self) {
        self.until(|gate| gate.is_abandoned()).await;
    }

    /// Waits until the gate is open. Returns false if it is abandoned.
    pub(crate) async fn opened(&self) -> bool {
        self.until(|gate| gate.is_open() || gate.is_abandoned())
            .await;
        !self.is_abandoned()
    }

    async fn until(&self, condition: impl Fn(&Self) -> bool) {
        let mut changed = std::pin::pin!(self.changed.notified());
        loop {
            // Enable the notification before the check, so that a later change is not missed.
            changed.as_mut().enable();
            if condition(self) {
                return;
            }
            changed.as_mut().await;
            changed.set(self.changed.notified());
        }
    }

    fn update(&self, change: impl Fn(u64) -> u64) {
        let mut word = self.word.load(Acquire);
        while let Err(current) =
            self.word
                .compare_exchange_weak(word, change(word), AcqRel, Acquire)
        {
            word = current;
        }
        self.changed.notify_waiters();
    }
}
