//! Decides from heartbeats whether the relays keep up.
//!
//! For each slice there is a moment up to which the source is complete: it has received all changes that were committed before. A
//! heartbeat with a lag and a sequence moves this moment to `the heartbeat's arrival − lag`. First the heartbeat waits until the
//! consumer has been heard after it, with this sequence or a greater one. The age of the oldest of these moments is the lag of the
//! source.
//!
//! It is not enough that the sequence was received before the heartbeat. If the stream was deleted and created again, or restored
//! from a backup, its sequences are small, and the consumer no longer exists. Heartbeats and deliveries arrive in different queues.
//! So a delivery is known to be later than a heartbeat only if the queue of deliveries was found empty in between.
//!
//! Ages are measured by the clock of this process only. A heartbeat that was in the queue of the source counts as if it had arrived
//! when the queue was last found empty before it. `clocks` measures its delay before that.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::contract::Heartbeat;

/// The maximum number of waiting heartbeats of a slice. With more, the source is far behind, and drops the newest.
const WAITING: usize = 64;
/// The maximum number of histories of the database that a session remembers.
const HISTORIES: usize = 16;

#[derive(Debug)]
pub(super) struct Liveness {
    max_lag: Duration,
    /// When the session was opened.
    since: Instant,
    /// How often the queue of deliveries was found empty.
    drained: u64,
    slices: Vec<Slice>,
    /// The name of the group. Empty before the first heartbeat.
    group: Box<str>,
    /// The histories of the database that heartbeats have named, the newest last.
    histories: VecDeque<Box<str>>,
    /// When a heartbeat of this group last arrived.
    heard: Option<Instant>,
    /// Another group, and when its last heartbeat arrived.
    rival: Option<(Group, Instant)>,
}

/// The name of a group, and the number of its slices.
pub(super) type Group = (Box<str>, usize);

#[derive(Clone, Debug, Default)]
struct Slice {
    epoch: i64,
    /// When the last heartbeat of this epoch arrived.
    heard: Option<Instant>,
    /// Every change that was committed before this moment has been received.
    known: Option<Instant>,
    /// In the order of their sequences.
    waiting: VecDeque<Waiting>,
}

impl Slice {
    /// Queues a heartbeat until the consumer is heard.
    fn wait(&mut self, heartbeat: &Heartbeat, known: Instant, drained: u64) {
        let (epoch, sequence) = (heartbeat.epoch, heartbeat.sequence);
        // Another relay sent it, or the stream was created again: earlier heartbeats may wait for sequences that never come.
        let has_fallen = |last: &Waiting| last.sequence > sequence;
        if self.epoch != epoch || self.waiting.back().is_some_and(has_fallen) {
            self.waiting.clear();
        }
        self.epoch = epoch;
        if self.waiting.len() < WAITING {
            self.waiting.push_back(Waiting {
                sequence,
                known,
                drained,
            });
        }
    }
}

/// A heartbeat that waits for the consumer.
#[derive(Clone, Debug)]
struct Waiting {
    sequence: u64,
    /// The moment up to which the slice is complete once the consumer has been heard.
    known: Instant,
    /// [`Liveness::drained`] when the heartbeat was queued.
    drained: u64,
}

#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    Live,
    Late(Late),
}

/// Why a source is late.
#[derive(Debug, PartialEq)]
pub(super) enum Late {
    /// No heartbeat has arrived yet.
    Unheard,
    /// The relays of these two groups send heartbeats.
    Groups(Group, Group),
    /// The number of late slices, the first of them, the number of all slices, and whether a late one waits for messages.
    Slices {
        count: usize,
        first: usize,
        of: usize,
        is_behind: bool,
    },
}

impl Liveness {
    /// Returns the liveness of a new session.
    pub(super) fn new(max_lag: Duration, since: Instant) -> Self {
        Self {
            max_lag,
            since,
            drained: 0,
            slices: Vec::new(),
            group: "".into(),
            histories: VecDeque::new(),
            heard: None,
            rival: None,
        }
    }

