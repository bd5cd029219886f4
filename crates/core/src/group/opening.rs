//! Determines where a relay continues a slice that it has claimed.
//!
//! The position of a slice is stored in two places: in its last message at the destination (the *tip*), and later in the database.
//!
//! | the tip | the relay continues |
//! |---|---|
//! | is ahead of the cursor in the database | from the cursor of the tip |
//! | has the same cursor, and is not known to the database: an announcement | from that cursor |
//! | is the message that the database knows | from the cursor in the database, which may be ahead: a slice without events has no messages |
//! | is newer, but its cursor is earlier: a late batch of another relay | from the cursor in the database, skipping stored events |
//! | is missing, and the database knows none, or one that has expired by age | from the cursor in the database |
//! | is missing otherwise, older than the known one, or in another stream | from the cursor in the database, after a resync |
//! | is of another group, and newer than the message that the database knows | not at all: two groups store under one prefix |
//! | is of another group otherwise | from the cursor in the database, after a resync |
//! | belongs to an earlier history of the outbox | from the cursor in the database, skipping stored events |
//!
//! A group with another number of slices counts as another group.
//!
//! **Histories.** After a crash, PostgreSQL may assign transaction ids again. The snapshot in the tip's cursor may list such an id
//! as finished, although its first transaction never committed. So only the cursor in the database is reliable then. The messages
//! after the one that the database knows show which later events are stored. If the outbox still has such an event, it was
//! committed before the crash, and the relay skips it when it reads it again. If the outbox lacks one of them, the database was
//! restored to an earlier state, and the relay announces a resync. Until all of these events were read, each batch lists their
//! messages for the next relay.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use super::connections::Link;
use super::destination::{Destination, Identity, Known, Last, LastMessage, Mark, seconds};
use super::slices::Opening;
use crate::error::{Error, ErrorKind, Result};
use crate::outbox::{Cursor, History, stored_events};

/// The maximum number of events to skip. A relay has at most a few thousand in flight.
const MAX_LISTED: usize = 50_000;

/// The reason of a resync if another group has stored the messages of the slice. The keys may have been in other slices then.
pub(super) const OTHER_GROUP: &str = "other_group";

/// Where to continue a slice.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) cursor: Cursor,
    pub(super) incarnation: Arc<str>,
    /// The sequence of the slice's last message.
    pub(super) sequence: u64,
    /// When that message was stored, in seconds since 1970.
    pub(super) at: u64,
    /// Events that the cursor does not cover, but that are stored already.
    pub(super) skipped: HashMap<i64, Identity>,
    /// The range of messages that have these events.
    pub(super) listed: Option<(u64, u64)>,
    /// The reason of a resync, if changes may be missing at the destination.
    pub(super) resync: Option<&'static str>,
    /// The error if another group stores messages of the slice too. The relay then does not continue the slice.
    pub(super) contended: Option<Error>,
    /// See [`History::period`].
    pub(super) period: Arc<str>,
}

/// How the tip relates to the cursor in the database.
#[derive(Debug, PartialEq)]
enum Relation {
    /// Continue from the tip.
    Ahead(Box<Cursor>, Option<(u64, u64)>),
    /// Continue from the cursor in the database.
    Known,
    /// Continue from the cursor in the database, after a resync.
    Lost,
    /// Like `Lost`, because another group has stored the messages.
    OtherGroup,
    /// Do not continue, because this other group stores messages too.
    Contended((Arc<str>, i32)),
    /// Continue from the cursor in the database. The messages between these sequences show which events to skip.
    Unknown(u64, u64),
}

pub(super) async fn open(
    destination: Rc<impl Destination>,
    link: Arc<Link>,
    (group, history): ((Arc<str>, i32), History),
    opening: Opening,
) -> Result<Opened> {
    let slice = opening.slice;
    let last = destination.last(slice).await?;
    let known = opening.stored.as_deref().and_then(Known::parse);
    let message = last.message.as_ref();
    let sequence = message.map_or(0, |message| message.sequence);
    let mut opened = Opened {
        cursor: opening.cursor.clone(),
        incarnation: Arc::clone(&last.incarnation),
        sequence,
        at: stored_at(known.as_ref(), &last),
        skipped: HashMap::new(),
        listed: None,
        resync: None,
        contended: None,
        period: history.period().into(),
    };
    let is_same = known
        .as_ref()
        .is_some_and(|known| known.incarnation == last.incarnation);
    let listed_before = known
        .as_ref()
        .filter(|_| is_same)
        .and_then(|known| known.listed);
    let places = (&*destination, &link, slice);
    match relate(&opening.cursor, known.as_ref(), &last, (&group, &history)) {
        Relation::Ahead(cursor, listed) => {
            opened.cursor = *cursor;
            opened.skip(places, listed).await?;
        }
        Relation::Known => {
            opened.skip(places, listed_before).await?;
        }
        Relation::Lost => opened.resync = Some("destination_lost"),
        Relation::OtherGroup => opened.resync = Some(OTHER_GROUP),
        Relation::Contended(other) => {
            opened.contended = Some(contended(&destination.name(), &group, &other));
        }
        Relation::Unknown(first, end) => {
            opened.skip(places, listed_before).await?;
            let has_all = opened.skip(places, Some((first, end))).await?;
            let is_other = known.is_some() && !is_same;
            if !has_all || is_other {
                opened.resync = Some("restored");
            }
        }
    }
    Ok(opened)
}

