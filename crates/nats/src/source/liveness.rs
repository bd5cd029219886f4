//! Whether the relays keep up, by their heartbeats.
//!
//! For each slice there is a moment before which everything is known: all changes that were committed before it have been
//! received. A heartbeat with a lag and a sequence moves it to `the heartbeat's arrival − lag`. First the heartbeat waits until the
//! consumer has been heard after it, with this sequence or a greater one. The age of the oldest of these moments is the lag of the
//! source.
//!
//! A sequence that was received before is not enough: if the stream was deleted and created again, or restored from a backup, its
//! sequences are small, and the consumer does not exist any more. Heartbeats and deliveries arrive in different queues. So a delivery
//! is known to be later than a heartbeat only if the queue of deliveries was found empty in between.
//!
//! Ages are measured by the clock of this process only. A heartbeat that was in the queue of the source counts as if it had arrived when
//! the queue was last found empty before it. `clocks` finds out about delays on the way.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::contract::Heartbeat;

/// Heartbeats of a slice that wait. With more, the source is far behind, and the newest are dropped.
const WAITING: usize = 64;
/// Histories of the database that are remembered.
const HISTORIES: usize = 16;

#[derive(Debug)]
pub(super) struct Liveness {
    max_lag: Duration,
    /// When the session was opened.
    since: Instant,
    /// How often the queue of deliveries was found empty.
    drained: u64,
    slices: Vec<Slice>,
    /// The group that the slices are of.
    group: Box<str>,
    /// The histories of the database that heartbeats have named, the latest last.
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
    /// Lets a heartbeat wait for the consumer.
    fn wait(&mut self, heartbeat: &Heartbeat, known: Instant, drained: u64) {
        let (epoch, sequence) = (heartbeat.epoch, heartbeat.sequence);
        // Of another relay, or of a stream that was created again: those before may wait for sequences that do not come any more.
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
    /// The moment that is known when the consumer has been heard.
    known: Instant,
    /// [`Liveness::drained`] when the heartbeat was taken in.
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
    /// No heartbeat has arrived at all.
    Unheard,
    /// Relays of these groups send heartbeats.
    Groups(Group, Group),
    /// The slices that have no recent heartbeat, one of them, and whether one waits for messages of the stream.
    Slices {
        count: usize,
        first: usize,
        of: usize,
        is_behind: bool,
    },
}

impl Liveness {
    /// The liveness of a session.
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

    /// The queue of deliveries was found empty. What is received from now on has arrived after the heartbeats before.
    pub(super) fn drained(&mut self) {
        self.drained += 1;
    }

    /// The consumer was heard. It has delivered the stream up to this sequence.
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

