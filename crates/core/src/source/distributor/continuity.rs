//! Keeps the contract of [`Signal`] across connections.
//!
//! The distributor keeps it within one connection. A `live` on a new connection says nothing of the time before, so it needs a
//! `resync`, or a `resumed` that answers the position that the source has sent.

use super::address::Address;
use super::message::{Message, Within};
use super::refusal;
use crate::signal::{Resync, ResyncReason, Signal};
use crate::source::forwarded;

#[derive(Debug, Default)]
pub(super) struct Continuity {
    /// The position after the last message.
    position: Option<Box<str>>,
    /// Whether an event without a position has arrived since the last resync of everything. The position then does not say whether
    /// later events of its table have arrived.
    has_gaps: bool,
    /// Whether a resync of everything was ever emitted.
    has_begun: bool,
    connection: Connection,
}

/// What has happened on the current connection.
#[derive(Debug, Default)]
struct Connection {
    /// Whether `resumed` may answer the position that was sent.
    may_resume: bool,
    /// Whether it has been live. From then on, the distributor itself knows what the source has received.
    was_live: bool,
    is_live: bool,
    /// Whether a resync or `Resumed` was emitted since the connection was last not live.
    is_covered: bool,
}

impl Continuity {
    /// Returns the position to continue from.
    pub(super) fn position(&self) -> Option<&str> {
        self.position.as_deref().filter(|_| !self.has_gaps)
    }

    /// A connection was opened with the current position.
    pub(super) fn connected(&mut self, resumable: bool) {
        self.connection = Connection {
            may_resume: resumable && self.has_begun && self.position().is_some(),
            ..Connection::default()
        };
    }

    /// The connection was lost.
    pub(super) fn lost(&mut self) {
        self.connection = Connection::default();
    }

    /// The position is not used any more.
    pub(super) fn forget(&mut self) {
        self.position = None;
    }

    /// A message was taken in, after which the position is `position`. `None` is an event without a position.
    pub(super) fn advance(&mut self, position: Option<Box<str>>) {
        match position {
            Some(position) => self.position = Some(position),
            None => self.has_gaps = true,
        }
    }

    /// Returns the signals that a message causes. Events and `closing` are none of its concern.
    pub(super) fn accept(&mut self, message: Message<'_>, from: &Address) -> Vec<Signal> {
        match message {
            Message::Live => self.on_live(),
            Message::Down { reason } => {
                self.connection.is_live = false;
                self.connection.is_covered = false;
                vec![Signal::Down(refusal::down(from, &reason))]
            }
            Message::Resumed if self.connection.was_live || self.connection.may_resume => {
                self.connection.is_covered = true;
                vec![Signal::Resumed]
            }
            Message::Resync { reasons, scope } => self.on_resync(&reasons, scope),
            Message::Lagged { missed } => {
                tracing::warn!(missed, distributor = %from, "the source was too slow for the distributor: events were dropped");
                self.resync(Resync::new(ResyncReason::Overflow))
            }
            // `Live` then adds a resync.
            Message::Resumed => Vec::new(),
            Message::Event(_)
            | Message::Closing { .. }
            | Message::Hello { .. }
            | Message::Other => Vec::new(),
        }
    }

    fn on_live(&mut self) -> Vec<Signal> {
        if std::mem::replace(&mut self.connection.is_live, true) {
            return Vec::new();
        }
        let mut signals = match self.connection.is_covered {
            true => Vec::new(),
            false => self.resync(Resync::new(self.reason_to_begin())),
        };
        self.connection.was_live = true;
        signals.push(Signal::Live);
        signals
    }

    fn on_resync(&mut self, reasons: &[Box<str>], scope: Within) -> Vec<Signal> {
        if let Within::Channel(channel) = scope {
            let reason = forwarded::undecodable();
            return vec![Signal::Resync(Resync::of_channel(reason, channel))];
        }
        let mut reasons = reasons.iter().map(|label| self.reason(label));
        let first = reasons.next().unwrap_or(self.reason_to_begin());
        let mut resync = Resync::new(first);
        for reason in reasons {
            resync.absorb(Resync::new(reason));
        }
        match scope {
            Within::Everything => self.resync(resync),
            // No resync of subscribers has this scope, so they receive one of everything.
            _ => vec![Signal::Resync(resync)],
        }
    }

    /// Emits a resync of everything.
    fn resync(&mut self, resync: Resync) -> Vec<Signal> {
        self.has_begun = true;
        self.has_gaps = false;
        self.connection.is_covered = true;
        vec![Signal::Resync(resync)]
    }

    /// Why a connection begins with a resync.
    fn reason_to_begin(&self) -> ResyncReason {
        match self.has_begun {
            true => ResyncReason::Reconnected,
            false => ResyncReason::Started,
        }
    }

    fn reason(&self, label: &str) -> ResyncReason {
        // To the distributor, each connection starts. A lost position is a connection that was lost for too long.
        forwarded::reason(label).unwrap_or_else(|| self.reason_to_begin())
    }
}

