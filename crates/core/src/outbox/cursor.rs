//! Cursors: positions of readers of the outbox.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};

/// A position in the outbox. Store it to continue from there. It holds no connection and is cheap to clone.
///
/// `Display` and [`parse`](str::parse) convert it to text and back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Everything up to this point has been read.
    pub(crate) done: Point,
    /// The difference that is being read, if any.
    pub(crate) reading: Option<Reading>,
}

/// A point in the history of a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Point {
    /// The snapshot of visible transactions.
    pub(crate) snapshot: Snapshot,
    /// The last id taken, read shortly before the snapshot.
    pub(crate) floor: i64,
    /// A transaction id assigned shortly after the snapshot. Transactions from this id on had not begun, so their ids in the
    /// outbox are greater than `floor`.
    pub(crate) begun: Arc<str>,
    /// The last visible closing of a part.
    pub(crate) closed: i64,
}

/// A difference that has been read in part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    /// The end of the difference.
    pub(crate) to: Point,
    /// The last id that has been read.
    pub(crate) position: i64,
}

impl Cursor {
    /// Returns the cursor before all rows. Rows up to the closing `trimmed` are already gone.
    pub(crate) fn beginning(trimmed: i64) -> Self {
        let done = Point {
            // No transaction was visible in it.
            snapshot: Snapshot("1:1:".into()),
            floor: 0,
            begun: "1".into(),
            closed: trimmed,
        };
        Self {
            done,
            reading: None,
        }
    }
}

impl Cursor {
    /// Fails if this cursor is behind `before`, an earlier cursor of the same reader, because events in between would be
    /// handled again. Closings are not compared: slices that are read together may have seen different ones.
    pub(crate) fn check_follows(&self, before: &Self) -> Result<()> {
        let is_forward = match self.done.is_at(&before.done) {
            true => self.position() >= before.position(),
            false => {
                self.done.floor >= before.done.floor
                    && before.done.snapshot.is_within(&self.done.snapshot)
            }
        };
        match is_forward {
            true => Ok(()),
            false => Err(went_back(&format!("the cursor is {self} after {before}"))),
        }
    }

    /// Returns the same position, with the later closing of both cursors. A closing that has been read stays read.
    pub(crate) fn with_closing_of(mut self, other: &Self) -> Self {
        let closed = self.done.closed.max(other.done.closed);
        self.done.closed = closed;
        if let Some(reading) = &mut self.reading {
            reading.to.closed = reading.to.closed.max(closed);
        }
        self
    }

    /// Returns whether a reader at this cursor has read a row. A row without a transaction is not read.
    pub(crate) fn has_read(&self, xid: Option<u64>, id: i64) -> bool {
        let Some(xid) = xid else {
            return true;
        };
        let is_in = |reading: &Reading| reading.to.snapshot.has(xid) && id <= reading.position;
        self.done.snapshot.has(xid) || self.reading.as_ref().is_some_and(is_in)
    }

    /// Returns the last id that was read of the current difference.
    pub(crate) fn position(&self) -> Option<i64> {
        self.reading.as_ref().map(|reading| reading.position)
    }

    /// Returns the last closing of a part that is known to have been read.
    pub(crate) fn closed(&self) -> i64 {
        self.done.closed
    }

    /// Returns whether both cursors are in the same difference, at any position in it.
    pub(crate) fn is_in_step_with(&self, other: &Self) -> bool {
        let same_end = match (&self.reading, &other.reading) {
            (Some(reading), Some(other)) => reading.to.is_at(&other.to),
            (None, None) => true,
            _ => false,
        };
        same_end && self.done.is_at(&other.done)
    }
}

impl Reading {
    /// Starts a difference that ends at `to`.
    pub(crate) fn of(to: Point) -> Self {
        Self {
            to,
            position: i64::MIN,
        }
    }
}

impl Point {
    /// Returns whether more is visible at `other` than at this point.
    pub(crate) fn is_before(&self, other: &Self) -> bool {
        self.snapshot.is_before(&other.snapshot)
    }

