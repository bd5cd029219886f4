//! Takes in events: pages of the outbox, and parked events that are due.
//!
//! ```text
//!   outbox ── page ──► filter ──► ledger: pending ──► attempts
//!   parked events ── due ──► fetched ──► filter ────► attempts
//! ```
//!
//! Owns the times of pages. Pure: the caller passes the time, and sends the requests.
//!
//! Guarantees:
//! - No more is read or fetched while the events that were taken in have reached the limits. Events of held-up slices do not
//!   count towards the limits of other slices.
//! - A parked event is fetched after everything that was to be written about it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::acknowledger::Acknowledger;
use super::command::{Command, Commands, Ledger};
use super::polling::Polling;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::filter::Filter;
use crate::group::job::{Disposition, Job, Origin, Park, Row};
use crate::group::options::DurableOptions;
use crate::group::requests::{Fetched, PageRead};
use crate::group::runner::ExecutionMode;
use crate::group::slices::{Slices, Turn};
use crate::group::store::{self, ParkedRow, Settlement};
use crate::handler::Task;
use crate::outbox::{Recorded, Share};
use crate::signal::{Resync, ResyncReason};

/// The most events that are taken in and not finished. At most this many are handled again after a crash.
const MAX_IN_FLIGHT: usize = 4_096;
/// The same for relays. Batches of many slices are large enough only if there are enough events, and none is handled again.
const MAX_RELAYED: usize = 16_384;
/// While those events take this many bytes, nothing more is read or fetched. One page and one fetch of parked events, of about 16
/// MiB each, may exceed it.
const MAX_BYTES_IN_FLIGHT: usize = 64 << 20;
/// The most bytes that a single event counts as, so that a very large event does not block other events.
const MAX_BYTES_OF_ONE: usize = MAX_BYTES_IN_FLIGHT / 2;
/// While this many rows have parked events, nothing new is read, and the node is not live. All of them are held in memory, because
/// later events of these rows have to wait.
const MAX_PARKED_ROWS: usize = 100_000;
/// The most parked events that are fetched at once.
const FETCH: usize = 512;
/// The reason of a resync if rows were trimmed before the group had read them.
pub(super) const TRIMMED: &str = "trimmed";
/// How long to wait until an event has been written to the parked events.
const UNWRITTEN: Duration = Duration::from_millis(20);

pub(super) struct Intake {
    options: Arc<DurableOptions>,
    filter: Filter,
    page_size: usize,
    max_in_flight: usize,
    mode: ExecutionMode,
    polling: Polling,
}

impl Intake {
    pub(super) fn new(
        options: Arc<DurableOptions>,
        filter: Filter,
        mode: ExecutionMode,
        polling: Polling,
    ) -> Self {
        Self {
            filter,
            page_size: page_size(mode, &options),
            max_in_flight: max_in_flight(mode),
            mode,
            options,
            polling,
        }
    }

    /// New connections: a page is due.
    pub(super) fn connected(&mut self, now: Instant) {
        self.polling.connected(now);
    }

    pub(super) fn on_wake_up(&mut self, now: Instant) {
        self.polling.on_wake_up(now);
    }

    pub(super) fn read_on(&mut self, now: Instant) {
        self.polling.read_on(now);
    }

    // Pages.

    /// Returns when to read, if the limits admit that. `bytes` are those of the jobs that are not finished.
    pub(super) fn next_read(&self, ledger: &Ledger, bytes: usize) -> Option<Instant> {
        let slices = &ledger.slices;
        let (held_up, _) = slices.held_up();
        let may_read = slices.kept() > 0
            && slices.pending() - held_up < self.max_in_flight
            && has_room(slices, bytes)
            && ledger.parked.rows() < MAX_PARKED_ROWS;
        may_read.then(|| self.polling.next())
    }

    /// Returns the next page to request, and its size.
    pub(super) fn next_page(&mut self, now: Instant, slices: &mut Slices) -> Option<(Turn, usize)> {
        let turn = slices.turn();
        match &turn {
            Some(_) => self.polling.requested(now),
            // There is nothing to read without slices.
            None => self.polling.have_read(now, false, true, 0),
        }
        Some((turn?, self.page_size))
    }

