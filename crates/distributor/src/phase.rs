//! Decides when a stream is live.
//!
//! ```text
//!   connecting ── resync, source live ──► live ── source down ──► down
//!                                          ▲                       │
//!                                          └── resync, or caught up ┘
//! ```
//!
//! The health of the source arrives beside the queue, because the queue has only events and resyncs. A stream is live when the source
//! is, and one of these was sent:
//! - a resync, after the source became live: the client then reads a state that has everything that waits.
//! - a resync before that, and everything that was waiting when the source became live. The state that the client has read may lack
//!   changes that the source has emitted since.
//! - everything that was waiting when the source became live, if the stream was live before and no resync waits. Then it is resumed.

/// What a stream announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Announcement {
    Live,
    Resumed,
    Down,
}

/// What waits in the queue of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) events: u64,
    pub(crate) resync: bool,
}

impl Waiting {
    pub(crate) const NOTHING: Self = Self {
        events: 0,
        resync: false,
    };

    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            events: self.events + other.events,
            resync: self.resync || other.resync,
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Phase {
    source_is_live: bool,
    /// Whether a resync of everything was sent since the source was last live, or on this connection.
    has_resync: bool,
    /// What has to be sent before a source that resumed counts as caught up.
    behind: Option<Waiting>,
    was_live: bool,
    announced: Option<Announcement>,
}

impl Phase {
    /// Whether the stream is live, so that a delivery cannot change that.
    pub(crate) fn is_live(&self) -> bool {
        self.announced == Some(Announcement::Live)
    }

    /// The source is down. It says so again after each failed attempt to connect.
    pub(crate) fn on_down(&mut self) -> Option<Announcement> {
        if std::mem::take(&mut self.source_is_live) {
            self.has_resync = false;
            self.behind = None;
        }
        self.announce(Announcement::Down)
    }

    /// The source is live.
    pub(crate) fn on_live(&mut self, waiting: Waiting) -> Vec<Announcement> {
        if !std::mem::replace(&mut self.source_is_live, true) {
            self.behind = Some(waiting);
        }
        self.settled()
    }

    /// A resync of everything was sent.
    pub(crate) fn on_resync(&mut self) -> Vec<Announcement> {
        self.has_resync = true;
        if self.source_is_live {
            // What waits was committed before the client reads.
            self.behind = None;
        }
        self.settled()
    }

    /// Everything since the client's position was sent, except the events that wait in the queue.
    pub(crate) fn on_replayed(&mut self, waiting: Waiting) -> Vec<Announcement> {
        self.was_live = true;
        if self.source_is_live {
            self.behind = Some(waiting);
        }
        self.settled()
    }

    /// A delivery was sent that stands for this number of events, with those that were dropped before it. `resync` is whether a
    /// resync still waits.
    pub(crate) fn on_delivery(&mut self, events: u64, resync: bool) -> Vec<Announcement> {
        if let Some(behind) = &mut self.behind {
            behind.events = behind.events.saturating_sub(events);
            behind.resync &= resync;
        }
        self.settled()
    }

    fn settled(&mut self) -> Vec<Announcement> {
        if !self.source_is_live || self.is_live() {
            return Vec::new();
        }
        if self.behind.is_some_and(|behind| behind != Waiting::NOTHING) {
            return Vec::new();
        }
        let announced = match (self.has_resync, self.was_live) {
            (true, _) => vec![Announcement::Live],
            (false, true) => vec![Announcement::Resumed, Announcement::Live],
            (false, false) => return Vec::new(),
        };
        self.behind = None;
        self.was_live = true;
        self.announced = Some(Announcement::Live);
        announced
    }

    fn announce(&mut self, announcement: Announcement) -> Option<Announcement> {
        let before = self.announced.replace(announcement);
        (before != Some(announcement)).then_some(announcement)
    }
}

#[cfg(test)]
mod tests {
    use super::Announcement::{Down, Live, Resumed};
    use super::{Phase, Waiting};

    const fn events(events: u64) -> Waiting {
        Waiting {
            events,
            resync: false,
        }
    }

