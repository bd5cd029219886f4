//! The gate is open only in a session for which the store was flushed, and the cache serves no value from before a missed change.

use std::collections::VecDeque;
use std::sync::Mutex as Plain;
use std::sync::atomic::AtomicU64 as Counter;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use crate::gate::{Gate, Session};
use crate::store::{Accept, Begin, Found};
use crate::sync::{Arc, AtomicU64, Mutex, advance, now};
use crate::world::{World, tag};
use crate::{explore, together};

const SESSIONS: u64 = 2;
const MAX_AGE: Duration = Duration::from_secs(10);

/// The gate alone, and the progress of both halves. Sessions are numbered from 1.
struct Halves {
    gate: Gate,
    sessions: Vec<Session>,
    /// The last sessions for which `set_live` and `set_caught_up` were called.
    live: Counter,
    caught_up: Counter,
    /// The last session for which `set_not_live` has returned.
    over: Counter,
    abandoned: Counter,
}

impl Halves {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            gate: Gate::new(),
            sessions: (0..=SESSIONS).map(|_| Session::next()).collect(),
            live: Counter::new(0),
            caught_up: Counter::new(0),
            over: Counter::new(0),
            abandoned: Counter::new(0),
        })
    }

    fn set_live(&self, session: u64) {
        self.live.store(session, SeqCst);
        self.gate.set_live(self.sessions[session as usize]);
    }

    fn set_not_live(&self, session: u64) {
        self.gate.set_not_live();
        self.over.store(session, SeqCst);
    }

    fn set_caught_up(&self, session: u64) {
        self.caught_up.store(session, SeqCst);
        self.gate.set_caught_up(self.sessions[session as usize]);
    }

    /// Returns the first session in which the gate can be open, or `None` if it is closed.
    fn look(&self) -> Option<u64> {
        let abandoned = self.abandoned.load(SeqCst) != 0;
        let first = self.over.load(SeqCst) + 1;
        if !self.gate.is_open() {
            return None;
        }
        assert!(!abandoned, "open without a driver");
        assert!(
            self.live.load(SeqCst) >= first,
            "open before it is live again"
        );
        assert!(
            self.caught_up.load(SeqCst) >= first,
            "open before it caught up with a session after the last"
        );
        Some(first)
    }

    fn task(
        self: &Arc<Self>,
        task: impl FnOnce(&Self) + Send + 'static,
    ) -> Box<dyn FnOnce() + Send> {
        let halves = Arc::clone(self);
        Box::new(move || task(&halves))
    }
}

#[test]
fn the_gate_opens_only_if_both_halves_are_of_one_session() {
    explore(3_000, || {
        let halves = Halves::new();
        together([
            halves.task(|halves| {
                for session in 1..=SESSIONS {
                    halves.set_live(session);
                    if session < SESSIONS {
                        halves.set_not_live(session);
                    }
                }
            }),
            halves.task(|halves| (1..=SESSIONS).for_each(|session| halves.set_caught_up(session))),
            halves.task(|halves| (0..3).for_each(|_| _ = halves.look())),
        ]);
        assert_eq!(halves.look(), Some(SESSIONS), "both are of the last one");
        halves.gate.abandon();
        assert!(!halves.gate.is_open() && !halves.gate.is_driven());
    });
}

#[test]
fn the_gate_never_opens_again_without_a_driver_or_a_source() {
    explore(2_000, || {
        let halves = Halves::new();
        together([
            halves.task(|halves| {
                for session in 1..=SESSIONS {
                    halves.set_live(session);
                    halves.set_not_live(session);
                }
            }),
            halves.task(|halves| {
                (1..=SESSIONS).for_each(|session| halves.set_caught_up(session));
                halves.gate.abandon();
                halves.abandoned.store(1, SeqCst);
            }),
            halves.task(|halves| (0..3).for_each(|_| _ = halves.look())),
        ]);
        assert!(!halves.gate.is_open() && !halves.gate.is_driven());
    });
}

