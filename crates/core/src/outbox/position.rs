//! Positions of readers outside of this process: texts that a client stores with an event, and continues from.
//!
//! A cursor does not show changes that were made while no reader was connected and triggers were disabled. A position also
//! identifies what it is valid for, its *lineage*: the history of the outbox, and the triggers and structures of the watched tables.
//! If triggers were disabled for a while, or DDL has changed rows, no row of the outbox shows that, but the lineage differs. So a
//! reader continues from a position only if the lineage is the same, and otherwise reports a resync.
//!
//! ```text
//!   a1b2c3d4e5f6.0123456789ab.9f3c41d2a1b0c8e7.731:735:733.140.735.0.738:738:.151.738.0.147
//!   identity     start of     triggers and     cursor, as `Cursor` writes it
//!   of the outbox the server  structures
//! ```

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::cursor::{Cursor, Point, Reading};
use super::history::History;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::trigger::Check;

/// The hexadecimal digits that are taken of each identity. They are random, so 48 bits suffice to distinguish a few hundred.
const DIGITS: usize = 12;

/// What a position is valid for. Identities are shortened: see [`DIGITS`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lineage {
    /// The identity of the outbox.
    identity: Box<str>,
    /// The starts of the server, the newest last. The text of a position has the newest only.
    runs: Box<[Box<str>]>,
    /// A hash of the triggers and structures of the watched tables.
    tables: u64,
}

impl Lineage {
    pub(crate) fn new(history: &History, check: &Check) -> Self {
        let (identity, runs) = history.ids();
        // Programs may name the same tables in another order.
        let mut tables: Vec<_> = check.fingerprints().collect();
        tables.sort_unstable();
        let texts = tables
            .into_iter()
            .flat_map(|(triggers, rows)| [triggers, "\0", rows, "\0"]);
        Self {
            identity: digits(identity),
            runs: runs.iter().map(|run| digits(run)).collect(),
            tables: fnv1a(texts),
        }
    }

    /// Returns whether a reader may continue from `position`.
    pub(crate) fn continues(&self, position: &Position) -> bool {
        self.has_run_of(&position.lineage) && self.tables == position.lineage.tables
    }

    /// Returns whether `position` is from after a start of the server that this lineage does not have, and `history` has.
    pub(super) fn is_older_than(&self, position: &Position, history: &History) -> bool {
        !self.has_run_of(&position.lineage) && position.lineage.is_within(history)
    }

    /// Returns whether this server had all that readers of `before` have seen.
    fn has_run_of(&self, before: &Self) -> bool {
        let newest = before.runs.last();
        self.identity == before.identity && newest.is_some_and(|run| self.runs.contains(run))
    }

    /// Returns whether a source that has emitted everything up to `done` emits nothing more that a reader at `position` has had. True
    /// for another history, which may assign the ids of transactions a second time. A resync came before its first event.
    ///
    /// Each may be newer than the other: the source may have emitted its events before the server started again, and the replay to
    /// `position` may have read them after it.
    fn is_past(&self, position: &Position, done: &Point) -> bool {
        let Cursor {
            done: read,
            reading,
        } = &position.cursor;
        let last = reading.as_ref().map_or(read, |reading| &reading.to);
        let is_same_history =
            self.has_run_of(&position.lineage) || position.lineage.has_run_of(self);
        !is_same_history || last.snapshot.is_within(&done.snapshot)
    }

    /// Returns whether a server with this history has all that readers of this lineage have seen.
    pub(super) fn is_within(&self, history: &History) -> bool {
        let (identity, runs) = history.ids();
        let newest = self.runs.last();
        let is_newest = |run: &String| Some(&digits(run)) == newest;
        self.identity == digits(identity) && runs.iter().any(is_newest)
    }

    pub(super) fn at(self: &Arc<Self>, cursor: Cursor) -> Position {
        let lineage = Arc::clone(self);
        Position { lineage, cursor }
    }
}