    #[test]
    fn a_stream_is_live_after_a_resync_of_a_source_that_is_live() {
        let mut phase = Phase::default();
        assert_eq!(phase.on_live(events(0)), []);
        assert_eq!(phase.on_resync(), [Live]);
        assert_eq!(phase.on_resync(), []);
        let mut phase = Phase::default();
        assert_eq!(phase.on_resync(), []);
        assert_eq!(phase.on_live(events(0)), [Live]);
    }

    #[test]
    fn a_state_that_was_read_while_the_source_was_down_lacks_what_waits() {
        let mut phase = Phase::default();
        assert_eq!(phase.on_resync(), []);
        assert_eq!(phase.on_live(events(5)), []);
        assert_eq!(phase.on_delivery(4, false), []);
        assert_eq!(phase.on_delivery(1, false), [Live]);
        phase.on_down();
        assert_eq!(phase.on_resync(), []);
        assert_eq!(phase.on_live(events(2)), []);
        assert_eq!(phase.on_resync(), [Live]);
    }

    #[test]
    fn after_down_a_stream_needs_another_resync_or_all_missed_events() {
        let mut phase = Phase::default();
        phase.on_resync();
        phase.on_live(events(0));
        assert_eq!(phase.on_down(), Some(Down));
        assert_eq!(phase.on_down(), None);
        assert_eq!(phase.on_resync(), []);
        assert_eq!(phase.on_live(events(0)), [Live]);
        assert_eq!(phase.on_down(), Some(Down));
        assert_eq!(phase.on_delivery(1, false), []);
        assert_eq!(phase.on_live(events(3)), []);
        assert_eq!(phase.on_delivery(2, false), []);
        assert_eq!(phase.on_delivery(2, false), [Resumed, Live]);
        assert_eq!(phase.on_down(), Some(Down));
        assert_eq!(phase.on_live(events(0)), [Resumed, Live]);
    }

    #[test]
    fn a_stream_is_not_resumed_while_a_resync_waits() {
        let mut phase = Phase::default();
        phase.on_live(events(0));
        phase.on_resync();
        phase.on_down();
        let waiting = Waiting {
            events: 1,
            resync: true,
        };
        assert_eq!(phase.on_live(waiting), []);
        assert_eq!(phase.on_delivery(1, true), []);
        assert_eq!(phase.on_resync(), [Live]);
        // That of one channel does not begin anew.
        phase.on_down();
        assert_eq!(phase.on_live(waiting), []);
        assert_eq!(phase.on_delivery(1, false), [Resumed, Live]);
    }

    #[test]
    fn a_stream_is_resumed_after_a_replay_and_what_has_waited_meanwhile() {
        let mut phase = Phase::default();
        phase.on_live(events(0));
        assert_eq!(phase.on_replayed(events(2)), []);
        assert_eq!(phase.on_delivery(2, false), [Resumed, Live]);
        // The source has lost its connection meanwhile.
        let mut phase = Phase::default();
        phase.on_live(events(0));
        phase.on_down();
        assert_eq!(phase.on_replayed(events(2)), []);
        assert_eq!(phase.on_live(events(3)), []);
        assert_eq!(phase.on_delivery(3, false), [Resumed, Live]);
        // Its resync waits in the queue.
        let mut phase = Phase::default();
        phase.on_live(events(0));
        let waiting = Waiting {
            events: 0,
            resync: true,
        };
        assert_eq!(phase.on_replayed(waiting), []);
        assert_eq!(phase.on_resync(), [Live]);
    }

    #[test]
    fn further_failed_attempts_to_connect_undo_no_resync() {
        // The stream begins while the source is down, and the source continues where it was.
        let mut phase = Phase::default();
        assert_eq!(phase.on_down(), Some(Down));
        assert_eq!(phase.on_resync(), []);
        assert_eq!(phase.on_down(), None);
        assert_eq!(phase.on_live(events(2)), []);
        assert_eq!(phase.on_delivery(2, false), [Live]);
    }

    #[test]
    fn a_stream_that_was_never_live_is_not_resumed() {
        let mut phase = Phase::default();
        assert_eq!(phase.on_down(), Some(Down));
        assert_eq!(phase.on_live(events(0)), []);
        assert_eq!(phase.on_delivery(1, false), []);
        assert_eq!(phase.on_resync(), [Live]);
    }
}
