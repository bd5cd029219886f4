//! A database in memory, a store of values that were read from it, and the versions that readers must see.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Mutex as Plain;
use std::sync::atomic::AtomicU64 as Counter;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use shuttle::future::block_on;
use shuttle::rand::{Rng, thread_rng};

use crate::store::{Accept, Begin, Flight, FlightId, Found, Outcome, Stale, Store, StoreOptions};
use crate::sync::{Arc, AtomicU64, now};

pub(crate) type Key = u8;
pub(crate) type Row = u8;

/// A tag. Its type differs from that of keys, so that it has another hash.
pub(crate) type Tag = (&'static str, Row);

/// The versions of the rows that a key depends on.
pub(crate) type Value = Vec<u64>;

pub(crate) const KEEP: Duration = Duration::from_secs(10);

/// The state of a scenario. Reading or writing the bookkeeping of the test itself causes no switch.
pub(crate) struct World {
    pub(crate) store: Store<Key, Value, Tag>,
    pub(crate) keys: &'static [&'static [Row]],
    rows: Vec<History>,
    keep: Option<Duration>,
    /// For each flight: how many changes of its key's rows had been announced when it was registered.
    begun: Plain<BTreeMap<FlightId, Value>>,
    pub(crate) loads: Counter,
    /// How often a reader was asked to reload a value.
    pub(crate) asked: Counter,
}

/// The history of one row. One task makes all its changes.
struct History {
    /// The version in the database.
    version: AtomicU64,
    /// The number of changes whose invalidation has begun.
    announced: Counter,
    /// The times at which invalidations ended, one for each change.
    applied: Plain<Vec<Instant>>,
}

/// How a change invalidates values in the store.
#[derive(Clone, Copy, Debug)]
pub(crate) enum By {
    Key,
    Tag,
    Flush,
}

impl By {
    pub(crate) fn any() -> Self {
        [Self::Key, Self::Tag, Self::Flush][thread_rng().gen_range(0..3)]
    }
}

/// How a load ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    Succeeds,
    Fails,
    GoesAway,
}

/// The result of a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Got {
    Valid,
    Stale,
    Failed,
}