    /// Takes a heartbeat in that has arrived at a time or later. Returns whether the group has changed.
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
        // The group was made again.
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
            // Another relay has taken the slice over. The epochs of another history may be smaller.
            let is_fenced = heartbeat.epoch < slice.epoch && slice.heard.is_some_and(is_recent);
            if !is_fenced {
                slice.heard = Some(arrived);
                slice.wait(heartbeat, known, self.drained);
            }
        }
        has_changed
    }

    /// Whether a heartbeat names a history of the database that none before has named, except the first. A relay that was suspended may
    /// still name an earlier one.
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

    /// Returns until when heartbeats may be missing because the session is young.
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
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{Late, Liveness, Verdict, WAITING};
    use crate::contract::Heartbeat;

    const SENT: (&str, Duration) = ("r", Duration::ZERO);
    const MAX_LAG: Duration = Duration::from_millis(1_000);

    struct Scene(Liveness, Instant);

    impl Scene {
        /// Two slices.
        fn new() -> Self {
            let now = Instant::now();
            Self(Liveness::new(MAX_LAG, now), now)
        }

        /// A heartbeat that arrives after `at` milliseconds, and a consumer that is heard after it.
        fn heard(&mut self, at: u64, slice: u16, epoch: i64, sequence: u64, lag: u64) -> bool {
            let has_changed = self.heartbeat(at, slice, epoch, sequence, lag);
            self.received_up_to(sequence);
            has_changed
        }

        fn received_up_to(&mut self, position: u64) {
            self.0.drained();
            self.0.received_up_to(position);
        }

        /// A heartbeat that arrives after `at` milliseconds.
        fn heartbeat(&mut self, at: u64, slice: u16, epoch: i64, sequence: u64, lag: u64) -> bool {
            let lag = Duration::from_millis(lag);
            let heartbeat = Heartbeat::new(
                ("g", "1"),
                (slice, 2),
                epoch,
                ("A", sequence),
                lag,
                MAX_LAG / 4,
                SENT,
            );
            self.0.heard(&heartbeat, self.at(at), self.at(at))
        }

        fn at(&self, milliseconds: u64) -> Instant {
            self.1 + Duration::from_millis(milliseconds)
        }

        fn verdict(&self, at: u64) -> Verdict {
            self.0.verdict(self.at(at))
        }

        fn is_live(&self, at: u64) -> bool {
            self.verdict(at) == Verdict::Live
        }
    }

    #[test]
    fn all_slices_have_to_be_recent() {
        let mut scene = Scene::new();
        assert_eq!(scene.0.end_of_patience(), scene.at(1_000));
        assert_eq!(scene.verdict(0), Verdict::Late(Late::Unheard));
        scene.heard(1_000, 0, 1, 10, 0);
        let late = |first| {
            Verdict::Late(Late::Slices {
                count: 1,
                first,
                of: 2,
                is_behind: false,
            })
        };
        assert_eq!(scene.verdict(1_000), late(1));
        scene.heard(1_500, 1, 1, 3, 200);
        assert!(scene.is_live(1_999));
        assert_eq!(scene.0.end_of_life(), scene.at(2_000));
        assert_eq!(scene.verdict(2_000), late(0));
        scene.heard(2_100, 0, 1, 10, 0);
        // The lag of the other one counts.
        assert_eq!(scene.verdict(2_300), late(1));
    }

    #[test]
    fn a_heartbeat_counts_once_its_sequence_was_received() {
        let mut scene = Scene::new();
        scene.heard(0, 0, 1, 10, 0);
        scene.heartbeat(0, 1, 1, 12, 0);
        scene.heartbeat(600, 1, 1, 14, 0);
        scene.received_up_to(11);
        assert!(!scene.is_live(600));
        scene.received_up_to(12);
        assert!(scene.is_live(600));
        scene.heard(900, 0, 1, 10, 0);
        scene.heartbeat(900, 1, 1, 14, 0);
        let behind = Verdict::Late(Late::Slices {
            count: 1,
            first: 1,
            of: 2,
            is_behind: true,
        });
        scene.received_up_to(13);
        assert_eq!(scene.verdict(1_100), behind);
        scene.received_up_to(14);
        assert!(scene.is_live(1_899));
        assert!(!scene.is_live(1_900));
    }

    #[test]
    fn a_heartbeat_counts_once_the_consumer_was_heard_after_it() {
        let mut scene = Scene::new();
        scene.received_up_to(10);
        scene.heartbeat(0, 0, 1, 3, 0);
        scene.heartbeat(0, 1, 1, 3, 0);
        assert!(!scene.is_live(0));
        // A delivery that may have been in the queue before the heartbeats.
        scene.0.received_up_to(11);
        assert!(!scene.is_live(0));
        scene.0.drained();
        assert!(!scene.is_live(0));
        scene.0.received_up_to(11);
        assert!(scene.is_live(0));
    }

    #[test]
    fn heartbeats_of_a_stream_that_was_created_again_do_not_wait_behind_those_before() {
        let mut scene = Scene::new();
        for _ in 0..WAITING {
            scene.heartbeat(0, 0, 1, 5_000, 0);
            scene.heartbeat(0, 1, 1, 5_000, 0);
        }
        // By the same relay, and by one that has taken the slice over.
        scene.heartbeat(100, 0, 1, 3, 0);
        scene.heartbeat(100, 1, 2, 5_000, 0);
        scene.received_up_to(3);
        let late = Verdict::Late(Late::Slices {
            count: 1,
            first: 1,
            of: 2,
            is_behind: true,
        });
        assert_eq!(scene.verdict(100), late);
        assert_eq!(scene.0.slices[1].waiting.len(), 1);
        scene.received_up_to(5_000);
        assert!(scene.is_live(100));
    }

    #[test]
    fn a_lag_that_is_too_large_is_not_live() {
        let mut scene = Scene::new();
        scene.heard(5_000, 0, 1, 0, 999);
        scene.heard(5_000, 1, 1, 0, 1_000);
        assert!(!scene.is_live(5_000));
        scene.heard(5_000, 1, 1, 0, u64::MAX);
        assert!(!scene.is_live(5_000));
        scene.heard(5_000, 1, 1, 0, 0);
        assert!(scene.is_live(5_000));
    }

    #[test]
    fn a_heartbeat_that_has_been_in_the_queue_counts_from_its_arrival() {
        let mut scene = Scene::new();
        for (arrived, slice) in [(200, 0), (500, 1)] {
            let heartbeat = Heartbeat::new(
                ("g", "1"),
                (slice, 2),
                1,
                ("A", 0),
                Duration::ZERO,
                MAX_LAG,
                SENT,
            );
            scene
                .0
                .heard(&heartbeat, scene.at(arrived), scene.at(1_100));
        }
        scene.received_up_to(0);
        assert!(scene.is_live(1_199));
        assert!(!scene.is_live(1_200));
        let heartbeat = Heartbeat::new(
            ("g", "1"),
            (0, 2),
            1,
            ("A", 0),
            Duration::ZERO,
            MAX_LAG,
            SENT,
        );
        scene.0.heard(&heartbeat, scene.at(300), scene.at(1_300));
        assert!(scene.0.slices[0].waiting.is_empty());
    }

    #[test]
    fn a_fenced_relay_is_ignored_unless_its_epoch_belongs_to_another_history() {
        let mut scene = Scene::new();
        scene.heard(0, 0, 7, 0, 0);
        scene.heard(0, 1, 7, 0, 0);
        scene.heard(900, 0, 6, 0, 0);
        scene.heard(900, 1, 7, 0, 0);
        assert!(!scene.is_live(1_000));
        scene.heard(1_000, 0, 6, 0, 0);
        assert!(scene.is_live(1_000));
    }

    #[test]
    fn another_history_is_noticed_once() {
        let mut scene = Scene::new();
        let mut is_other = |history| {
            let heartbeat = Heartbeat::new(
                ("g", history),
                (0, 2),
                1,
                ("A", 0),
                Duration::ZERO,
                MAX_LAG,
                SENT,
            );
            scene.0.is_of_another_history(&heartbeat)
        };
        for (history, expected) in [
            ("1", false),
            ("1", false),
            ("2", true),
            ("1", false),
            ("2", false),
            ("3", true),
        ] {
            assert_eq!(is_other(history), expected, "{history}");
        }
    }

    #[test]
    fn another_group_is_an_error_also_if_it_stores_nothing() {
        let mut scene = Scene::new();
        scene.heard(0, 0, 1, 0, 0);
        scene.heard(0, 1, 1, 0, 0);
        assert!(scene.is_live(0));
        let heartbeat = Heartbeat::new(
            ("h", "1"),
            (1, 2),
            1,
            ("A", 0),
            Duration::MAX,
            MAX_LAG,
            SENT,
        );
        assert!(!scene.0.heard(&heartbeat, scene.at(100), scene.at(100)));
        let groups = Verdict::Late(Late::Groups(("g".into(), 2), ("h".into(), 2)));
        assert_eq!(scene.verdict(100), groups);
    }

    #[test]
    fn another_number_of_slices_is_an_error_until_one_of_them_ends() {
        let mut scene = Scene::new();
        let of_three = |scene: &mut Scene, at, slice| {
            let heartbeat = Heartbeat::new(
                ("g", "1"),
                (slice, 3),
                1,
                ("A", 0),
                Duration::ZERO,
                MAX_LAG,
                SENT,
            );
            scene.0.heard(&heartbeat, scene.at(at), scene.at(at))
        };
        scene.heard(0, 0, 1, 0, 0);
        scene.heard(0, 1, 1, 0, 0);
        assert!(scene.is_live(0));
        let groups = Verdict::Late(Late::Groups(("g".into(), 2), ("g".into(), 3)));
        assert!(!of_three(&mut scene, 100, 0));
        assert_eq!(scene.verdict(100), groups);
        scene.heard(900, 0, 1, 0, 0);
        scene.heard(900, 1, 1, 0, 0);
        assert_eq!(scene.verdict(1_099), groups);
        // The other one has ended.
        assert!(scene.is_live(1_100));
        assert!(!of_three(&mut scene, 1_800, 0));
        // This one has ended.
        assert!(of_three(&mut scene, 1_900, 0));
        assert!(!scene.is_live(1_900));
        for slice in 0..3 {
            assert!(!of_three(&mut scene, 1_900, slice));
        }
        // A slice that does not exist.
        assert!(!of_three(&mut scene, 1_900, 9));
        scene.received_up_to(0);
        assert!(scene.is_live(1_900));
    }
}
