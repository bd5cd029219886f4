//! The state of a naive cache.

use std::collections::HashMap;

use tokio::sync::oneshot;

use super::Flaw;

#[derive(Default)]
pub(super) struct State {
    values: HashMap<i64, i64>,
    /// How often each key, and everything, was invalidated.
    epochs: HashMap<i64, u64>,
    flushes: u64,
    flights: HashMap<i64, Flight>,
    last_flight: u64,
    /// The number of applied events per transaction.
    seen: HashMap<u64, i64>,
}

/// A load with its waiters.
struct Flight {
    id: u64,
    epoch: Epoch,
    waiting: Vec<oneshot::Sender<i64>>,
}

pub(super) type Epoch = (u64, u64);

/// The outcome of a lookup.
pub(super) enum Found {
    Value(i64),
    Flight(oneshot::Receiver<i64>),
    /// A miss. The reader must load, in the flight with this id.
    Nothing(u64, Epoch),
}

impl State {
    fn epoch(&self, key: i64) -> Epoch {
        (self.epochs.get(&key).copied().unwrap_or(0), self.flushes)
    }

    pub(super) fn find(&mut self, key: i64, flaw: Flaw, blind: bool) -> Found {
        if let Some(value) = self.values.get(&key)
            && !blind
        {
            return Found::Value(*value);
        }
        let epoch = self.epoch(key);
        if let Some(flight) = self.flights.get_mut(&key)
            && (flight.epoch == epoch || flaw == Flaw::JoinsOlderLoads)
        {
            let (sender, receiver) = oneshot::channel();
            flight.waiting.push(sender);
            return Found::Flight(receiver);
        }
        self.last_flight += 1;
        let flight = Flight {
            id: self.last_flight,
            epoch,
            waiting: Vec::new(),
        };
        self.flights.insert(key, flight);
        Found::Nothing(self.last_flight, epoch)
    }

    /// Stores a loaded value, unless the key was invalidated since. With `overlook`, stores it nevertheless.
    pub(super) fn store(&mut self, key: i64, version: i64, since: Epoch, overlook: bool) {
        if overlook || self.epoch(key) == since {
            self.values.insert(key, version);
        }
    }

    /// Removes a flight unless it was replaced, and returns its waiters.
    pub(super) fn land(&mut self, key: i64, id: u64) -> Vec<oneshot::Sender<i64>> {
        match self.flights.get(&key) {
            Some(flight) if flight.id == id => self
                .flights
                .remove(&key)
                .map_or_else(Vec::new, |flight| flight.waiting),
            _ => Vec::new(),
        }
    }

    pub(super) fn invalidate(&mut self, key: i64, transaction: u64) {
        self.values.remove(&key);
        *self.epochs.entry(key).or_default() += 1;
        *self.seen.entry(transaction).or_default() += 1;
    }

    pub(super) fn flush(&mut self) {
        self.values.clear();
        self.flushes += 1;
    }

    pub(super) fn flushes(&self) -> u64 {
        self.flushes
    }

    pub(super) fn seen(&self, transaction: u64) -> i64 {
        self.seen.get(&transaction).copied().unwrap_or(0)
    }
}