    /// Records that the queue of deliveries was found empty. Later deliveries arrived after all earlier heartbeats.
    pub(super) fn drained(&mut self) {
        self.drained += 1;
    }

    /// Records that the consumer was heard. It has delivered the stream up to this sequence.
    pub(super) fn received_up_to(&mut self, position: u64) {
        for slice in &mut self.slices {
            while let Some(first) = slice.waiting.front()
                && first.sequence <= position
                && first.drained < self.drained
            {
                slice.known = slice.known.max(Some(first.known));
                slice.waiting.pop_front();
            }
        }
    }

    /// Records a heartbeat that arrived at `arrived` or later. Returns whether the group has changed.
    pub(super) fn heard(&mut self, heartbeat: &Heartbeat, arrived: Instant, now: Instant) -> bool {
        let max_lag = self.max_lag;
        let is_recent = |moment| now.saturating_duration_since(moment) < max_lag;
        // A moment that the clock cannot express is too long ago.
        let known = arrived.checked_sub(heartbeat.lag());
        let slices = usize::from(heartbeat.slices);
        let is_other = self.slices.len() != slices || self.group != heartbeat.group;
        if is_other && self.heard.is_some_and(is_recent) {
            self.rival = Some(((heartbeat.group.clone(), slices), arrived));
            return false;
        }
        // The group was created again.
        let has_changed = is_other && !self.slices.is_empty();
        if is_other {
            self.slices = vec![Slice::default(); slices];
            self.group = heartbeat.group.clone();
            self.rival = None;
        }
        self.heard = self.heard.max(Some(arrived));
        if let Some(known) = known
            && is_recent(known)
            && let Some(slice) = self.slices.get_mut(usize::from(heartbeat.slice))
        {
            // Another relay has taken over the slice. An epoch that is not recent does not count: a restore may lower epochs.
            let is_fenced = heartbeat.epoch < slice.epoch && slice.heard.is_some_and(is_recent);
            if !is_fenced {
                slice.heard = Some(arrived);
                slice.wait(heartbeat, known, self.drained);
            }
        }
        has_changed
    }

    /// Returns whether a heartbeat names a new history of the database. The first history of a session is not new, nor is one that
    /// an earlier heartbeat has named: a relay that was suspended may still name an earlier history.
    pub(super) fn is_of_another_history(&mut self, heartbeat: &Heartbeat) -> bool {
        if self.histories.contains(&heartbeat.history) {
            return false;
        }
        if self.histories.len() >= HISTORIES {
            self.histories.pop_front();
        }
        self.histories.push_back(heartbeat.history.clone());
        self.histories.len() > 1
    }

    /// Returns when a source that is live becomes late if nothing arrives.
    pub(super) fn end_of_life(&self) -> Instant {
        let oldest = self.slices.iter().map(|slice| slice.known).min().flatten();
        oldest.unwrap_or(self.since) + self.max_lag
    }

    /// Returns until when a new session may lack heartbeats.
    pub(super) fn end_of_patience(&self) -> Instant {
        self.since + self.max_lag
    }

    pub(super) fn verdict(&self, now: Instant) -> Verdict {
        if let Some((rival, heard)) = &self.rival
            && now.saturating_duration_since(*heard) < self.max_lag
        {
            let ours = (self.group.clone(), self.slices.len());
            return Verdict::Late(Late::Groups(ours, rival.clone()));
        }
        let is_late = |slice: &&Slice| {
            slice
                .known
                .is_none_or(|known| now.saturating_duration_since(known) >= self.max_lag)
        };
        let count = self.slices.iter().filter(is_late).count();
        if count == 0 && !self.slices.is_empty() {
            return Verdict::Live;
        }
        if self.slices.is_empty() {
            return Verdict::Late(Late::Unheard);
        }
        let first = self.slices.iter().position(|slice| is_late(&slice));
        let mut late = self.slices.iter().filter(is_late);
        Verdict::Late(Late::Slices {
            count,
            first: first.unwrap_or_default(),
            of: self.slices.len(),
            is_behind: late.any(|slice| !slice.waiting.is_empty()),
        })
    }
}

#[cfg(test)]
mod tests;
