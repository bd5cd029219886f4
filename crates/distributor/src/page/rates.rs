//! Counts events per table, in slots of five seconds, for the last five minutes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use pgherald_core::Event;
use serde::Serialize;

/// The length of a slot.
pub(super) const SLOT: Duration = Duration::from_secs(5);
/// Slots that are kept, including the current one.
const SLOTS: usize = 60;
/// Tables that have rates of their own.
const TABLES: usize = 64;

#[derive(Debug)]
pub(super) struct Rates {
    started: Instant,
    tables: Vec<Series>,
    /// The events of further tables.
    others: u64,
}

#[derive(Debug)]
struct Series {
    schema: Option<String>,
    table: String,
    total: u64,
    /// The number of the last of the slots.
    current: u64,
    /// The oldest slot first.
    slots: VecDeque<Slot>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Slot {
    events: u64,
    latency: Duration,
    highest: Duration,
}

/// The rates of all tables.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    slot_seconds: u64,
    tables: Vec<Table>,
    /// Events of tables that are not listed.
    others: u64,
}

/// The slots of a table. All lists have the oldest slot first, and the current, incomplete one last.
#[derive(Debug, Serialize)]
struct Table {
    table: String,
    total: u64,
    events: Vec<u64>,
    /// In milliseconds; 0 for a slot without events.
    mean_latency: Vec<f64>,
    highest_latency: Vec<f64>,
}

impl Rates {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            started: now,
            tables: Vec::new(),
            others: 0,
        }
    }

    pub(super) fn on_events(&mut self, events: &[Event], now: Instant) {
        let current = self.slot(now);
        for event in events {
            match self.series(event.schema(), event.table(), current) {
                Some(series) => series.add(event.latency(), current),
                None => self.others += 1,
            }
        }
    }

    /// Returns the series of a table. There are few, so they are searched.
    fn series(&mut self, schema: Option<&str>, table: &str, current: u64) -> Option<&mut Series> {
        let is_it = |one: &Series| one.table == table && one.schema.as_deref() == schema;
        let index = match self.tables.iter().position(is_it) {
            Some(index) => index,
            None if self.tables.len() < TABLES => {
                self.tables.push(Series {
                    schema: schema.map(str::to_owned),
                    table: table.to_owned(),
                    total: 0,
                    current,
                    slots: [Slot::default()].into(),
                });
                self.tables.len() - 1
            }
            None => return None,
        };
        self.tables.get_mut(index)
    }

    fn slot(&self, now: Instant) -> u64 {
        now.duration_since(self.started).as_secs() / SLOT.as_secs()
    }

    /// Returns the rates, the table with the most events in the last minutes first.
    pub(super) fn report(&mut self, now: Instant) -> Report {
        let current = self.slot(now);
        let mut tables: Vec<_> = self
            .tables
            .iter_mut()
            .map(|one| one.report(current))
            .collect();
        tables.sort_by_cached_key(|one| {
            let recent: u64 = one.events.iter().sum();
            (std::cmp::Reverse(recent), one.table.clone())
        });
        Report {
            slot_seconds: SLOT.as_secs(),
            tables,
            others: self.others,
        }
    }
}

impl Series {
    fn add(&mut self, latency: Duration, current: u64) {
        self.advance(current);
        self.total += 1;
        if let Some(slot) = self.slots.back_mut() {
            slot.events += 1;
            slot.latency += latency;
            slot.highest = slot.highest.max(latency);
        }
    }

    /// Adds empty slots up to the current one.
    fn advance(&mut self, current: u64) {
        let missing = current.saturating_sub(self.current);
        for _ in 0..missing.min(SLOTS as u64) {
            if self.slots.len() == SLOTS {
                self.slots.pop_front();
            }
            self.slots.push_back(Slot::default());
        }
        self.current = self.current.max(current);
    }

    fn report(&mut self, current: u64) -> Table {
        self.advance(current);
        let millis = |duration: Duration| duration.as_secs_f64() * 1_000.0;
        #[expect(clippy::cast_precision_loss, reason = "means are floats")]
        let mean = |slot: &Slot| millis(slot.latency) / slot.events.max(1) as f64;
        Table {
            table: match &self.schema {
                Some(schema) => format!("{schema}.{}", self.table),
                None => self.table.clone(),
            },
            total: self.total,
            events: self.slots.iter().map(|slot| slot.events).collect(),
            mean_latency: self.slots.iter().map(mean).collect(),
            highest_latency: self.slots.iter().map(|slot| millis(slot.highest)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant, SystemTime};

    use pgherald_core::{Event, Operation};

    use super::{Rates, SLOT, SLOTS, TABLES};

    fn event(table: &str, latency: u64) -> Event {
        let sent = SystemTime::now();
        Event::builder("public", table, Operation::Insert)
            .sent_at(sent)
            .received_at(sent + Duration::from_millis(latency))
            .build()
    }

    #[test]
    fn events_are_counted_in_the_slot_of_their_time() {
        let start = Instant::now();
        let mut rates = Rates::new(start);
        rates.on_events(&[event("a", 10), event("a", 30)], start);
        rates.on_events(&[event("a", 5)], start + 3 * SLOT);
        let report = rates.report(start + 4 * SLOT);
        let table = &report.tables[0];
        assert_eq!(table.table, "public.a");
        assert_eq!((table.total, &*table.events), (3, &[2, 0, 0, 1, 0][..]));
        assert_eq!(table.mean_latency[0].round(), 20.0);
        assert_eq!(table.highest_latency[0].round(), 30.0);
    }

    #[test]
    fn slots_and_tables_are_bounded() {
        let start = Instant::now();
        let mut rates = Rates::new(start);
        for table in 0..=TABLES {
            rates.on_events(&[event(&table.to_string(), 0)], start);
        }
        let later = start + Duration::from_secs(86_400);
        rates.on_events(&[event("7", 0)], later);
        let report = rates.report(later);
        assert_eq!((report.tables.len(), report.others), (TABLES, 1));
        let busiest = &report.tables[0];
        assert_eq!((&*busiest.table, busiest.total), ("public.7", 2));
        assert_eq!(busiest.events.len(), SLOTS);
        assert_eq!(busiest.events.iter().sum::<u64>(), 1);
    }
}