    /// Fails if any component is behind `before`, an earlier point, because reading the difference relies on their order. A
    /// component goes back if the database was restored, or a sequence was set back.
    pub(crate) fn check_follows(&self, before: &Self) -> Result<()> {
        let begun = |point: &Self| point.begun.parse::<u64>().unwrap_or_default();
        let follows = self.floor >= before.floor
            && self.closed >= before.closed
            && begun(self) >= begun(before)
            && before.snapshot.is_within(&self.snapshot);
        match follows {
            true => Ok(()),
            false => Err(went_back(&format!(
                "snapshot, floor, transaction and closing are {self} after {before}"
            ))),
        }
    }

    /// Returns whether both are the same point, except for closings.
    pub(crate) fn is_at(&self, other: &Self) -> bool {
        self.floor == other.floor && self.begun == other.begun && self.snapshot == other.snapshot
    }

    /// Returns whether a transaction may have been running that was not visible.
    pub(crate) fn leaves_some_open(&self) -> bool {
        // xmin:xmax:xip
        let snapshot = self.snapshot.as_str();
        !snapshot.ends_with(':') || snapshot.split(':').nth(1) != Some(&*self.begun)
    }

    fn parse(words: &[&str]) -> Option<Self> {
        let [snapshot, floor, begun, closed] = words else {
            return None;
        };
        Some(Self {
            snapshot: Snapshot::parse(snapshot)?,
            floor: floor.parse().ok()?,
            begun: (is_number(begun) && begun.parse::<u64>().is_ok()).then(|| (*begun).into())?,
            closed: closed.parse().ok()?,
        })
    }
}

