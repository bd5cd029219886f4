//! Takes in events: pages of the outbox, and parked events that are due.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::{Engine, MOST_IN_FLIGHT, State, track, weight};
use crate::error::Result;
use crate::event::Event;
use crate::group::job::{Disposition, Job, Origin, Park, Row};
use crate::group::options::DurableOptions;
use crate::group::runner::{ExecutionMode, Runner};
use crate::group::session::{Fetched, Page};
use crate::group::slices::Slices;
use crate::group::store::{self, ParkedRow};
use crate::handler::Task;
use crate::outbox::{Recorded, Share};
use crate::signal::{Resync, ResyncReason};

/// The most parked events that are fetched at once.
const FETCH: usize = 100;
/// How long to wait until an event has been written to the parked events.
const UNWRITTEN: Duration = Duration::from_millis(20);

impl<R: Runner> Engine<R> {
    /// Requests the next page.
    pub(super) fn read(&mut self, now: Instant) {
        let may_read = self.may_read();
        let State::Open(session) = &mut self.state else {
            return;
        };
        if !may_read || !session.may_read(now) {
            return;
        }
        match self.slices.turn() {
            Some(turn) => session.read(turn, page_size(R::MODE, &self.options)),
            // There is nothing to read without slices.
            None => session.have_read(false, true, 0),
        }
    }

    pub(super) fn take_in(&mut self, page: Page) {
        let Page { turn, rows, events } = page;
        let span = Slices::span(&turn, &rows.cursor);
        if rows.is_gap
            && let Some(slice) = turn.share.slices.first()
        {
            self.note_gap(*slice, rows.cursor.closed());
        }
        let is_empty = rows.rows.is_empty();
        for (row, event) in rows.rows.into_iter().zip(events) {
            let slice = Share::slice(row.hash, turn.share.of);
            let Some(epoch) = self.slices.accepts(&turn, slice, row.id) else {
                continue;
            };
            let is_selected = match &event {
                Ok(event) => self.filter.matches(event),
                Err((_, Some(table))) => self.filter.wants_table(table),
                Err((_, None)) => true,
            };
            if !is_selected {
                continue;
            }
            if let Some(number) = self.slices.take_in(slice, &span, row.id, weight(&row)) {
                self.push(Job {
                    slice,
                    epoch,
                    origin: Origin::Read(number),
                    row,
                    task: event.map(Task::Event).map_err(|(error, _)| error),
                    attempts: 0,
                });
            }
        }
        self.slices.advance(&turn, &rows.cursor);
        let streams = self.slices.streams();
        self.note_progress();
        if let Some(session) = self.session() {
            session.have_read(!is_empty, rows.is_last, streams);
        }
    }

    /// Parks a resync, once for the group, because rows were trimmed before the group had read them.
    fn note_gap(&mut self, slice: i32, closed: i64) {
        let group = &*self.options.group;
        tracing::error!(
            group,
            reason = "trimmed",
            intentional = false,
            "the outbox was trimmed before the group had read it: the group resyncs"
        );
        let row = Recorded::resync(-2 - closed, slice, "trimmed");
        // Slices at different positions find the same loss one after the other, and the first one parks the resync. If that slice
        // is lost before the resync is written, its cursor has not passed the loss, and the next owner finds the loss again.
        if self.parked.knows(row.id) {
            return;
        }
        let lane = Row::new(row.relation, row.key.clone());
        self.parked.park(&lane, slice, row.id, Instant::now());
        self.slices.park(Park {
            slice,
            row,
            attempts: 0,
            error: None,
            disposition: Disposition::Due(Duration::ZERO),
        });
    }