    pub(super) fn take_in(
        &mut self,
        page: PageRead,
        now: Instant,
        ledger: &mut Ledger,
        commands: &mut Commands,
    ) {
        let PageRead { turn, rows, events } = page;
        let span = Slices::span(&turn, &rows.cursor);
        if rows.is_gap
            && let Some(slice) = turn.share.slices.first()
        {
            self.note_gap(*slice, rows.cursor.closed(), now, ledger);
        }
        let is_empty = rows.rows.is_empty();
        let slices = &mut ledger.slices;
        for (row, event) in rows.rows.into_iter().zip(events) {
            let slice = Share::slice(row.hash, turn.share.of);
            let Some(epoch) = slices.accepts(&turn, slice, row.id) else {
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
            if let Some(number) = slices.take_in(slice, &span, row.id, weight(&row)) {
                commands.push(Command::Handle(Job {
                    slice,
                    epoch,
                    origin: Origin::Read(number),
                    row,
                    task: event.map(Task::Event).map_err(|(error, _)| error),
                    attempts: 0,
                }));
            }
        }
        slices.advance(&turn, &rows.cursor);
        if self.mode == ExecutionMode::Relayed {
            slices.note_complete(&turn, &rows.cursor, self.polling.polled_at());
        }
        self.polling
            .have_read(now, !is_empty, rows.is_last, slices.streams());
        commands.push(Command::Write);
    }

    /// Parks a resync, once for the group, because rows were trimmed before the group had read them.
    fn note_gap(&self, slice: i32, closed: i64, now: Instant, ledger: &mut Ledger) {
        let group = &*self.options.group;
        tracing::error!(
            group,
            reason = TRIMMED,
            intentional = false,
            "the outbox was trimmed before the group had read it: the group resyncs"
        );
        let row = Recorded::resync(-2 - closed, slice, TRIMMED);
        // Slices at different positions find the same loss one after the other, and the first one parks the resync. If that slice
        // is lost before the resync is written, its cursor has not passed the loss, and the next owner finds the loss again.
        if ledger.parked.knows(row.id) {
            return;
        }
        ledger.parked.park(&Row::of(&row), slice, row.id, now);
        ledger.slices.park(Park {
            slice,
            row,
            attempts: 0,
            error: None,
            disposition: Disposition::Due(Duration::ZERO),
        });
    }

    // Parked events.

    /// Returns when parked events are due, if the limits admit them.
    pub(super) fn next_fetch(&self, ledger: &Ledger, bytes: usize) -> Option<Instant> {
        let due = ledger.parked.next_due();
        due.filter(|_| has_room(&ledger.slices, bytes))
    }

    /// Returns the parked events to fetch now. Events that are not written yet cannot be fetched: they are due again later.
    pub(super) fn next_fetched(
        &self,
        now: Instant,
        acknowledger: &Acknowledger,
        ledger: &mut Ledger,
    ) -> Vec<(Row, i64)> {
        let Ledger { slices, parked } = ledger;
        let mut due = parked.give_out(now, FETCH);
        due.retain(|(row, id)| {
            let slice = parked.slice(row);
            let is_held_up = slice.is_some_and(|slice| acknowledger.is_held_up(slice));
            let is_unwritten = is_held_up || slices.is_parking(*id);
            if is_unwritten {
                let retry = slice.and_then(|slice| acknowledger.retry_at(slice));
                parked.put_back(row, *id, retry.unwrap_or(now) + UNWRITTEN);
            }
            !is_unwritten
        });
        due
    }

    pub(super) fn fetched(
        &self,
        fetched: Fetched,
        now: Instant,
        ledger: &mut Ledger,
        commands: &mut Commands,
    ) {
        let found = fetched.rows.into_iter().zip(fetched.events);
        let mut found: Vec<(ParkedRow, Result<Event>)> = found.collect();
        for (row, id) in fetched.requested {
            // Compare the row too: another slice may have parked a resync with the same id.
            let is_it =
                |(found, _): &(ParkedRow, _)| found.row.id == id && Row::of(&found.row) == row;
            let Some(index) = found.iter().position(is_it) else {
                match fetched.is_truncated {
                    true => ledger.parked.put_back(&row, id, now),
                    // An operator has discarded it.
                    false => ledger.parked.done(&row, id, now),
                }
                continue;
            };
            let (parked, event) = found.swap_remove(index);
            let slice = ledger.parked.slice(&row);
            let Some((slice, epoch)) =
                slice.and_then(|slice| Some((slice, ledger.slices.epoch(slice)?)))
            else {
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
                commands.push(Command::Handle(job));
            } else {
                ledger.parked.done(&row, id, now);
                let settlement = Settlement::of(&job, None);
                commands.extend([Command::Settle(settlement), Command::Write]);
            }
        }
    }

    /// Returns why the node is not live, if so many rows have parked events that it reads nothing new.
    pub(super) fn full(&self, ledger: &Ledger) -> Option<Error> {
        (ledger.parked.rows() >= MAX_PARKED_ROWS).then(|| {
            let message = format!(
                "{MAX_PARKED_ROWS} rows have parked events, so the consumer reads no new events of group {:?}: correct the cause of \
                 their failures, which `pgherald parked list` shows, then run `pgherald parked retry --all`",
                self.options.group
            );
            Error::new(ErrorKind::Parked, message)
        })
    }
}

/// Whether the byte limits admit more events. Events of held-up slices do not count, so that they do not block other slices.
fn has_room(slices: &Slices, bytes: usize) -> bool {
    let (_, held_up) = slices.held_up();
    bytes.saturating_sub(held_up) + slices.bytes() < MAX_BYTES_IN_FLIGHT
}

/// The bytes that an event adds to those in flight.
pub(super) fn weight(row: &Recorded) -> usize {
    row.bytes().min(MAX_BYTES_OF_ONE)
}

fn max_in_flight(mode: ExecutionMode) -> usize {
    match mode {
        ExecutionMode::Relayed => MAX_RELAYED,
        ExecutionMode::OneByOne | ExecutionMode::Transactional | ExecutionMode::Batches => {
            MAX_IN_FLIGHT
        }
    }
}

fn page_size(mode: ExecutionMode, options: &DurableOptions) -> usize {
    match mode {
        ExecutionMode::OneByOne | ExecutionMode::Transactional => 512,
        ExecutionMode::Batches => options.max_batch.clamp(512, MAX_IN_FLIGHT),
        ExecutionMode::Relayed => 2_048,
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
