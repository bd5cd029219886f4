//! The contract between sources and everything downstream.
//!
//! ```text
//!            ┌──────────────── Down(error) ◄───────────────┐
//!            ▼                                             │
//!   (not live) ── Resync(reason) ──► Live ──► Events* ─────┤
//!            │                      ▲ ▲                    │
//!            └─ Events* ── Resumed ─┘ └─ Resync(reason) ◄──┘ (still live)
//! ```
//!
//! - A source starts out not live. Before every `Live` it emits `Resync` or `Resumed`.
//! - `Resync`: everything read from the database before this moment may be outdated. Every later change will be announced.
//! - `Resumed`: the connection was lost and is back. The source has already emitted everything that was missed in between, as
//!   events or as a `Resync` in their place. So no source begins with `Resumed`, and no subscriber has to read anything
//!   again. A cache answers again as soon as it has applied the signals before `Resumed`.
//! - Between `Live` and `Down`, every committed change to a watched table arrives as an event, or a `Resync` takes its place.
//! - Events may arrive after `Down`, if the connection works but triggers are missing. They are passed on, but other events
//!   may be absent.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::error::Error;
use crate::event::Event;
use crate::gate::Session;
use crate::name::ChannelName;

/// What a source emits.
// Not `non_exhaustive`: a subscriber that ignored an unknown signal could serve outdated values.
#[derive(Clone, Debug)]
pub enum Signal {
    /// From now on, no change is missed without a [`Signal::Resync`].
    Live,
    /// Changes, in commit order.
    Events(Arc<[Event]>),
    /// Changes may have been missed. Read again everything that you derived from the database.
    Resync(Resync),
    /// The connection was lost and is back. All changes in between have been emitted before this signal.
    Resumed,
    /// The guarantee of [`Signal::Live`] no longer holds. The source keeps trying.
    Down(Error),
}

/// Announces that events are missing, and why.
///
/// A subscriber that reads the database after a `Resync` sees every change committed before it, so also all that were lost.
/// One `Resync` may combine several causes.
#[derive(Clone, Debug)]
pub struct Resync {
    /// Empty if nothing is missing and only a session begins.
    reasons: Vec<ResyncReason>,
    lost: u64,
    /// Counts payloads and rows of the outbox.
    undecodable: u64,
    channel: Option<ChannelName>,
    /// The session that begins with this resync, if any.
    session: Option<Session>,
}

/// Why events are missing.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ResyncReason {
    /// The subscription begins here. Earlier changes were never announced to it.
    Started,
    /// The connection was lost and is back.
    Reconnected,
    /// Triggers were missing, disabled or altered, and are in order again.
    TriggersRestored,
    /// DDL may have changed rows of a watched table, which no trigger announces: a column was altered, added or dropped, a
    /// label of an enum renamed, a partition attached or detached, or the table renamed.
    TableAltered,
    /// The subscription's queue was full.
    Overflow,
    /// The subscriber failed before it had handled all of its events.
    SubscriberFailed,
    /// A payload could not be decoded; it may have announced any change.
    Undecodable(Error),
    /// The event reports that rows of the table changed, but not which rows.
    RowsUnknown(Event),
    /// Events in the outbox were trimmed before they were read.
    Trimmed,
    /// The database was restored from a dump, or copied. Events that were handled before belong to another history.
    Restored,
}

impl Resync {
    /// Makes a resync for all subscriptions.
    #[must_use]
    pub fn new(reason: ResyncReason) -> Self {
        Self {
            undecodable: u64::from(matches!(reason, ResyncReason::Undecodable(_))),
            reasons: vec![reason],
            lost: 0,
            channel: None,
            session: None,
        }
    }

    /// Makes a resync for the subscriptions that listen to `channel`.
    #[must_use]
    pub fn of_channel(reason: ResyncReason, channel: ChannelName) -> Self {
        Self {
            channel: Some(channel),
            ..Self::new(reason)
        }
    }

    /// Announces that `session` begins and nothing is missing. Subscribers never see it.
    pub(crate) fn session_start(session: Session) -> Self {
        Self {
            reasons: Vec::new(),
            lost: 0,
            undecodable: 0,
            channel: None,
            session: Some(session),
        }
    }

    /// Whether events may be missing.
    pub(crate) fn has_reasons(&self) -> bool {
        !self.reasons.is_empty()
    }

    pub(crate) fn losing(lost: u64, reason: ResyncReason) -> Self {
        Self {
            lost,
            ..Self::new(reason)
        }
    }

    /// Returns every reason, each kind once, in the order of their first occurrence.
    #[must_use]
    pub fn reasons(&self) -> &[ResyncReason] {
        &self.reasons
    }

