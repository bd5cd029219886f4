//! Where relays store events: the contract between the engine and a destination.
//!
//! A relay is a group whose consumers store each event in a destination, such as a stream of NATS, instead of running a handler.
//! The destination keeps the messages of a slice in order. It stores a batch as a whole or not at all, and only if the last message
//! of the slice is still the expected one. So the position of a slice is stored with the events, and the condition fences a
//! consumer that was suspended for longer than its lease.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::LocalBoxFuture;
use tokio::time::Instant;

use crate::error::{Error, Result};
use crate::event::Event;
use crate::name::TableName;

/// The share of the limits from which on a destination is nearly full.
const NEARLY_FULL: f64 = 0.8;

/// Stores the messages of slices.
pub trait Destination: 'static {
    /// Returns a description of the destination. The group stores it, because a group has one destination.
    fn name(&self) -> String;

    /// Returns the maximum number of messages in a batch.
    fn max_batch(&self) -> usize;

    /// Reads the state of the destination. The response must not be older than the request.
    fn state(&self) -> LocalBoxFuture<'static, Result<State>>;

    /// Reads the last message of a slice. The response must not be older than the request.
    fn last(&self, slice: i32) -> LocalBoxFuture<'static, Result<Last>>;

    /// Reads the identities of the events that a slice has between two sequences, both included. Returns `None` if there are more
    /// than `limit`.
    fn stored(
        &self,
        slice: i32,
        sequences: (u64, u64),
        limit: usize,
    ) -> LocalBoxFuture<'static, Result<Option<Vec<Identity>>>>;

    /// Stores a batch.
    fn store(&self, batch: Batch) -> LocalBoxFuture<'static, Outcome>;

    /// Receives the slices of this consumer, a few times a second.
    fn observe(&self, slices: Vec<SliceState>);
}

/// The state of a destination.
#[derive(Clone, Debug)]
pub struct State {
    /// As [`Last::incarnation`].
    pub incarnation: Arc<str>,
    /// The greatest sequence that a message has ever had.
    pub sequence: u64,
    /// The share of its limits that is in use, from 0 to 1. `None` if it does not refuse messages when it is full.
    pub usage: Option<f64>,
    /// The least sequence of a message.
    pub first: u64,
    /// Whether limits delete the oldest messages.
    pub is_limited: bool,
}

/// Describes a destination that is nearly full, by the share of its limits that is in use.
#[must_use]
pub fn nearly_full(destination: &str, usage: Option<f64>) -> Option<String> {
    let usage = usage.filter(|usage| *usage >= NEARLY_FULL)?;
    let percent = usage * 100.0;
    Some(format!(
        "{destination} has {percent:.0} % of its limits in use, and refuses events when it is full"
    ))
}

/// The state of a destination, as a node reports it to operators.
#[derive(Clone, Debug, Default)]
pub(super) struct Condition {
    /// Why nothing is stored at present.
    pub(super) problem: Option<String>,
    /// As [`State::usage`].
    pub(super) usage: Option<f64>,
}

/// The last message of a slice.
#[derive(Clone, Debug)]
pub struct Last {
    /// Identifies the stream. Another stream of the same name has another value.
    pub incarnation: Arc<str>,
    /// `None` if there is no message.
    pub message: Option<LastMessage>,
    /// The age at which messages are deleted.
    pub max_age: Option<Duration>,
}

/// The parts of a slice's last message that a relay needs.
#[derive(Clone, Debug)]
pub struct LastMessage {
    /// Its sequence.
    pub sequence: u64,
    /// When it was stored.
    pub stored_at: SystemTime,
    /// The position of the slice that it records. `None` if no relay has written it.
    pub mark: Option<Mark>,
}

/// The position of a slice after a batch, as text. It is stored with the last message of the batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The group that the slice belongs to, and the number of its slices.
    pub group: (Arc<str>, i32),
    /// The cursor in the outbox.
    pub cursor: String,
    /// The history of the outbox that the cursor belongs to.
    pub history: String,
    /// The range of earlier messages whose events the cursor does not cover. They are skipped when they are read again.
    pub listed: Option<(u64, u64)>,
}

/// Identifies an event among all events of an outbox, even after the outbox was restored to an earlier state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The id in the outbox.
    pub id: i64,
    /// The transaction.
    pub xid: Option<u64>,
    /// When the change was recorded, in microseconds since 1970.
    pub recorded_us: i64,
}

/// Messages of one slice, which are stored as a whole or not at all.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The slice.
    pub slice: i32,
    /// The sequence of the last message of the slice; 0 if there is none.
    pub expected: u64,
    /// The messages: at least one.
    pub messages: Vec<Message>,
    /// The position after them.
    pub mark: Mark,
}

