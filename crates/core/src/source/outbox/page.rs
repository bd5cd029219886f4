//! Reads a page of the outbox and turns it into signals.

use std::collections::HashMap;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::event::Event;
use crate::outbox::position::{Progress, Span};
use crate::outbox::{Cursor, OutboxReader, Recorded, Share};
use crate::signal::{Resync, ResyncReason, Signal};

/// A page, and the cursor after it.
#[derive(Debug)]
pub(super) struct PageOfSignals {
    pub(super) signals: Vec<Signal>,
    /// The first row that failed to decode, and the number of such rows.
    pub(super) undecodable: Option<(Error, u64)>,
    pub(super) cursor: Cursor,
    pub(super) is_last: bool,
}

impl PageOfSignals {
    /// Reads the next page of at most `size` rows.
    pub(super) async fn read(
        reader: &mut OutboxReader,
        cursor: &Cursor,
        size: usize,
        progress: &Progress,
    ) -> Result<Self> {
        // Read before the page: rows that are read after an alteration may get the lineage from before it, but not vice versa.
        let lineage = progress.lineage();
        let page = reader.rows(cursor, &Share::all(), None, size).await?;
        let span = lineage.map(|lineage| Arc::new(Span::between(lineage, cursor, &page.cursor)));
        let events = reader.events(&page.rows, span.as_ref()).await?;
        let errors = events.iter().filter_map(|event| event.as_ref().err());
        let (mut errors, count) = (errors.clone(), errors.count());
        let undecodable = errors.next().map(|first| (first.clone(), count as u64));
        let gap = || Signal::Resync(Resync::new(ResyncReason::Trimmed));
        let mut signals = Vec::new();
        if page.is_gap {
            signals.push(gap());
        }
        signals.extend(in_place(&page.rows, events));
        // The trimmed rows may have come before or after these rows.
        if page.is_gap && signals.len() > 1 {
            signals.push(gap());
        }
        Ok(Self {
            signals,
            undecodable,
            cursor: page.cursor,
            is_last: page.is_last,
        })
    }
}

/// Turns rows into batches, with resyncs between them.
///
/// A row that fails to decode becomes a resync in its place. Later ones of its table are merged into that resync. It covers
/// them, because a subscriber reads the tables only after all of the page was committed.
fn in_place(rows: &[Recorded], events: Vec<Result<Event>>) -> Vec<Signal> {
    let mut signals = Vec::new();
    // The index of each table's resync in `signals`.
    let mut resyncs = HashMap::new();
    let mut batch = Vec::with_capacity(events.len());
    let seal = |batch: &mut Vec<Event>, signals: &mut Vec<Signal>| {
        if !batch.is_empty() {
            signals.push(Signal::Events(batch.drain(..).collect()));
        }
    };
    for (row, event) in rows.iter().zip(events) {
        let error = match event {
            Ok(event) => {
                batch.push(event);
                continue;
            }
            Err(error) => error,
        };
        let resync = Resync::new(ResyncReason::Undecodable(error));
        let earlier = resyncs.get(&row.relation);
        match earlier.and_then(|place: &usize| signals.get_mut(*place)) {
            Some(Signal::Resync(earlier)) => earlier.absorb(resync),
            _ => {
                seal(&mut batch, &mut signals);
                resyncs.insert(row.relation, signals.len());
                signals.push(Signal::Resync(resync));
            }
        }
    }
    seal(&mut batch, &mut signals);
    signals
}