impl World {
    /// Creates a world with keys 0, 1, ... that depend on these rows.
    pub(crate) fn new(keys: &'static [&'static [Row]], capacity: usize) -> Arc<Self> {
        Self::keeping(keys, capacity, None)
    }

    pub(crate) fn keeping(
        keys: &'static [&'static [Row]],
        capacity: usize,
        keep: Option<Duration>,
    ) -> Arc<Self> {
        let rows = keys
            .iter()
            .copied()
            .flatten()
            .max()
            .map_or(0, |last| last + 1);
        let history = |_| History {
            version: AtomicU64::new(0),
            announced: Counter::new(0),
            applied: Plain::default(),
        };
        Arc::new(Self {
            store: Store::new(StoreOptions {
                capacity: NonZeroUsize::new(capacity).unwrap(),
                max_weight: None,
                ttl: None,
                jitter: 0.0,
                keep_stale: keep,
            }),
            keys,
            rows: (0..rows).map(history).collect(),
            keep,
            begun: Plain::default(),
            loads: Counter::new(0),
            asked: Counter::new(0),
        })
    }

    /// Makes a task for [`together`](crate::together).
    pub(crate) fn task(
        self: &Arc<Self>,
        task: impl FnOnce(&Arc<Self>) + Send + 'static,
    ) -> Box<dyn FnOnce() + Send> {
        let world = Arc::clone(self);
        Box::new(move || task(&world))
    }

    pub(crate) fn tags(&self, key: Key) -> Box<[Tag]> {
        self.keys[usize::from(key)]
            .iter()
            .copied()
            .map(tag)
            .collect()
    }

    fn of_rows(&self, key: Key, what: impl Fn(&History) -> u64) -> Value {
        let row = |row: &Row| what(&self.rows[usize::from(*row)]);
        self.keys[usize::from(key)].iter().map(row).collect()
    }

    /// The oldest versions that a read that begins now may return.
    pub(crate) fn floor(&self, key: Key) -> Value {
        self.of_rows(key, |row| row.applied.lock().unwrap().len() as u64)
    }

    /// The versions in the database.
    pub(crate) fn query(&self, key: Key) -> Value {
        self.of_rows(key, |row| row.version.load(SeqCst))
    }

    /// Commits a change of a row.
    pub(crate) fn commit(&self, row: Row) {
        self.rows[usize::from(row)].version.fetch_add(1, SeqCst);
    }

    /// Applies the event of a change.
    pub(crate) fn announce(&self, row: Row, by: By) {
        let history = &self.rows[usize::from(row)];
        history.announced.fetch_add(1, SeqCst);
        match by {
            By::Key => {
                for (key, rows) in self.keys.iter().enumerate() {
                    if rows.contains(&row) {
                        self.store.invalidate(&(key as Key), Stale::Keep);
                    }
                }
            }
            By::Tag => drop(self.store.invalidate_tag(&tag(row))),
            By::Flush => self.store.flush(Some(now())),
        }
        history.applied.lock().unwrap().push(now());
    }

    pub(crate) fn change(&self, row: Row, by: By) {
        self.commit(row);
        self.announce(row, by);
    }

    /// Inserts a value that was read after taking a moment.
    pub(crate) fn insert(&self, key: Key) -> bool {
        let moment = self.store.moment();
        let value = Arc::new(self.query(key));
        self.store.insert(moment, &key, &value, self.tags(key))
    }

    pub(crate) fn read(&self, key: Key) -> Got {
        self.read_with(key, || Load::Succeeds)
    }

    /// Reads like `CacheHandle::get_or_load`, and checks every value.
    pub(crate) fn read_with(&self, key: Key, mut load: impl FnMut() -> Load) -> Got {
        let (floor, begun) = (self.floor(key), now());
        loop {
            match self.store.get(&key, Accept::Valid) {
                Found::Hit(value) => {
                    at_least(&value, &floor);
                    return Got::Valid;
                }
                Found::Stale(value, revalidate) => {
                    let revalidate = revalidate.is_some();
                    self.check_stale(key, &value, &floor, begun);
                    if revalidate {
                        self.asked.fetch_add(1, SeqCst);
                        // Reloads as `refresh` does.
                        if let Begin::Lead(flight) = self.begin(key, &floor) {
                            self.lead(key, flight, load());
                        }
                    }
                    return Got::Stale;
                }
                Found::Miss => {}
            }
            match self.begin(key, &floor) {
                Begin::Found(value) => {
                    at_least(&value, &floor);
                    return Got::Valid;
                }
                Begin::Lead(flight) => match self.lead(key, flight, load()) {
                    Got::Failed => return Got::Failed,
                    Got::Valid => return Got::Valid,
                    // The load was abandoned: read again, as another reader would.
                    Got::Stale => {}
                },
                Begin::Join(flight) => match block_on(flight.ended()) {
                    Outcome::Loaded(value) => {
                        at_least(&value, &floor);
                        return Got::Valid;
                    }
                    Outcome::Failed(error) => {
                        assert_eq!(*error.downcast::<Key>().unwrap(), key);
                        return Got::Failed;
                    }
                    Outcome::TimedOut | Outcome::Abandoned => {}
                },
            }
        }
    }

    /// Reads, inserts and expires at random, and checks that the store stays within its capacity.
    pub(crate) fn some_reads(&self, capacity: usize) {
        for _ in 0..4 {
            let key: Key = thread_rng().gen_range(0..4);
            match thread_rng().gen_range(0..6) {
                0 => _ = self.insert(key),
                1 => _ = self.store.expire(0),
                2 => {
                    let ends = [Load::Succeeds, Load::Fails, Load::GoesAway];
                    self.read_with(key, || ends[thread_rng().gen_range(0..3)]);
                }
                _ => _ = self.read(key),
            }
            assert!(self.store.len() <= capacity);
        }
    }

    /// Begins a read that must see no less than `floor`.
    pub(crate) fn begin(&self, key: Key, floor: &Value) -> Begin<Value> {
        let begin = self.store.begin(&key, self.tags(key), Accept::Valid);
        match &begin {
            Begin::Found(_) => {}
            Begin::Lead(flight) => {
                let announced = self.of_rows(key, |row| row.announced.load(SeqCst));
                self.begun.lock().unwrap().insert(flight.id(), announced);
            }
            Begin::Join(flight) => {
                let begun = self.begun.lock().unwrap();
                if let Some(announced) = begun.get(&flight.id()) {
                    // Changes that were applied before the read began must have been announced before the flight began.
                    let joined = announced.iter().zip(floor);
                    assert!(
                        joined.clone().all(|(announced, floor)| announced >= floor),
                        "joined a flight that was overtaken: {announced:?}, {floor:?}"
                    );
                }
            }
        }
        begin
    }

    /// Loads, and ends the flight. Returns [`Got::Stale`] if the load was abandoned.
    pub(crate) fn lead(&self, key: Key, flight: Arc<Flight<Value>>, load: Load) -> Got {
        let mut lead = Lead::new(self, key, flight);
        self.loads.fetch_add(1, SeqCst);
        let value = Arc::new(self.query(key));
        match load {
            Load::Succeeds => {
                lead.finish(&value);
                Got::Valid
            }
            Load::Fails => {
                lead.ended = true;
                let outcome = Outcome::Failed(Arc::new(key));
                self.store.fail(&key, &lead.flight, outcome);
                Got::Failed
            }
            Load::GoesAway => Got::Stale,
        }
    }

    /// Checks that the value was invalidated at most `keep` before the read began.
    fn check_stale(&self, key: Key, value: &Value, floor: &Value, begun: Instant) {
        let keep = self.keep.expect("nothing stale is to be served");
        for (number, row) in self.keys[usize::from(key)].iter().enumerate() {
            if value[number] < floor[number] {
                let applied = self.rows[usize::from(*row)].applied.lock().unwrap();
                let since = applied[value[number] as usize];
                assert!(
                    begun < since + keep,
                    "row {row} at version {} served {:?} after it was invalidated",
                    value[number],
                    begun.duration_since(since)
                );
            }
        }
    }

    /// Checks the store after every commit was announced and all tasks have finished.
    pub(crate) fn settled(&self) {
        assert_eq!(self.store.in_flight(), 0);
        self.store.assert_consistent();
        for key in 0..self.keys.len() as Key {
            let (floor, current) = (self.floor(key), self.query(key));
            assert_eq!(floor, current);
            match self.store.get(&key, Accept::Valid) {
                Found::Hit(value) => assert_eq!(*value, current),
                Found::Stale(value, _) => self.check_stale(key, &value, &floor, now()),
                Found::Miss => {}
            }
        }
        self.store.assert_consistent();
        for row in 0..self.rows.len() as Row {
            self.change(row, By::Tag);
        }
        self.store.assert_consistent();
        if self.keep.is_none() {
            assert_eq!(self.store.len(), 0, "the index finds everything");
        }
    }
}

/// A guard that ends a flight as abandoned when it is dropped before the flight has ended, as in the library.
pub(crate) struct Lead<'a> {
    world: &'a World,
    key: Key,
    flight: Arc<Flight<Value>>,
    ended: bool,
}

impl<'a> Lead<'a> {
    pub(crate) fn new(world: &'a World, key: Key, flight: Arc<Flight<Value>>) -> Self {
        Self {
            world,
            key,
            flight,
            ended: false,
        }
    }

    pub(crate) fn finish(mut self, value: &Arc<Value>) {
        self.ended = true;
        self.world.store.finish(&self.key, &self.flight, value);
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        if !self.ended {
            let store = &self.world.store;
            store.fail(&self.key, &self.flight, Outcome::Abandoned);
        }
    }
}

pub(crate) fn tag(row: Row) -> Tag {
    ("row", row)
}

fn at_least(value: &Value, floor: &Value) {
    let stale = value.iter().zip(floor).any(|(value, floor)| value < floor);
    assert!(!stale, "served {value:?} to a read that must see {floor:?}");
}