#[cfg(test)]
mod tests {
    use super::super::address::Address;
    use super::Continuity;
    use crate::signal::Signal;

    /// A source, its position, and the connections that a script makes.
    struct Script(Continuity);

    impl Script {
        fn new() -> Self {
            Self(Continuity::default())
        }

        /// Returns the signals that are caused by words: `connect`, `connect+` (resumable), `lost`, `event@id`, `event`, `live@id`,
        /// or the type of a message.
        fn run(&mut self, words: &str) -> String {
            let mut shown = Vec::new();
            for word in words.split(' ') {
                let (kind, id) = word
                    .split_once('@')
                    .map_or((word, None), |(kind, id)| (kind, Some(id)));
                match kind {
                    "connect" => self.0.connected(false),
                    "connect+" => self.0.connected(true),
                    "lost" => self.0.lost(),
                    "event" => self.0.advance(id.map(Into::into)),
                    kind => {
                        let json = match kind {
                            "channel" => r#"{"type":"resync","scope":{"channel":"c"}}"#.to_owned(),
                            "tables" => r#"{"type":"resync","scope":{"tables":["t"]}}"#.to_owned(),
                            kind => format!(r#"{{"type":"{kind}","reasons":["started"]}}"#),
                        };
                        let from = Address::parse("http://a").unwrap();
                        let received = super::super::message::parse(&json, &from).unwrap();
                        let signals = self.0.accept(received.message, &from);
                        shown.extend(signals.iter().map(label));
                        if id.is_some() {
                            self.0.advance(id.map(Into::into));
                        }
                    }
                }
            }
            shown.join(" ")
        }
    }

    fn label(signal: &Signal) -> String {
        match signal {
            Signal::Live => "live".to_owned(),
            Signal::Events(_) => "events".to_owned(),
            Signal::Resync(resync) => match resync.channel() {
                None => resync.to_string(),
                Some(channel) => format!("{resync}:{channel}"),
            },
            Signal::Resumed => "resumed".to_owned(),
            Signal::Down(_) => "down".to_owned(),
        }
    }

    #[test]
    fn a_connection_begins_with_a_resync() {
        let mut script = Script::new();
        assert_eq!(script.run("connect resync live"), "started live");
        assert_eq!(script.run("lost connect resync live"), "reconnected live");
        assert_eq!(script.run("down resync live"), "down reconnected live");
        assert_eq!(script.run("down resumed live"), "down resumed live");
        assert_eq!(script.run("down lagged live"), "down overflow live");
        assert_eq!(script.run("live heartbeat other"), "");
    }

    #[test]
    fn a_missing_resync_is_added() {
        assert_eq!(Script::new().run("connect live"), "started live");
        assert_eq!(Script::new().run("connect resumed live"), "started live");
        let mut script = Script::new();
        script.run("connect resync live");
        assert_eq!(script.run("down live"), "down reconnected live");
        assert_eq!(script.run("lost connect live"), "reconnected live");
        // One that is limited does not cover everything.
        assert_eq!(
            script.run("down channel live"),
            "down undecodable:c reconnected live"
        );
        assert_eq!(
            script.run("down tables live"),
            "down reconnected reconnected live"
        );
        assert_eq!(
            script.run("lost connect lost connect live"),
            "reconnected live"
        );
        assert_eq!(
            script.run("lost connect resync lost connect live"),
            "reconnected reconnected live"
        );
    }

    #[test]
    fn only_the_answer_to_a_position_resumes_another_connection() {
        let mut script = Script::new();
        assert_eq!(script.run("connect+ resync live"), "started live");
        assert_eq!(script.0.position(), None);
        assert_eq!(script.run("lost connect+ resumed live"), "reconnected live");
        assert_eq!(script.run("event@1 event@2"), "");
        assert_eq!(script.0.position(), Some("2"));
        assert_eq!(script.run("lost connect resumed live"), "reconnected live");
        assert_eq!(
            script.run("lost connect+ event@3 resumed live@4"),
            "resumed live"
        );
        assert_eq!(script.0.position(), Some("4"));
        // A connection that is lost before it has caught up does not change that.
        assert_eq!(
            script.run("lost connect+ event@5 lost connect+ resumed live"),
            "resumed live"
        );
        script.0.forget();
        assert_eq!(script.run("lost connect+ resumed live"), "reconnected live");
    }

    #[test]
    fn a_position_without_a_resync_before_it_does_not_resume() {
        let mut script = Script::new();
        assert_eq!(
            script.run("connect+ event@1 lost connect+ resumed live"),
            "started live"
        );
    }

    #[test]
    fn an_event_without_a_position_prevents_a_resumption_until_the_next_resync() {
        let mut script = Script::new();
        script.run("connect+ resync live@1 event event@2");
        assert_eq!(script.0.position(), None);
        assert_eq!(
            script.run("lost connect+ resumed live@3"),
            "reconnected live"
        );
        assert_eq!(script.0.position(), Some("3"));
        assert_eq!(script.run("lost connect+ resumed live"), "resumed live");
    }
}