/// A message to store.
#[derive(Clone, Debug)]
pub enum Message {
    /// A change.
    Event {
        /// The event.
        event: Event,
        /// Its identity.
        identity: Identity,
        /// The hash of its key.
        hash: i32,
    },
    /// Changes may be missing.
    Resync {
        /// A [label](crate::ResyncReason::label), or another word.
        reason: &'static str,
        /// Whether only changes of the slice are missing.
        is_of_slice: bool,
        /// The table whose changes are missing, if it is one.
        table: Option<TableName>,
    },
}

/// The outcome of storing a batch.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It is stored. The last message has this sequence.
    Stored(u64),
    /// Nothing is stored, because the last message of the slice is not the expected one.
    Fenced,
    /// Nothing is stored. The same batch may be stored later.
    Refused(Error),
    /// It may have been stored, or may be stored later.
    Unknown(Error),
}

/// A slice of a consumer.
#[derive(Clone, Debug)]
pub struct SliceState {
    /// Its number, and the number of slices of the group.
    pub slice: (i32, i32),
    /// Its epoch.
    pub epoch: i64,
    /// Identifies the stream, as [`Last::incarnation`] does.
    pub incarnation: Arc<str>,
    /// The sequence of its last message, as far as this consumer knows.
    pub sequence: u64,
    /// Every change that was committed before this time is stored. `None` if the time is unknown.
    pub complete_until: Option<Instant>,
    /// Whether the relay stores nothing, because another group stores messages of the slice.
    pub is_contended: bool,
    /// Identifies a period between crashes of the database; see `History::period`.
    pub period: Arc<str>,
}

/// The last message of a slice when a relay wrote the slice's cursor. The database keeps it as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) incarnation: Arc<str>,
    pub(super) sequence: u64,
    /// When the message was stored, in seconds since 1970.
    pub(super) at: u64,
    pub(super) listed: Option<(u64, u64)>,
}

/// How much the clocks of the destination and of relays may differ, and how long an acknowledgement may take.
const CLOCKS: Duration = Duration::from_secs(5);

impl Known {
    /// Records that a message was stored just now.
    pub(super) fn now(incarnation: Arc<str>, sequence: u64, listed: Option<(u64, u64)>) -> Self {
        Self {
            incarnation,
            sequence,
            at: seconds(SystemTime::now()),
            listed,
        }
    }

    /// Whether the message may have been deleted because of its age.
    pub(super) fn has_expired(&self, max_age: Option<Duration>) -> bool {
        let age = seconds(SystemTime::now()).saturating_sub(self.at);
        max_age.is_some_and(|max_age| Duration::from_secs(age) + CLOCKS >= max_age)
    }

    pub(super) fn to_text(&self) -> Arc<str> {
        let Self {
            incarnation,
            sequence,
            at,
            listed,
        } = self;
        match listed {
            Some((first, last)) => format!("{incarnation} {sequence} {at} {first}-{last}").into(),
            None => format!("{incarnation} {sequence} {at}").into(),
        }
    }

    /// Returns `None` if the text fails to parse.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let (incarnation, sequence, at) = (words.next()?, words.next()?, words.next()?);
        let listed = match words.next() {
            Some(range) => Some(parse_range(range)?),
            None => None,
        };
        Some(Self {
            incarnation: incarnation.into(),
            sequence: sequence.parse().ok()?,
            at: at.parse().ok()?,
            listed,
        })
    }
}

pub(super) fn seconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

fn parse_range(text: &str) -> Option<(u64, u64)> {
    let (first, last) = text.split_once('-')?;
    Some((first.parse().ok()?, last.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Known, nearly_full};

    #[test]
    fn destination_is_nearly_full_before_it_refuses() {
        let described = |usage| nearly_full("stream A", usage);
        assert_eq!((described(None), described(Some(0.79))), (None, None));
        assert!(
            described(Some(0.8))
                .unwrap()
                .starts_with("stream A has 80 %")
        );
    }

    #[test]
    fn known_messages_round_trip_as_text() {
        for listed in [None, Some((3, 17))] {
            let known = Known::now("1767".into(), 42, listed);
            assert_eq!(Known::parse(&known.to_text()), Some(known.clone()));
            assert!(!known.has_expired(None) && !known.has_expired(Some(Duration::from_secs(60))));
            assert!(known.has_expired(Some(Duration::ZERO)));
        }
        for other in ["", "a", "a 1", "a b c", "a 1 2 3", "a 1 2 3-x"] {
            assert_eq!(Known::parse(other), None, "{other}");
        }
    }
}
