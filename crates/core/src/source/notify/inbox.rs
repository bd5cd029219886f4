//! What arrived on the connection and was not handed on yet.

use std::time::SystemTime;

use tokio_postgres::Notification;

use crate::event::{Decoder, Event};
use crate::name::ChannelName;
use crate::signal::{Resync, ResyncReason, Signal};

/// How many events make a batch full.
const MAX_BATCH: usize = 512;

#[derive(Debug, Default)]
pub(super) struct Inbox {
    decoder: Decoder,
    events: Vec<Event>,
    /// Complete signals that come before `events`.
    signals: Vec<Signal>,
    /// When the current run of messages began to be read.
    received_at: Option<SystemTime>,
}

impl Inbox {
    /// Takes a notification in. One that is not an event becomes a resync in its place.
    pub(super) fn accept(&mut self, notification: &Notification) {
        let (channel, payload) = (notification.channel(), notification.payload());
        // The clock is read once per run of messages that were there together.
        let received_at = *self.received_at.get_or_insert_with(SystemTime::now);
        let pid = notification.process_id();
        let decoded = self
            .decoder
            .decode(channel, payload, pid, received_at, &mut self.events);
        if let Err(error) = decoded {
            tracing::warn!(channel, backend_pid = pid, error = %error.chain(), "payload not understood");
            self.seal();
            let reason = ResyncReason::Undecodable(error);
            let resync = match ChannelName::new(channel) {
                Ok(channel) => Resync::of_channel(reason, channel),
                Err(_) => Resync::new(reason),
            };
            self.signals.push(Signal::Resync(resync));
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.events.len() + self.signals.len() >= MAX_BATCH
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty() && self.signals.is_empty()
    }

    /// Everything so far, as signals.
    pub(super) fn take(&mut self) -> Vec<Signal> {
        self.seal();
        self.received_at = None;
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