fn digits(uuid: &str) -> Box<str> {
    let digits = uuid.chars().filter(char::is_ascii_hexdigit).take(DIGITS);
    digits.collect::<String>().into()
}

/// The hash FNV-1a, of 64 bits. Unlike the hashes of the standard library, it is the same in each version and process.
fn fnv1a<'a>(texts: impl Iterator<Item = &'a str>) -> u64 {
    let bytes = texts.flat_map(str::bytes);
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// A position in the stream of an outbox, for readers outside of this process.
///
/// `Display` and [`parse`](str::parse) convert it to text and back. The text has no spaces, and no characters that an address would
/// escape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    lineage: Arc<Lineage>,
    pub(crate) cursor: Cursor,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Lineage {
            identity,
            runs,
            tables,
        } = &*self.lineage;
        let run = runs.last().map_or("", |run| run);
        let cursor = self.cursor.to_string().replace(' ', ".");
        write!(f, "{identity}.{run}.{tables:016x}.{cursor}")
    }
}

impl FromStr for Position {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refuse = || Error::new(ErrorKind::Decode, "the text is not a position");
        let mut parts = text.splitn(4, '.');
        let mut part = || parts.next().ok_or_else(refuse);
        let (identity, run, tables, cursor) = (part()?, part()?, part()?, part()?);
        let lineage = Lineage {
            identity: identity.into(),
            runs: [run.into()].into(),
            tables: u64::from_str_radix(tables, 16).map_err(|_| refuse())?,
        };
        let cursor = cursor.replace('.', " ").parse().map_err(|_| refuse())?;
        Ok(Arc::new(lineage).at(cursor))
    }
}

/// The difference of which an event is a part. Its events share it.
#[derive(Debug)]
pub(crate) struct Span {
    pub(crate) lineage: Arc<Lineage>,
    pub(crate) done: Point,
    pub(crate) to: Point,
}

impl Span {
    /// The difference of a page that was read from `before` to `after`.
    pub(crate) fn between(lineage: Arc<Lineage>, before: &Cursor, after: &Cursor) -> Self {
        let reading = after.reading.as_ref().or(before.reading.as_ref());
        Self {
            lineage,
            done: before.done.clone(),
            to: reading.map_or_else(|| after.done.clone(), |reading| reading.to.clone()),
        }
    }

    /// The position after the row `id`, for a reader that has read everything up to `done`.
    fn position(&self, done: Point, id: i64) -> Position {
        let reading = Some(Reading {
            to: self.to.clone(),
            position: id,
        });
        self.lineage.at(Cursor { done, reading })
    }
}

/// Marks an event without keeping its values.
#[derive(Clone, Debug)]
pub struct Mark {
    span: Arc<Span>,
    id: i64,
}

impl Position {
    /// Returns whether a reader that continues from here has had the event.
    #[must_use]
    pub fn includes(&self, Mark { span, id }: &Mark) -> bool {
        let Cursor { done, reading } = &self.cursor;
        let has_span = span.to.snapshot.is_within(&done.snapshot);
        let is_past = |reading: &Reading| {
            done.is_at(&span.done) && reading.to.is_at(&span.to) && reading.position >= *id
        };
        has_span || reading.as_ref().is_some_and(is_past)
    }

    /// Returns what to do with an event of the source for a reader that is at this position. The source may be behind it, because
    /// replays have connections of their own.
    #[must_use]
    pub fn place(&self, event: &Event) -> Live {
        let (Some(span), Some(id)) = (event.span(), event.outbox_id()) else {
            return Live::Elsewhere;
        };
        if span.lineage.is_past(self, &span.done) {
            return Live::Beyond;
        }
        let Cursor { done, reading } = &self.cursor;
        let has = |xid| {
            let has_read =
                |reading: &Reading| reading.to.snapshot.has(xid) && reading.position >= id;
            done.snapshot.has(xid) || reading.as_ref().is_some_and(has_read)
        };
        let is_in_span = |reading: &Reading| done.is_at(&span.done) && reading.to.is_at(&span.to);
        match event.transaction_id() {
            Some(xid) if has(xid) => Live::Replayed,
            _ => Live::Overlapping(
                reading
                    .as_ref()
                    .is_none_or(is_in_span)
                    .then(|| span.position(done.clone(), id)),
            ),
        }
    }

