//! Decodes notifications and collects the signals of a batch.

use std::time::SystemTime;

use tokio_postgres::Notification;

use crate::event::{Decoder, Event};
use crate::name::ChannelName;
use crate::signal::{Resync, ResyncReason, Signal};
use crate::telemetry::Unlogged;

/// The number of events that fill a batch.
const MAX_BATCH: usize = 512;

/// The number of undecodable payloads that fill a batch. They occupy no memory, so the limit is higher. Any role can send
/// many, and each batch of them makes subscribers read the tables again.
const MAX_UNDECODABLE: u64 = 16_384;

#[derive(Debug, Default)]
pub(super) struct Inbox {
    decoder: Decoder,
    events: Vec<Event>,
    /// Complete signals that come before `events`.
    signals: Vec<Signal>,
    /// The number of undecodable payloads in this batch.
    undecodable: u64,
    /// Undecodable payloads since the last heartbeat: the first is logged, the others are counted.
    unlogged: Unlogged,
    /// When reading of the current run of messages began.
    received_at: Option<SystemTime>,
}

impl Inbox {
    /// Adds a notification to the batch.
    pub(super) fn accept(&mut self, notification: &Notification) {
        let (channel, payload) = (notification.channel(), notification.payload());
        self.take_in(channel, payload, notification.process_id());
    }

    /// A payload that fails to decode becomes a resync in its place. Later ones of the channel in the same batch are merged
    /// into that resync. It covers them, because a subscriber reads the tables only after all transactions of the batch were
    /// committed.
    fn take_in(&mut self, channel: &str, payload: &str, pid: i32) {
        // One reading of the clock serves all messages that arrived together.
        let received_at = *self.received_at.get_or_insert_with(SystemTime::now);
        let decoded = self
            .decoder
            .decode(channel, payload, pid, received_at, &mut self.events);
        if let Err(error) = decoded {
            self.undecodable += 1;
            if self.unlogged.has_first(1) {
                tracing::warn!(channel, backend_pid = pid, error = %error.chain(), "payload failed to decode");
            }
            let reason = ResyncReason::Undecodable(error);
            let resync = match ChannelName::new(channel) {
                Ok(channel) => Resync::of_channel(reason, channel),
                Err(_) => Resync::new(reason),
            };
            match self.earlier(resync.channel()) {
                Some(earlier) => earlier.absorb(resync),
                None => {
                    self.seal();
                    self.signals.push(Signal::Resync(resync));
                }
            }
        }
    }

    /// Returns the resync of this batch for a channel.
    fn earlier(&mut self, channel: Option<&ChannelName>) -> Option<&mut Resync> {
        self.signals.iter_mut().find_map(|signal| match signal {
            Signal::Resync(resync) if resync.channel() == channel => Some(resync),
            _ => None,
        })
    }

    /// Logs the number of undecodable payloads besides the one that was logged. Called once per heartbeat.
    pub(super) fn log_undecodable(&mut self) {
        if let Some(count) = self.unlogged.take() {
            tracing::warn!(count, "more payloads failed to decode");
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.events.len() + self.signals.len() >= MAX_BATCH || self.undecodable >= MAX_UNDECODABLE
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty() && self.signals.is_empty()
    }

    /// Returns the batch as signals.
    pub(super) fn take(&mut self) -> Vec<Signal> {
        self.seal();
        self.received_at = None;
        self.undecodable = 0;
        std::mem::take(&mut self.signals)
    }

    /// Turns the collected events into a signal.
    fn seal(&mut self) {
        if !self.events.is_empty() {
            self.signals
                .push(Signal::Events(self.events.drain(..).collect()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Inbox, MAX_UNDECODABLE};
    use crate::signal::Signal;

    const EVENT: &str =
        r#"{"operation":"insert","table":"t","sent_at":"2026-01-02T03:04:05Z","keys":[1]}"#;

    fn shown(signals: &[Signal]) -> Vec<String> {
        let shown = signals.iter().map(|signal| match signal {
            Signal::Events(events) => format!("{} events", events.len()),
            Signal::Resync(resync) => {
                let channel = resync.channel().map_or("all", |channel| channel.as_str());
                format!("{resync} {channel} {}", resync.undecodable())
            }
            other => format!("{other:?}"),
        });
        shown.collect()
    }

    #[test]
    fn undecodable_payloads_become_one_resync_per_channel_and_batch() {
        let mut inbox = Inbox::default();
        for channel in ["a", "b", "a", "a", "b"] {
            inbox.take_in("a", EVENT, 1);
            inbox.take_in(channel, "junk", 1);
        }
        let expected = [
            "1 events",
            "undecodable a 3",
            "1 events",
            "undecodable b 2",
            "3 events",
        ];
        assert_eq!(shown(&inbox.take()), expected);
        inbox.take_in("a", "junk", 1);
        assert_eq!(shown(&inbox.take()), ["undecodable a 1"]);
    }

    #[test]
    fn undecodable_payloads_fill_a_batch_at_their_limit() {
        let mut inbox = Inbox::default();
        for _ in 1..MAX_UNDECODABLE {
            inbox.take_in("a", "junk", 1);
            assert!(!inbox.is_full());
        }
        inbox.take_in("a", "junk", 1);
        assert!(inbox.is_full());
        inbox.take();
        assert!(inbox.is_empty() && !inbox.is_full());
    }
}
