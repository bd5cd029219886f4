//! The one contract between sources and everything downstream.
//!
//! ```text
//!            ┌──────────────── Down(error) ◄───────────────┐
//!            ▼                                             │
//!   (not live) ── Resync(reason) ──► Live ──► Events* ─────┤
//!            │                      ▲ ▲                    │
//!            └─ Events* ── Resumed ─┘ └─ Resync(reason) ◄──┘ (still live)
//! ```
//!
//! - A source starts out not live. Before every `Live` it says `Resync` or `Resumed`.
//! - `Resync`: whatever was read from the database before that moment may be outdated, and every change from then on
//!   will be announced.
//! - `Resumed`: the connection was lost and is back, and everything that was missed meanwhile has been said before this,
//!   as events, or as a `Resync` in their place. So a source does not begin with it. Nobody has to read anything again;
//!   a cache, which did not answer meanwhile, answers again once it has applied what came before.
//! - Between `Live` and `Down` every committed change to a watched table arrives as an event, or a
//!   `Resync` stands in its place.
//! - Events may arrive after `Down`, where the connection works but completeness cannot be promised
//!   (triggers are missing). They are passed on; they promise nothing about the ones that do not come.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::error::Error;
use crate::event::Event;
use crate::gate::Session;
use crate::name::ChannelName;

/// What a source says.
#[derive(Clone, Debug)]
pub enum Signal {
    /// From here on nothing is missed without a [`Signal::Resync`].
    Live,
    /// Changes, in the order in which they were committed.
    Events(Arc<[Event]>),
    /// Changes may have been missed: read again what you know of the database.
    Resync(Resync),
    /// The connection was lost and is back, and nothing was missed: what was committed meanwhile has been said before
    /// this.
    Resumed,
    /// The promise of [`Signal::Live`] no longer holds. The source goes on trying.
    Down(Error),
}

/// The announcement that events are missing, and why.
///
/// Whoever receives it and then reads the database knows everything that was committed before: nothing
/// that was lost can be newer than the announcement. Several causes can have been merged into one.
#[derive(Clone, Debug)]
pub struct Resync {
    /// None: nothing is missing, a session begins.
    reasons: Vec<ResyncReason>,
    lost: u64,
    /// Payloads and rows.
    undecodable: u64,
    channel: Option<ChannelName>,
    /// The session it begins, if it begins one.
    session: Option<Session>,
}

/// Why events are missing.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ResyncReason {
    /// The subscription begins here; what happened before was never announced to it.
    Started,
    /// The connection was lost and is back.
    Reconnected,
    /// Triggers were missing or disabled, or were altered meanwhile, and are in order again.
    TriggersRestored,
    /// DDL may have changed rows of a watched table: a column was altered, added or dropped, a label of an enum renamed, a
    /// partition attached or detached, the table renamed. No trigger announces that.
    TableAltered,
    /// The subscription's queue was full.
    Overflow,
    /// Events were handed to the subscriber, which failed before it had handled them.
    SubscriberFailed,
    /// A payload could not be understood; it may have announced anything.
    Undecodable(Error),
    /// The event tells that rows of the table changed, but not which.
    RowsUnknown(Event),
    /// What was recorded in the outbox was trimmed before it was read.
    Trimmed,
    /// The database was restored from a dump, or copied: events that were handled before belong to another history.
    Restored,
}

impl Resync {
    /// An announcement to everybody.
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

    /// An announcement to those who listen to `channel`.
    #[must_use]
    pub fn of_channel(reason: ResyncReason, channel: ChannelName) -> Self {
        Self {
            channel: Some(channel),
            ..Self::new(reason)
        }
    }

    /// That `session` begins, and that nothing is missing. Not for subscribers to see.
    pub(crate) fn of_nothing(session: Session) -> Self {
        Self {
            reasons: Vec::new(),
            lost: 0,
            undecodable: 0,
            channel: None,
            session: Some(session),
        }
    }

    /// Whether anything is missing.
    pub(crate) fn is_of_something(&self) -> bool {
        !self.reasons.is_empty()
    }

    pub(crate) fn losing(lost: u64, reason: ResyncReason) -> Self {
        Self {
            lost,
            ..Self::new(reason)
        }
    }

    /// Every reason, each kind once, in the order in which they first came up.
    #[must_use]
    pub fn reasons(&self) -> &[ResyncReason] {
        &self.reasons
    }

    /// How many events this subscription itself lost since the last announcement: its queue dropped them, or
    /// its subscriber failed with them in hand.
    ///
    /// Exact. What a lost connection or an undecodable payload would have brought is not known and not
    /// part of it.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// How many payloads, or rows of the outbox, failed to decode. The first error is among the
    /// [reasons](Self::reasons).
    #[must_use]
    pub fn undecodable(&self) -> u64 {
        self.undecodable
    }

    /// The channel it is limited to, if it is.
    pub(crate) fn channel(&self) -> Option<&ChannelName> {
        self.channel.as_ref()
    }

    /// The latest session it begins.
    pub(crate) fn session(&self) -> Option<Session> {
        self.session
    }

    /// The same announcement, without the beginning of a session.
    pub(crate) fn within_a_session(mut self) -> Self {
        self.session = None;
        self
    }

    /// The same announcement, as the beginning of a session.
    pub(crate) fn beginning(mut self, session: Session) -> Self {
        self.session = Some(session);
        self
    }

    /// Takes up another announcement, so that one is delivered in place of two.
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
    /// The word for logs and metrics.
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

/// Whether a listener can promise completeness right now.
#[derive(Clone, Debug)]
pub enum Health {
    /// Not live yet, and no attempt has failed so far.
    Connecting,
    /// Live.
    Live {
        /// Since when.
        since: SystemTime,
    },
    /// Not live: the server was never reached, the connection is lost, or events may be incomplete.
    Degraded {
        /// Since when; further failed attempts do not move it.
        since: SystemTime,
        /// The latest cause.
        cause: Error,
        /// Whether it has been live before. After a shutdown this is `false`.
        was_live: bool,
    },
}

impl Health {
    /// Whether it is [`Health::Live`].
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
    /// usually back within a second. A readiness probe that fails at once would take every instance of a service out of
    /// the load balancer at the same moment. Choose as `grace` how long the database can serve all reads, or
    /// [`Duration::MAX`] if it always can: then only the start and the shutdown count.
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