    /// Returns this position in the lineage of `current`, a later position of the same history. A reader that has had the resyncs
    /// between both can continue from it.
    #[must_use]
    pub fn in_lineage_of(&self, current: &Self) -> Self {
        current.lineage.at(self.cursor.clone())
    }

    /// Returns whether a reader at this position has had its last span as a whole. That is so at the end of a replay.
    #[must_use]
    pub fn is_between_spans(&self) -> bool {
        self.cursor.reading.is_none()
    }
}

impl Event {
    /// Returns a mark, if a source has read the event from an outbox.
    pub(crate) fn mark(&self) -> Option<Mark> {
        let (span, id) = (Arc::clone(self.span()?), self.outbox_id()?);
        Some(Mark { span, id })
    }

    /// Returns the position after this event, if a source has read it from an outbox.
    pub(crate) fn position(&self) -> Option<Position> {
        let (span, id) = (self.span()?, self.outbox_id()?);
        Some(span.position(span.done.clone(), id))
    }
}

/// How far a source has emitted the outbox. The source writes it, any thread reads it.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// `None` while the source has lost its session.
    lineage: Option<Arc<Lineage>>,
    cursor: Option<Cursor>,
}

impl Progress {
    /// Returns the position after everything that the source has emitted. `None` while it has no session.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        let state = self.lock();
        Some(state.lineage.as_ref()?.at(state.cursor.clone()?))
    }

    /// Returns whether the source emits nothing more that a reader at `position` has had.
    #[must_use]
    pub fn is_past(&self, position: &Position) -> bool {
        let state = self.lock();
        match (&state.lineage, &state.cursor) {
            (Some(lineage), Some(cursor)) => lineage.is_past(position, &cursor.done),
            _ => false,
        }
    }

    /// The lineage of the current session.
    pub(crate) fn lineage(&self) -> Option<Arc<Lineage>> {
        self.lock().lineage.clone()
    }

    pub(crate) fn set_lineage(&self, lineage: Lineage) {
        let mut state = self.lock();
        if state.lineage.as_deref() != Some(&lineage) {
            // What the source has emitted before is not known to have been announced in this lineage.
            *state = State {
                lineage: Some(Arc::new(lineage)),
                cursor: None,
            };
        }
    }

    /// Everything up to `cursor` has been emitted.
    pub(crate) fn advance(&self, cursor: &Cursor) {
        self.lock().cursor = Some(cursor.clone());
    }

    /// The session was lost.
    pub(crate) fn lose(&self) {
        *self.lock() = State::default();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What to do with an event of the source for a reader that has had others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Live {
    /// The reader has had it.
    Replayed,
    /// The reader has not had it, but later events of its span. The position after it is this one, and not that of the event. `None` if
    /// no position describes what the reader has had.
    Overlapping(Option<Position>),
    /// The reader has had neither it nor any later event of the source.
    Beyond,
    /// Nothing is known of it, for example because it is from no outbox.
    Elsewhere,
}

#[cfg(test)]
mod tests {
    use super::Position;

    #[test]
    fn positions_convert_to_text_and_back() {
        for cursor in ["7:7:.0.7.0", "7:9:7.120.11.1.9:12:.140.12.2.133"] {
            let text = format!("a1b2c3d4e5f6.0123456789ab.9f3c41d2a1b0c8e7.{cursor}");
            assert_eq!(text.parse::<Position>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn texts_that_are_no_positions_are_refused() {
        for text in [
            "",
            "a.b.c",
            "a.b.0.7:7:.0.7",
            "a.b.x.7:7:.0.7.0",
            "a.b.0.7:7:,'.0.7.0",
            "a.b.0.7:7: 0 7 0 ",
        ] {
            text.parse::<Position>().unwrap_err();
        }
    }
}
