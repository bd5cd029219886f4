//! What arrived on the connection and was not handed on yet.

use std::time::SystemTime;

use tokio_postgres::Notification;

use crate::event::{Decoder, Event};
use crate::name::ChannelName;
use crate::signal::{Resync, ResyncReason, Signal};
use crate::telemetry::Unlogged;

/// How many events make a batch full.
const MAX_BATCH: usize = 512;

/// How many payloads that are no events make it full. They take no room, so it is more: any role can send many, and each
/// batch of them makes subscribers read the tables again.
const MAX_UNDECODABLE: u64 = 16_384;

#[derive(Debug, Default)]
pub(super) struct Inbox {
    decoder: Decoder,
    events: Vec<Event>,
    /// Complete signals that come before `events`.
    signals: Vec<Signal>,
    /// Payloads of this batch that are no events.
    undecodable: u64,
    /// The same, between two heartbeats: the first is logged, the others are counted.
    unlogged: Unlogged,
    /// When the current run of messages began to be read.
    received_at: Option<SystemTime>,
}

impl Inbox {
    /// Takes a notification in.
    pub(super) fn accept(&mut self, notification: &Notification) {
        let (channel, payload) = (notification.channel(), notification.payload());
        self.take_in(channel, payload, notification.process_id());
    }

    /// A payload that is not an event becomes a resync in its place; further ones of the channel become part of the first
    /// one of the batch. That covers them: a subscriber that receives it reads the tables after all of the batch's
    /// transactions were committed.
    fn take_in(&mut self, channel: &str, payload: &str, pid: i32) {
        // The clock is read once per run of messages that were there together.
        let received_at = *self.received_at.get_or_insert_with(SystemTime::now);
        let decoded = self
            .decoder
            .decode(channel, payload, pid, received_at, &mut self.events);
        if let Err(error) = decoded {
            self.undecodable += 1;
            if self.unlogged.has_first(1) {
                tracing::warn!(channel, backend_pid = pid, error = %error.chain(), "payload not understood");
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

    /// The resync of this batch for a channel.
    fn earlier(&mut self, channel: Option<&ChannelName>) -> Option<&mut Resync> {
        self.signals.iter_mut().find_map(|signal| match signal {
            Signal::Resync(resync) if resync.channel() == channel => Some(resync),
            _ => None,
        })
    }

    /// Logs how many payloads were not understood beside the one that was logged. Called once for each heartbeat.
    pub(super) fn log_undecodable(&mut self) {
        if let Some(count) = self.unlogged.take() {
            tracing::warn!(count, "more payloads not understood");
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.events.len() + self.signals.len() >= MAX_BATCH || self.undecodable >= MAX_UNDECODABLE
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty() && self.signals.is_empty()
    }

    /// Everything so far, as signals.
    pub(super) fn take(&mut self) -> Vec<Signal> {
        self.seal();
        self.received_at = None;
        self.undecodable = 0;
        std::mem::take(&mut self.signals)
    }

    /// Makes a batch of the events so far.
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
    fn undecodable_payloads_of_a_batch_are_one_resync_for_each_channel() {
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
    fn a_batch_of_undecodable_payloads_is_full_at_last() {
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
