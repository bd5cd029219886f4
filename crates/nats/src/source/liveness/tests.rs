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
