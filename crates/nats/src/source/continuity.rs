//! Keeps the contract of [`Signal`] across sessions.
//!
//! Nothing is known of the time between two sessions, so a session needs a resync before its first event. Another one stands
//! before each `Live`: heartbeats that were delayed on their way, by a relay that was suspended for example, say less than they
//! seem to. After that resync, subscribers have read the database, so what they have is no older than `max_lag` in any case.

use pgherald_core::{Resync, ResyncReason, Signal};

#[derive(Debug, Default)]
pub(super) struct Continuity {
    /// Whether a resync was ever emitted.
    has_begun: bool,
    is_live: bool,
    /// Whether a resync was emitted since the session was opened.
    is_covered: bool,
    /// Whether it was reported why it is not live.
    is_reported: bool,
}

impl Continuity {
    /// A session was opened.
    pub(super) fn opened(&mut self) {
        self.is_covered = false;
        self.is_reported = false;
    }

    /// The session was lost, which is reported.
    pub(super) fn lost(&mut self) {
        self.is_live = false;
    }

    /// A resync of everything is emitted.
    pub(super) fn covered(&mut self) {
        self.has_begun = true;
        self.is_covered = true;
    }

    pub(super) fn is_live(&self) -> bool {
        self.is_live
    }

    /// Whether it is to be reported that the source is not live.
    pub(super) fn is_unreported(&self) -> bool {
        !self.is_live && !self.is_reported
    }

    /// Returns what has to be emitted before an event.
    pub(super) fn before_events(&mut self) -> Option<Signal> {
        (!self.is_covered).then(|| self.resync())
    }

    /// The relays keep up. Returns what has to be emitted.
    pub(super) fn live(&mut self) -> Vec<Signal> {
        if std::mem::replace(&mut self.is_live, true) {
            return Vec::new();
        }
        self.is_reported = false;
        vec![self.resync(), Signal::Live]
    }

    /// The relays do not keep up. Returns whether `Down` has to be emitted.
    pub(super) fn late(&mut self) -> bool {
        let is_known = !self.is_live && self.is_reported;
        self.is_live = false;
        self.is_reported = true;
        !is_known
    }

    fn resync(&mut self) -> Signal {
        let reason = match self.has_begun {
            true => ResyncReason::Reconnected,
            false => ResyncReason::Started,
        };
        self.covered();
        Signal::Resync(Resync::new(reason))
    }
}

#[cfg(test)]
mod tests {
    use pgherald_core::__private::host::errors::bad_nats;
    use pgherald_core::Signal;

    use super::Continuity;

    /// Returns the signals that steps cause, as words.
    fn run(continuity: &mut Continuity, steps: &str) -> String {
        let mut shown = Vec::new();
        for step in steps.split(' ') {
            let signals: Vec<Signal> = match step {
                "open" => {
                    continuity.opened();
                    Vec::new()
                }
                "lost" => {
                    continuity.lost();
                    Vec::new()
                }
                "event" => continuity.before_events().into_iter().collect(),
                "live" => continuity.live(),
                "late" => continuity
                    .late()
                    .then(|| Signal::Down(bad_nats("late".to_owned())))
                    .into_iter()
                    .collect(),
                "resync" => {
                    continuity.covered();
                    Vec::new()
                }
                other => panic!("{other}"),
            };
            shown.extend(signals.iter().map(|signal| match signal {
                Signal::Live => "live".to_owned(),
                Signal::Resync(resync) => resync.to_string(),
                Signal::Down(_) => "down".to_owned(),
                other => panic!("{other:?}"),
            }));
        }
        shown.join(" ")
    }

    #[test]
    fn a_session_begins_with_a_resync_before_its_events_and_before_live() {
        let mut one = Continuity::default();
        assert_eq!(run(&mut one, "open live live event"), "started live");
        assert_eq!(run(&mut one, "lost open event event"), "reconnected");
        assert_eq!(run(&mut one, "live"), "reconnected live");
        assert_eq!(run(&mut one, "lost open resync event"), "");
    }

    #[test]
    fn lateness_is_reported_once_until_it_ends() {
        let mut one = Continuity::default();
        assert_eq!(run(&mut one, "open late late"), "down");
        assert_eq!(run(&mut one, "live late late"), "started live down");
        assert_eq!(run(&mut one, "event live"), "reconnected live");
        assert_eq!(run(&mut one, "lost open late"), "down");
    }
}