/// A reader that finds the gate closed, after it was open, gets a time of closing, and not one that is too late.
#[test]
fn closed_at_is_the_end_of_the_session_of_the_stored_values() {
    explore(3_000, || {
        let halves = Halves::new();
        let start = now();
        halves.set_live(1);
        halves.set_caught_up(1);
        together([
            halves.task(|halves| {
                halves.set_not_live(1);
                advance(MAX_AGE);
                // The driver does not flush for this session, so the values stay as old as before.
                halves.set_live(2);
                halves.set_not_live(2);
            }),
            halves.task(move |halves| {
                for _ in 0..2 {
                    if !halves.gate.is_open() {
                        assert_eq!(halves.gate.closed_at(), Some(start));
                    }
                }
            }),
        ]);
        assert_eq!(halves.gate.closed_at(), Some(start));
    });
}

/// A store behind the gate.
struct Cache {
    halves: Arc<Halves>,
    world: Arc<World>,
    /// The queue to the driver; each entry is a resync of a session, or an event.
    queue: Mutex<VecDeque<Option<u64>>>,
    /// 0 once the source has finished, so that the driver ends when the queue is empty.
    left: AtomicU64,
    /// The version that was in the database when each session's resync was queued.
    resynced_at: Plain<Vec<u64>>,
}

impl Cache {
    fn emit(&self, what: Option<u64>) {
        self.queue.lock().push_back(what);
    }

    /// Queues the signals of the source. Changes between two sessions are not reported.
    fn source(&self) {
        for session in 1..=SESSIONS {
            self.world.commit(0);
            let version = self.world.query(0)[0];
            self.resynced_at.lock().unwrap().push(version);
            self.emit(Some(session));
            self.halves.set_live(session);
            self.world.commit(0);
            self.emit(None);
            if session < SESSIONS {
                self.halves.set_not_live(session);
            }
        }
        self.left.store(0, SeqCst);
    }

    fn driver(&self) {
        loop {
            let over = self.left.load(SeqCst) == 0;
            let signal = self.queue.lock().pop_front();
            match signal {
                Some(Some(session)) => {
                    self.world.store.flush(Some(now()));
                    self.halves.set_caught_up(session);
                }
                Some(None) => drop(self.world.store.invalidate_tag(&tag(0))),
                None if over => return,
                None => shuttle::thread::yield_now(),
            }
        }
    }

    /// Reads like a handle. While the cache is blind, it serves stale values, as with [`WhenNotLive::ServeStale`].
    fn read(&self) {
        let store = &self.world.store;
        let session = self.halves.look();
        let accept = match session {
            Some(_) => Accept::Valid,
            None if !self.halves.gate.is_driven() => return,
            None => Accept::Blind {
                since: self.halves.gate.closed_at(),
                max_age: MAX_AGE,
            },
        };
        let value = match store.get(&0, accept) {
            Found::Hit(value) | Found::Stale(value, _) => value,
            Found::Miss => match store.begin(&0, self.world.tags(0), accept) {
                Begin::Found(value) => value,
                Begin::Lead(flight) => {
                    let value = Arc::new(self.world.query(0));
                    store.finish(&0, &flight, &value);
                    value
                }
                Begin::Join(_) => return,
            },
        };
        if let Some(session) = session {
            let known = self.resynced_at.lock().unwrap()[session as usize - 1];
            assert!(
                value[0] >= known,
                "served {}, but {known} was known",
                value[0]
            );
        }
    }
}

#[test]
fn values_from_before_a_missed_change_are_not_served_in_a_later_session() {
    explore(2_000, || {
        let cache = Arc::new(Cache {
            halves: Halves::new(),
            world: World::new(&[&[0]], 8),
            queue: Mutex::new(VecDeque::new()),
            left: AtomicU64::new(1),
            resynced_at: Plain::default(),
        });
        let task = |task: fn(&Cache)| -> Box<dyn FnOnce() + Send> {
            let cache = Arc::clone(&cache);
            Box::new(move || task(&cache))
        };
        together([
            task(Cache::source),
            task(Cache::driver),
            task(|cache| (0..3).for_each(|_| cache.read())),
            task(|cache| (0..3).for_each(|_| cache.read())),
        ]);
        assert_eq!(cache.halves.look(), Some(SESSIONS));
        cache.read();
        let store = &cache.world.store;
        store.assert_consistent();
        if let Found::Hit(value) = store.get(&0, Accept::Valid) {
            assert_eq!(*value, cache.world.query(0), "every event was applied");
        }
    });
}
