//! Cursors as they were during a run: which of them passed over a row, and whether one moved back.

use std::collections::HashMap;
use std::fmt;
use std::time::SystemTime;

use crate::stage::clock;

/// A cursor at one time.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) at: SystemTime,
    /// When the server was started. What it gave out before a crash means nothing after it.
    pub(crate) server: SystemTime,
    pub(crate) epoch: i64,
    pub(crate) generation: i64,
    pub(crate) cursor: String,
}

impl Sample {
    /// What has been read completely: the first word is the snapshot.
    fn snapshot(&self) -> &str {
        self.cursor.split(' ').next().unwrap()
    }

    /// The last id that was taken before that snapshot.
    pub(crate) fn floor(&self) -> i64 {
        self.cursor.split(' ').nth(1).unwrap().parse().unwrap()
    }

    fn xmax(&self) -> u64 {
        self.snapshot().split(':').nth(1).unwrap().parse().unwrap()
    }

    /// Whether a transaction that has ended is visible in what has been read.
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

/// The cursors of some slices, or of some readers, each time that they were seen to differ.
#[derive(Default)]
pub(crate) struct Cursors {
    samples: HashMap<i32, Vec<Sample>>,
    /// Each time that one moved back, which none ever may while the server lives.
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
            // Another consumer may have taken its floor a moment earlier, and its snapshot later.
            let floor_moved_back = last.epoch == sample.epoch && sample.floor() < last.floor();
            if is_comparable && (sample.xmax() < last.xmax() || floor_moved_back) {
                self.moved_back
                    .push(format!("slice {slice}: from {last} to {sample}"));
            }
        }
        samples.push(sample);
    }

    /// The last sample before the transaction was visible to the cursor, and the first one in which it was.
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
        // Without a crash the transaction may be one that an earlier start of the server gave out.
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
