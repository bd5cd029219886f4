//! The cursors during a run, sampled: which of them passed a row, and whether one moved back.

use std::collections::HashMap;
use std::fmt;
use std::time::SystemTime;

use crate::stage::clock;

/// A cursor at one time.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) at: SystemTime,
    /// Start time of the server. Ids assigned before a crash may be assigned again after it.
    pub(crate) server: SystemTime,
    pub(crate) epoch: i64,
    pub(crate) generation: i64,
    pub(crate) cursor: String,
}

impl Sample {
    /// The snapshot, which is the first word of the cursor: everything visible in it has been read.
    fn snapshot(&self) -> &str {
        self.cursor.split(' ').next().unwrap()
    }

    /// The last outbox id taken before that snapshot.
    pub(crate) fn floor(&self) -> i64 {
        self.cursor.split(' ').nth(1).unwrap().parse().unwrap()
    }

    fn xmax(&self) -> u64 {
        self.snapshot().split(':').nth(1).unwrap().parse().unwrap()
    }

    /// Whether the snapshot shows a transaction as ended.
    fn sees(&self, xid: u64) -> bool {
        let mut parts = self.snapshot().splitn(3, ':').skip(1);
        let xmax: u64 = parts.next().unwrap().parse().unwrap();
        let mut open = parts.next().unwrap().split(',');
        xid < xmax && !open.any(|open| open.parse() == Ok(xid))
    }
}

/// `03:04:05.678 epoch 7 generation 2 floor 120: 7:9:7 120 11 1`
impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            epoch, generation, ..
        } = self;
        let (at, floor, cursor) = (clock(self.at), self.floor(), &self.cursor);
        write!(
            f,
            "{at} epoch {epoch} generation {generation} floor {floor}: {cursor}"
        )
    }
}

/// The distinct cursors of slices or readers, in the order of time.
#[derive(Default)]
pub(crate) struct Cursors {
    samples: HashMap<i32, Vec<Sample>>,
    /// Cursors that moved back. None may while the server lives.
    pub(crate) moved_back: Vec<String>,
}

impl Cursors {
    pub(crate) fn note(&mut self, slice: i32, sample: Sample) {
        let samples = self.samples.entry(slice).or_default();
        if let Some(last) = samples.last() {
            if last.cursor == sample.cursor && last.epoch == sample.epoch {
                return;
            }
            let is_comparable = last.server == sample.server;
            // Within one epoch the floor must not move back. A new owner may have read its floor earlier and its snapshot later.
            let floor_moved_back = last.epoch == sample.epoch && sample.floor() < last.floor();
            if is_comparable && (sample.xmax() < last.xmax() || floor_moved_back) {
                self.moved_back
                    .push(format!("slice {slice}: from {last} to {sample}"));
            }
        }
        samples.push(sample);
    }

    /// The last sample in which the transaction was not visible, and the first one in which it was.
    pub(crate) fn passing(
        &self,
        slice: i32,
        server: SystemTime,
        xid: u64,
    ) -> (Option<&Sample>, Option<&Sample>) {
        let all = self
            .samples
            .get(&slice)
            .map(Vec::as_slice)
            .unwrap_or_default();
        // Samples of later starts of the server count as well, because a clean restart keeps transaction ids.
        let first = all
            .iter()
            .position(|sample| sample.server >= server && sample.sees(xid));
        let before = first.unwrap_or(all.len()).checked_sub(1);
        (
            before.and_then(|index| all.get(index)),
            first.and_then(|index| all.get(index)),
        )
    }
}
