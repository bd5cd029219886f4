//! From a page of the outbox to signals.

use crate::error::Result;
use crate::event::Event;
use crate::outbox::{Cursor, OutboxReader, Share};
use crate::signal::{Resync, ResyncReason, Signal};
use crate::telemetry::Unlogged;

/// What was read, and how far one has come with it.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) signals: Vec<Signal>,
    pub(super) cursor: Cursor,
    pub(super) is_last: bool,
}

impl Page {
    /// The next one, of at most `size` rows.
    pub(super) async fn read(
        reader: &mut OutboxReader,
        cursor: &Cursor,
        size: usize,
    ) -> Result<Self> {
        let page = reader.rows(cursor, &Share::all(), None, size).await?;
        let events = reader.events(&page.rows).await?;
        let gap = || Signal::Resync(Resync::new(ResyncReason::Trimmed));
        let mut signals = Vec::new();
        if page.is_gap {
            signals.push(gap());
        }
        signals.extend(in_place(events));
        // What is gone may have come before these rows, or after them.
        if page.is_gap && signals.len() > 1 {
            signals.push(gap());
        }
        Ok(Self {
            signals,
            cursor: page.cursor,
            is_last: page.is_last,
        })
    }
}

/// A batch, or several with a resync for each row between them that could not be understood.
fn in_place(events: Vec<Result<Event>>) -> Vec<Signal> {
    let (mut signals, mut unlogged) = (Vec::new(), Unlogged::default());
    let mut batch = Vec::with_capacity(events.len());
    let seal = |batch: &mut Vec<Event>, signals: &mut Vec<Signal>| {
        if !batch.is_empty() {
            signals.push(Signal::Events(batch.drain(..).collect()));
        }
    };
    for event in events {
        match event {
            Ok(event) => batch.push(event),
            Err(error) => {
                if unlogged.is_first() {
                    tracing::warn!(error = %error.chain(), "outbox row not understood");
                }
                seal(&mut batch, &mut signals);
                let reason = ResyncReason::Undecodable(error);
                signals.push(Signal::Resync(Resync::new(reason)));
            }
        }
    }
    if let Some(count) = unlogged.take() {
        tracing::warn!(count, "more outbox rows not understood");
    }
    seal(&mut batch, &mut signals);
    signals
}