    /// Requests the parked events that are due.
    pub(super) fn fetch(&mut self, now: Instant) {
        let may_fetch = self.may_fetch(now) && self.parked.next_due().is_some_and(|due| due <= now);
        let State::Open(session) = &mut self.state else {
            return;
        };
        if !may_fetch {
            return;
        }
        // Write settlements first, so that the fetched state of an event is not older than the state in memory.
        if !self.settlements.is_empty() || session.is_settling() {
            return session.acknowledge_now();
        }
        if !session.may_fetch() {
            return;
        }
        // Events that are not written yet cannot be fetched.
        let due = self.parked.give_out(now, FETCH).into_iter();
        let (early, due): (Vec<_>, Vec<_>) = due.partition(|(row, id)| {
            let slice = self.parked.slice(row);
            slice.is_some_and(|slice| self.held_up.contains_key(&slice))
                || self.slices.is_parking(*id)
        });
        for (row, id) in early {
            let slice = self.parked.slice(&row);
            let held_up = slice.and_then(|slice| self.held_up.get(&slice));
            let until = held_up.and_then(|held_up| held_up.until).unwrap_or(now);
            self.parked.put_back(&row, id, until + UNWRITTEN);
        }
        if !due.is_empty() {
            session.fetch(due, self.slices.numbers());
        }
    }

    pub(super) fn fetched(
        &mut self,
        Fetched {
            requested,
            rows,
            events,
            is_truncated,
        }: Fetched,
    ) {
        let now = Instant::now();
        let mut found: Vec<(ParkedRow, Result<Event>)> = rows.into_iter().zip(events).collect();
        for (row, id) in requested {
            // Compare the row too: another slice may have parked a resync with the same id.
            let is_it = |(found, _): &(ParkedRow, _)| {
                found.row.id == id && Row::new(found.row.relation, found.row.key.clone()) == row
            };
            let Some(index) = found.iter().position(is_it) else {
                match is_truncated {
                    true => self.parked.put_back(&row, id, now),
                    // An operator has discarded it.
                    false => self.parked.done(&row, id, now),
                }
                continue;
            };
            let (parked, event) = found.swap_remove(index);
            let Some((slice, epoch)) = self.parked.slice(&row).and_then(|slice| {
                let epoch = self.slices.epoch(slice)?;
                Some((slice, epoch))
            }) else {
                continue;
            };
            let task = match parked.row.resync_reason() {
                Some(reason) => Ok(Task::Resync(Resync::new(reason))),
                None => event.map(Task::Event),
            };
            let is_selected = match &task {
                Ok(Task::Event(event)) => !parked.is_unfiltered || self.filter.matches(event),
                Ok(Task::Resync(_)) | Err(_) => true,
            };
            let job = Job {
                slice,
                epoch,
                origin: Origin::Parked,
                row: parked.row,
                task,
                attempts: parked.attempts,
            };
            if is_selected {
                self.push(job);
            } else {
                self.parked.done(&row, id, now);
                self.settle(&job, None);
                self.note_progress();
            }
        }
    }

    pub(super) fn push(&mut self, job: Job) {
        self.bytes += weight(&job.row);
        self.schedule.push(Some(track(R::MODE, &job)), job);
    }
}

fn page_size(mode: ExecutionMode, options: &DurableOptions) -> usize {
    match mode {
        ExecutionMode::OneByOne | ExecutionMode::Transactional => 512,
        ExecutionMode::Batches => options.max_batch.clamp(512, MOST_IN_FLIGHT),
    }
}

impl Recorded {
    /// Returns the outbox row of a resync.
    pub(in crate::group) fn resync(id: i64, slice: i32, reason: &str) -> Self {
        Self {
            id,
            xid: None,
            sent_at: SystemTime::now(),
            // It belongs to no table. Each slice has a resync row of its own.
            relation: -i64::from(slice),
            hash: 0,
            operation: store::RESYNC,
            key: Some(reason.into()),
            columns: None,
            old_columns: None,
            changed: None,
            problem: None,
        }
    }

    /// Returns the reason if this is a resync.
    fn resync_reason(&self) -> Option<ResyncReason> {
        (self.operation == store::RESYNC).then(|| match self.key.as_deref() {
            Some("started") => ResyncReason::Started,
            Some("restored") => ResyncReason::Restored,
            Some("triggers_restored") => ResyncReason::TriggersRestored,
            Some("table_altered") => ResyncReason::TableAltered,
            _ => ResyncReason::Trimmed,
        })
    }
}
