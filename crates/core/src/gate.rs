//! Whether a cache may answer.
//!
//! ```text
//!                    router: Live(n) ──► live = n          driver: flushed for n ──► caught up = n
//!                    router: Down    ──► live = none       driver: gone          ──► caught up = none
//!
//!                    open = there is a session, and both are of it
//! ```
//!
//! A *session* lasts from the resync with which a source becomes live, or from where it has caught up on what it missed,
//! until it says `Down`. Both halves are in
//! one word, so that a read learns with a single load whether it may answer from memory.
//!
//! Guarantees:
//! - It closes before anybody is told that the source is down.
//! - It opens only after the flush of the resync that belongs to the very session the source is live in, or after what
//!   was caught up on before that session: while they are in the queue it stays closed although the source is live.
//! - It never opens again once the subscription, the driver or the last reader is gone.

use std::num::NonZeroU32;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU8, AtomicU32};
use std::time::Instant;

use tokio::sync::Notify;

use crate::sync::{AtomicU64, Mutex, now};

/// From a resync to the next `Down`. Unique in this process, and later ones are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Session(NonZeroU32);

impl Session {
    pub(crate) fn next() -> Self {
        // Not of `sync`: uniqueness is all that matters here.
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
    /// The session the source is live in, and below it the one the cache has caught up with; 0 is none.
    word: AtomicU64,
    /// When it last ceased to be open.
    closed_at: Mutex<Option<Instant>>,
    /// Whose it is: [`FREE`], [`CLAIMED`] or [`ABANDONED`].
    owner: AtomicU8,
    /// Wakes those who wait for it to open, or to be abandoned.
    changed: Notify,
}

/// No subscription writes its half yet.
const FREE: u8 = 0;
/// A subscription does. A second one would miss what the first has flushed for.
const CLAIMED: u8 = 1;
/// The driver is gone, or nobody reads.
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

    /// Takes it for a subscription. Returns false if another one has it, or had it.
    pub(crate) fn claim(&self) -> bool {
        self.owner
            .compare_exchange(FREE, CLAIMED, AcqRel, Acquire)
            .is_ok()
    }

    /// Whether a cache may answer as if it were the database.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        is_open(self.word.load(Acquire))
    }

    /// Whether somebody applies events to the cache, or will when the source is live.
    pub(crate) fn is_driven(&self) -> bool {
        caught_up(self.word.load(Acquire)) != 0 || self.owner.load(Acquire) == CLAIMED
    }

    /// When it closed, if it ever did.
    pub(crate) fn closed_at(&self) -> Option<Instant> {
        *self.closed_at.lock()
    }

    /// Whether the source is live.
    pub(crate) fn is_live(&self) -> bool {
        live(self.word.load(Acquire)) != 0
    }

    /// The source is live. If it was before, a new session closes the gate, until the cache has caught up again.
    pub(crate) fn set_live(&self, session: Session) {
        let number = u64::from(session.0.get());
        self.update(|word| {
            let next = number << 32 | caught_up(word);
            self.closing(word, next);
            next
        });
    }

    /// The source is not live, or nothing of what it says will come here any more.
    pub(crate) fn set_not_live(&self) {
        self.update(|word| {
            let next = caught_up(word);
            self.closing(word, next);
            next
        });
    }

    /// Remembers when it closes, if it does: not if it did not open in this session, for what is in memory is as old as
    /// it was. And before it does: whoever finds it closed must find out since when.
    fn closing(&self, word: u64, next: u64) {
        if is_open(word) && !is_open(next) {
            *self.closed_at.lock() = Some(now());
        }
    }

    /// The cache was flushed for the resync that began `session`, or nothing was missing before it.
    pub(crate) fn set_caught_up(&self, session: Session) {
        let number = u64::from(session.0.get());
        self.update(|word| live(word) << 32 | number);
        // Readers may have abandoned it while the driver was at work.
        if self.is_abandoned() {
            self.update(|word| live(word) << 32);
        }
    }

    /// Nobody applies events any more, or nobody reads what they are applied to.
    pub(crate) fn abandon(&self) {
        self.owner.store(ABANDONED, Release);
        self.update(|word| live(word) << 32);
    }

    /// Whether the cache will never answer again.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.owner.load(Acquire) == ABANDONED
    }

    /// Waits until it is abandoned.
    pub(crate) async fn abandoned(&self) {
        self.until(|gate| gate.is_abandoned()).await;
    }

    /// Waits until it is open. Returns false if it is abandoned, and will not open.
    pub(crate) async fn opened(&self) -> bool {
        self.until(|gate| gate.is_open() || gate.is_abandoned())
            .await;
        !self.is_abandoned()
    }

    async fn until(&self, condition: impl Fn(&Self) -> bool) {
        let mut changed = std::pin::pin!(self.changed.notified());
        loop {
            // Before looking: what changes after the look wakes us.
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