/// Returns which of these events the outbox has.
async fn exist(link: Arc<Link>, events: Vec<Identity>) -> Result<Vec<Identity>> {
    let ids: Vec<i64> = events.iter().map(|one| one.id).collect();
    let rows = stored_events(&link.client, &ids).await?;
    let found: HashMap<i64, Identity> =
        rows.iter().map(|row| (row.id, Identity::of(row))).collect();
    let same = |one: &Identity| found.get(&one.id) == Some(one);
    Ok(events.into_iter().filter(same).collect())
}

/// Returns when the last message was stored, by the clock of the relay that stored it if the database has that time.
fn stored_at(known: Option<&Known>, last: &Last) -> u64 {
    let Some(LastMessage {
        sequence,
        stored_at,
        ..
    }) = last.message
    else {
        return seconds(SystemTime::now());
    };
    let is_it =
        |known: &&Known| known.incarnation == last.incarnation && known.sequence == sequence;
    known
        .filter(is_it)
        .map_or_else(|| seconds(stored_at), |known| known.at)
}

fn contended(place: &str, (group, _): &(Arc<str>, i32), other: &(Arc<str>, i32)) -> Error {
    let (other, slices) = other;
    let message = format!(
        "{place}: group {other:?} with {slices} slices has stored messages after those of group {group:?}, and two groups cannot \
         store under one prefix: give one of them another prefix or another stream; if group {other:?} no longer runs, delete \
         the messages under the prefix, and the relay announces a resync"
    );
    Error::new(ErrorKind::Destination, message)
}

fn relate(
    cursor: &Cursor,
    known: Option<&Known>,
    last: &Last,
    (group, history): (&(Arc<str>, i32), &History),
) -> Relation {
    let Some(LastMessage { sequence, mark, .. }) = &last.message else {
        return match known {
            None => Relation::Known,
            Some(known) if known.incarnation != last.incarnation => Relation::Lost,
            Some(known) if known.sequence == 0 || known.has_expired(last.max_age) => {
                Relation::Known
            }
            Some(_) => Relation::Lost,
        };
    };
    let is_same = known.is_some_and(|known| known.incarnation == last.incarnation);
    let is_newer = known.is_none_or(|known| !is_same || known.sequence < *sequence);
    if let Some(Mark { group: other, .. }) = mark
        && other != group
    {
        return match is_same && is_newer {
            true => Relation::Contended(other.clone()),
            false => Relation::OtherGroup,
        };
    }
    let tip = mark.as_ref().and_then(|mark| Tip::parse(mark, history));
    if let Some(Tip {
        cursor: at,
        continues: true,
        ..
    }) = &tip
        // An announcement does not move the cursor.
        && (at != cursor || is_newer)
        && at.check_follows(cursor).is_ok()
    {
        let listed = mark.as_ref().and_then(|mark| mark.listed);
        let at = at.clone().with_closing_of(cursor);
        return Relation::Ahead(Box::new(at), listed);
    }
    let first = match known {
        Some(known) if is_same => match known.sequence.cmp(sequence) {
            std::cmp::Ordering::Equal => return Relation::Known,
            std::cmp::Ordering::Greater => return Relation::Lost,
            std::cmp::Ordering::Less => known.sequence + 1,
        },
        _ => 1,
    };
    match tip {
        // The messages are from another outbox, so none of them has an event of this one.
        Some(Tip {
            is_same_outbox: false,
            ..
        }) => Relation::Lost,
        Some(Tip {
            continues: true, ..
        }) if !is_same => Relation::Lost,
        Some(_) | None => Relation::Unknown(first, *sequence),
    }
}

/// The position in a message.
struct Tip {
    cursor: Cursor,
    /// Whether the history of the outbox continues that of the cursor.
    continues: bool,
    is_same_outbox: bool,
}

impl Tip {
    /// Returns `None` for a message that no relay has written.
    fn parse(mark: &Mark, now: &History) -> Option<Self> {
        let then = History::parse(&mark.history)?;
        Some(Self {
            cursor: mark.cursor.parse().ok()?,
            continues: now.continues(&then),
            is_same_outbox: now.is_same_outbox(&then),
        })
    }
}

impl Opened {
    /// Returns the last message of the slice, to be written to the database.
    pub(super) fn known(&self) -> Known {
        Known {
            incarnation: Arc::clone(&self.incarnation),
            sequence: self.sequence,
            at: self.at,
            listed: self.listed,
        }
    }

    /// Skips the events of these messages, except for those that the cursor covers. If there are too many to list, it skips none,
    /// and the slice resyncs. Returns whether the outbox has all of the events.
    async fn skip(
        &mut self,
        (destination, link, slice): (&impl Destination, &Arc<Link>, i32),
        listed: Option<(u64, u64)>,
    ) -> Result<bool> {
        let Some((first, last)) = listed else {
            return Ok(true);
        };
        let stored = destination.stored(slice, (first, last), MAX_LISTED).await?;
        let Some(stored) = stored else {
            self.resync = Some("restored");
            return Ok(true);
        };
        let count = stored.len();
        let found = link.run(exist(Arc::clone(link), stored)).await?;
        let has_all = found.len() == count;
        let before = self.skipped.len();
        let unread = found
            .into_iter()
            .filter(|one| !self.cursor.has_read(one.xid, one.id));
        self.skipped.extend(unread.map(|one| (one.id, one)));
        if self.skipped.len() > before {
            let begin = self.listed.map_or(first, |(begin, _)| begin.min(first));
            self.listed = Some((begin, last));
        }
        Ok(has_all)
    }
}

#[cfg(test)]
mod tests;
