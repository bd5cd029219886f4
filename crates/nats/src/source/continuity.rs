//! Keeps the contract of [`Signal`] across sessions.
//!
//! The source misses changes between two sessions, so a session emits a resync before its first event. It emits another one before
//! each `Live`, because heartbeats may have been delayed on their way, by a relay that was suspended for example, and then the
//! source lags by more than they show. After that resync, subscribers read the database, so what they have is no older than
//! `max_lag`.

use pgherald_core::{Resync, ResyncReason, Signal};

#[derive(Debug, Default)]
pub(super) struct Continuity {
    /// Whether a resync was ever emitted.
    has_begun: bool,
    is_live: bool,
    /// Whether a resync was emitted since the session was opened.
    is_covered: bool,
    /// Whether this session has reported why the source is not live.
    is_reported: bool,
}

impl Continuity {
    /// Records that a session was opened.
    pub(super) fn opened(&mut self) {
        self.is_covered = false;
        self.is_reported = false;
    }

    /// Records that the session was lost. The caller emits `Down`.
    pub(super) fn lost(&mut self) {
        self.is_live = false;
    }

    /// Records that a resync of everything is emitted.
    pub(super) fn covered(&mut self) {
        self.has_begun = true;
        self.is_covered = true;
    }

    pub(super) fn is_live(&self) -> bool {
        self.is_live
    }

    /// Whether this session has not yet reported why the source is not live.
    pub(super) fn is_unreported(&self) -> bool {
        !self.is_live && !self.is_reported
    }

    /// Returns the resync that has to be emitted before an event, if any.
    pub(super) fn before_events(&mut self) -> Option<Signal> {
        (!self.is_covered).then(|| self.resync())
    }

    /// Records that the relays keep up. Returns the signals that have to be emitted.
    pub(super) fn live(&mut self) -> Vec<Signal> {
        if std::mem::replace(&mut self.is_live, true) {
            return Vec::new();
        }
        self.is_reported = false;
        vec![self.resync(), Signal::Live]
    }

    /// Records that the relays do not keep up. Returns whether `Down` has to be emitted.
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
