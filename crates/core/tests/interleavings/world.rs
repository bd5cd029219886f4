//! A database in memory, a store of what was read from it, and what readers must see.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Mutex as Plain;
use std::sync::atomic::AtomicU64 as Counter;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use shuttle::future::block_on;
use shuttle::rand::{Rng, thread_rng};

use crate::store::{Accept, Begin, Flight, FlightId, Found, Outcome, Stale, Store, StoreTerms};
use crate::sync::{Arc, AtomicU64, now};

pub(crate) type Key = u8;
pub(crate) type Row = u8;

/// With another hash than a key.
pub(crate) type Tag = (&'static str, Row);

/// The versions of the rows that a key depends on.
pub(crate) type Value = Vec<u64>;

pub(crate) const KEEP: Duration = Duration::from_secs(10);

/// Everything that is not the store's or the database's own is known without a switch.
pub(crate) struct World {
    pub(crate) store: Store<Key, Value, Tag>,
    pub(crate) keys: &'static [&'static [Row]],
    rows: Vec<History>,
    keep: Option<Duration>,
    /// For each flight: how many changes of its key's rows had been announced, when it had been registered.
    begun: Plain<BTreeMap<FlightId, Value>>,
    pub(crate) loads: Counter,
    /// How often a reader was asked to see to a new value.
    pub(crate) asked: Counter,
}

/// Of one row, whose changes have one author.
struct History {
    /// What the database has.
    version: AtomicU64,
    /// The version of which the store was about to be told.
    announced: Counter,
    /// The versions of which the store had been told, and when.
    applied: Plain<Vec<Instant>>,
}

/// How the store learns of a change.
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

/// What a reader got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Got {
    Valid,
    Stale,
    Failed,
}

impl World {
    /// With keys 0, 1, ... that depend on these rows.
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
            store: Store::new(StoreTerms {
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

    /// A task of its own in this world.
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

    /// The least that a read which begins now may see.
    pub(crate) fn floor(&self, key: Key) -> Value {
        self.of_rows(key, |row| row.applied.lock().unwrap().len() as u64)
    }

    /// What is in the database.
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

    /// Puts in what was read after a moment.
    pub(crate) fn insert(&self, key: Key) -> bool {
        let moment = self.store.moment();
        let value = Arc::new(self.query(key));
        self.store.insert(moment, &key, &value, self.tags(key))
    }

    pub(crate) fn read(&self, key: Key) -> Got {
        self.read_with(key, || Load::Succeeds)
    }

    /// As `CacheHandle::get_or_load` does it, with every answer looked at.
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
                        // As `refresh` does it.
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
                    // This one went away; another one comes.
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

    /// Reads, and does what else readers do, at random. The store keeps to its capacity.
    pub(crate) fn some_reads(&self, capacity: usize) {
        for _ in 0..4 {
            let key: Key = thread_rng().gen_range(0..4);
            match thread_rng().gen_range(0..6) {
                0 => _ = self.insert(key),
                1 => _ = self.store.expire(0),
                2 => {
                    // A reader that goes away is not asked back.
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
                    // What had been applied before the read began was announced before the flight did.
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

    /// Loads, and ends the flight; [`Got::Stale`] stands for going away here.
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

    /// A value may be served for a while after it was invalidated.
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

    /// After everything that was committed has been announced, and nothing is going on.
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

/// The duty to end a flight, as in the library.
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
