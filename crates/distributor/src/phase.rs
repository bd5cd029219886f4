//! Decides when a stream is live.
//!
//! ```text
//!   connecting ── resync, source live ──► live ── source down ──► down
//!                                          ▲                       │
//!                                          └── resync, or caught up ┘
//! ```
//!
//! The health of the source arrives beside the queue, because the queue has only events and resyncs. A source publishes its resync
//! before it is live, so a stream is live when the source is, and the resync has been sent. If the source has resumed, there is no
//! resync: the stream is live when everything has been sent that was waiting when the source became live. A queue may have a resync
//! that was published before the source was live, so a stream resumes only if no resync waits.

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
}

#[derive(Debug, Default)]
pub(crate) struct Phase {
    source_is_live: bool,
    /// Whether a resync of everything was sent since the source was last down.
    has_resync: bool,
    /// What has to be sent before a source that resumed counts as caught up.
    behind: Option<Waiting>,
    was_live: bool,
    announced: Option<Announcement>,
}

impl Phase {
    /// The source is down.
    pub(crate) fn on_down(&mut self) -> Option<Announcement> {
        self.source_is_live = false;
        self.has_resync = false;
        self.behind = None;
        self.announce(Announcement::Down)
    }

    /// The source is live.
    pub(crate) fn on_live(&mut self, waiting: Waiting) -> Vec<Announcement> {
        if !std::mem::replace(&mut self.source_is_live, true) && self.was_live {
            self.behind = Some(waiting);
        }
        self.settled()
    }

    /// A resync of everything was sent.
    pub(crate) fn on_resync(&mut self) -> Vec<Announcement> {
        self.has_resync = true;
        self.settled()
    }

    /// Everything since the client's position was sent, but for what waits.
    pub(crate) fn on_replayed(&mut self, waiting: Waiting) -> Vec<Announcement> {
        self.was_live = true;
        if self.source_is_live {
            self.behind = Some(waiting);
        }
        self.settled()
    }

    /// A delivery with this number of events was sent. `resync` is whether a resync still waits.
    pub(crate) fn on_delivery(&mut self, events: u64, resync: bool) -> Vec<Announcement> {
        if let Some(behind) = &mut self.behind {
            behind.events = behind.events.saturating_sub(events);
            behind.resync &= resync;
        }
        self.settled()
    }

    fn settled(&mut self) -> Vec<Announcement> {
        if !self.source_is_live || self.announced == Some(Announcement::Live) {
            return Vec::new();
        }
        let announced = match (self.has_resync, self.behind) {
            (true, _) => vec![Announcement::Live],
            (false, Some(Waiting::NOTHING)) => vec![Announcement::Resumed, Announcement::Live],
            (false, _) => return Vec::new(),
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
        assert_eq!(phase.on_live(events(5)), [Live]);
    }

    #[test]
    fn after_down_a_stream_needs_another_resync_or_all_missed_events() {
        let mut phase = Phase::default();
        phase.on_resync();
        phase.on_live(events(0));
        assert_eq!(phase.on_down(), Some(Down));
        assert_eq!(phase.on_down(), None);
        assert_eq!(phase.on_resync(), []);
        assert_eq!(phase.on_live(events(3)), [Live]);
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
    fn a_stream_that_was_never_live_is_not_resumed() {
        let mut phase = Phase::default();
        assert_eq!(phase.on_down(), Some(Down));
        assert_eq!(phase.on_live(events(0)), []);
        assert_eq!(phase.on_delivery(1, false), []);
        assert_eq!(phase.on_resync(), [Live]);
    }
}