    /// Returns how many events this subscription itself lost since the last resync: its queue dropped them, or its subscriber
    /// failed before it had handled them.
    ///
    /// The number is exact. It excludes events that were missed through a lost connection or an undecodable payload, because
    /// their number is unknown.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Returns how many payloads, or rows of the outbox, failed to decode. The first error is among the
    /// [reasons](Self::reasons).
    #[must_use]
    pub fn undecodable(&self) -> u64 {
        self.undecodable
    }

    /// Returns the channel that the resync is limited to, if any: only its events may be missing.
    #[must_use]
    pub fn channel(&self) -> Option<&ChannelName> {
        self.channel.as_ref()
    }

    /// The latest session that begins with this resync.
    pub(crate) fn session(&self) -> Option<Session> {
        self.session
    }

    /// Removes the beginning of a session.
    pub(crate) fn without_session(mut self) -> Self {
        self.session = None;
        self
    }

    /// Makes the resync the beginning of `session`.
    pub(crate) fn beginning(mut self, session: Session) -> Self {
        self.session = Some(session);
        self
    }

    /// Merges another resync into this one, so that one is delivered in place of two.
    pub(crate) fn absorb(&mut self, other: Self) {
        for reason in other.reasons {
            if !self
                .reasons
                .iter()
                .any(|known| known.label() == reason.label())
            {
                self.reasons.push(reason);
            }
        }
        self.lost += other.lost;
        self.undecodable += other.undecodable;
        self.session = self.session.max(other.session);
        if self.channel != other.channel {
            self.channel = None;
        }
    }
}

impl ResyncReason {
    /// Returns the word for logs and metrics.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Reconnected => "reconnected",
            Self::TriggersRestored => "triggers_restored",
            Self::TableAltered => "table_altered",
            Self::Overflow => "overflow",
            Self::SubscriberFailed => "subscriber_failed",
            Self::Undecodable(_) => "undecodable",
            Self::Trimmed => "trimmed",
            Self::Restored => "restored",
            Self::RowsUnknown(_) => "rows_unknown",
        }
    }
}

/// `overflow+reconnected (120 lost)`
impl fmt::Display for Resync {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, reason) in self.reasons.iter().enumerate() {
            if index > 0 {
                f.write_str("+")?;
            }
            f.write_str(reason.label())?;
        }
        if self.lost > 0 {
            write!(f, " ({} lost)", self.lost)?;
        }
        Ok(())
    }
}

/// Whether a listener currently guarantees that no change is missed without a resync.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Health {
    /// Not live yet, and no attempt has failed so far.
    Connecting,
    /// Live.
    Live {
        /// The time when it became live.
        since: SystemTime,
    },
    /// Not live: the server was never reached, the connection is lost, or events may be missing.
    Degraded {
        /// The time of the first failure. Further failures do not change it.
        since: SystemTime,
        /// The latest failure.
        cause: Error,
        /// Whether it has been live before. After a shutdown this is `false`.
        was_live: bool,
    },
}

impl Health {
    /// Returns whether the health is [`Health::Live`].
    #[must_use]
    pub fn is_live(&self) -> bool {
        matches!(self, Self::Live { .. })
    }

    /// The health after a failure. A series of failures keeps the time of its first one.
    pub(crate) fn degraded_by(&self, cause: Error) -> Self {
        let now = SystemTime::now();
        let (since, was_live) = match self {
            Self::Connecting => (now, false),
            Self::Live { .. } => (now, true),
            Self::Degraded {
                since, was_live, ..
            } => (*since, *was_live),
        };
        Self::Degraded {
            since,
            cause,
            was_live,
        }
    }

    /// The health after a shutdown.
    pub(crate) fn shut_down() -> Self {
        Self::Degraded {
            since: SystemTime::now(),
            cause: Error::shut_down(),
            was_live: false,
        }
    }

    /// Returns whether the process should receive requests: it is live, or it was live at most `grace` ago.
    ///
    /// While a listener is not live, its caches do not answer, and each read goes to the database. A lost connection is
    /// usually back within a second. A readiness probe that fails at once would take every instance of a service out of the
    /// load balancer at the same moment. Choose as `grace` how long the database can serve all reads, or [`Duration::MAX`] if
    /// it always can. The process is then ready from its first `Live` until its shutdown.
    ///
    /// ```
    /// use std::time::Duration;
    /// use pgherald_core::Health;
    ///
    /// assert!(!Health::Connecting.is_ready(Duration::MAX));
    /// ```
    #[must_use]
    pub fn is_ready(&self, grace: Duration) -> bool {
        match self {
            Self::Connecting => false,
            Self::Live { .. } => true,
            Self::Degraded {
                since, was_live, ..
            } => {
                // A clock that was set back counts as no time passed.
                *was_live && since.elapsed().unwrap_or_default() <= grace
            }
        }
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connecting => f.write_str("connecting"),
            Self::Live { .. } => f.write_str("live"),
            Self::Degraded { cause, .. } => write!(f, "degraded: {}", cause.chain()),
        }
    }
}