/// Makes the error for a position that may only move forward but has gone back.
pub(super) fn went_back(what: &str) -> Error {
    Error::new(ErrorKind::History, format!("the outbox went back: {what}"))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A `pg_snapshot`, as PostgreSQL writes it: `xmin:xmax:xip,xip,…`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Snapshot(Arc<str>);

impl Snapshot {
    /// Parses a snapshot as strictly as PostgreSQL does: `0 < xmin <= xmax`, and the open transactions are between them, in
    /// order.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let number = |text: &str| -> Option<u64> { is_number(text).then(|| text.parse().ok())? };
        let mut parts = text.split(':');
        let (xmin, xmax, open) = (parts.next()?, parts.next()?, parts.next()?);
        let (xmin, xmax) = (number(xmin)?, number(xmax)?);
        let mut last = xmin;
        for xid in open.split(',').filter(|_| !open.is_empty()) {
            let xid = number(xid)?;
            if xid < last || xid >= xmax {
                return None;
            }
            last = xid;
        }
        (parts.next().is_none() && xmin > 0 && xmin <= xmax).then(|| Self(text.into()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Snapshot {
    /// Returns `xmax` and `xip`.
    fn numbers(&self) -> (u64, impl Iterator<Item = u64>) {
        // `parse` has checked the text.
        let mut parts = self.0.splitn(3, ':').skip(1);
        let xmax = parts.next().and_then(|xmax| xmax.parse().ok());
        let open = parts.next().unwrap_or_default().split(',');
        let open = open.filter_map(|xid| xid.parse().ok());
        (xmax.unwrap_or_default(), open)
    }

    /// Returns whether the effects of a transaction are visible.
    pub(crate) fn has(&self, xid: u64) -> bool {
        let (xmax, mut open) = self.numbers();
        xid < xmax && open.all(|other| other != xid)
    }

    /// Returns whether everything visible in this snapshot is visible in `other`. Of two snapshots of one server, at least
    /// one is within the other.
    pub(crate) fn is_within(&self, other: &Self) -> bool {
        let (xmax, open) = self.numbers();
        let open: HashSet<u64> = open.collect();
        let (other_xmax, mut other_open) = other.numbers();
        xmax <= other_xmax && other_open.all(|xid| xid >= xmax || open.contains(&xid))
    }

    /// Returns whether more is visible in `other` than in this snapshot.
    pub(crate) fn is_before(&self, other: &Self) -> bool {
        self.is_within(other) && !other.is_within(self)
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            snapshot,
            floor,
            begun,
            closed,
        } = self;
        write!(f, "{snapshot:?} {floor} {begun} {closed}")
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.done.fmt(f)?;
        match &self.reading {
            Some(reading) => write!(f, " {} {}", reading.to, reading.position),
            None => Ok(()),
        }
    }
}

impl std::str::FromStr for Cursor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refuse = || {
            let message = format!("{text:?} is not a cursor of the outbox");
            Error::new(ErrorKind::Decode, message)
        };
        let words: Vec<&str> = text.split(' ').collect();
        let (done, rest) = words.split_at_checked(4).ok_or_else(refuse)?;
        let reading = match rest.split_last() {
            None => None,
            Some((position, to)) => Some(Reading {
                to: Point::parse(to).ok_or_else(refuse)?,
                position: position.parse().map_err(|_| refuse())?,
            }),
        };
        Ok(Self {
            done: Point::parse(done).ok_or_else(refuse)?,
            reading,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Cursor;
    use crate::ErrorKind;

    #[test]
    fn cursors_convert_to_text_and_back() {
        for text in [
            "7:7: 0 7 0",
            "7:9:7,8 120 11 1",
            "7:9:7 120 11 1 9:12: 140 12 2 133",
        ] {
            let cursor: Cursor = text.parse().unwrap();
            assert_eq!(cursor.to_string(), text);
        }
    }

    #[test]
    fn snapshots_are_ordered() {
        let snapshot = |text| super::Snapshot::parse(text).unwrap();
        for (earlier, later) in [
            ("7:9:7,8", "8:9:8"),
            ("7:9:7,8", "9:9:"),
            ("7:9:7", "7:12:7,10"),
            ("1:1:", "7:9:7"),
        ] {
            let (earlier, later) = (snapshot(earlier), snapshot(later));
            assert!(earlier.is_before(&later));
            assert!(!later.is_before(&earlier) && !earlier.is_before(&earlier));
        }
    }

    #[test]
    fn rows_behind_a_cursor_were_read() {
        let cursor: Cursor = "7:9:7 120 11 1 9:12:10 140 12 2 133".parse().unwrap();
        for (xid, id) in [(6, 500), (8, 500), (7, 133), (9, 133), (11, 20)] {
            assert!(cursor.has_read(Some(xid), id), "{xid} {id}");
        }
        for (xid, id) in [(7, 134), (9, 134), (10, 20), (12, 20)] {
            assert!(!cursor.has_read(Some(xid), id), "{xid} {id}");
        }
        assert!(cursor.has_read(None, 500));
    }

    #[test]
    fn a_cursor_behind_an_earlier_one_is_a_history_error() {
        let ascending = [
            "1:1: 0 1 0",
            "7:9:7 120 11 1",
            "7:9:7 120 11 0 9:12: 140 12 2 121",
            "7:9:7 120 11 1 9:12: 140 12 2 133",
            "9:12: 140 12 2",
        ];
        let cursors = ascending.map(|text| text.parse::<Cursor>().unwrap());
        for (index, earlier) in cursors.iter().enumerate() {
            for later in &cursors[index..] {
                later.check_follows(earlier).unwrap();
            }
            for later in &cursors[..index] {
                assert_eq!(
                    later.check_follows(earlier).unwrap_err().kind(),
                    ErrorKind::History
                );
            }
        }
    }

    #[test]
    fn invalid_cursors_are_refused() {
        for text in [
            "",
            "7:7: 0 7",
            "7:7:x 0 7 0",
            "7:7 0 7 0",
            "7:7: x 7 0",
            "7:7: 0 -7 0",
            "7:7: 0 7 x",
            "7:7: 0 7 0 9:9:",
            "7:7: 0 7 0 9:9: 0 9 0",
            "7:7:,' 0 7 0",
            "7:7:8, 0 7 0",
            "9:7: 0 7 0",
            "0:7: 0 7 0",
            "7:9:9 0 7 0",
            "7:9:8,7 0 7 0",
            "7:99999999999999999999: 0 7 0",
            "7:7: 0 99999999999999999999 0",
        ] {
            let error = text.parse::<Cursor>().unwrap_err();
            assert!(error.to_string().contains("cursor"), "{text}: {error}");
        }
    }
}
