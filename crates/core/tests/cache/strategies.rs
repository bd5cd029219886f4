//! How the driver works with strategies, including faulty ones.

use std::time::{Duration, Instant};

use pgherald_core::__private::host::cache::Drive;
use pgherald_core::{Debounced, Decision, Event, Greedy, Operation, Strategy, Timed, Windowed};

use crate::support::{Rig, truncate, update, users_with};

fn filled(strategy: impl Strategy) -> Rig<i64, u64> {
    let rig = users_with(|builder| builder.strategy(strategy));
    for id in 0..10 {
        assert!(rig.cache.insert(&rig.cache.stamp(), id, 1));
    }
    rig
}

fn left(rig: &Rig<i64, u64>) -> Vec<i64> {
    (0..10).filter(|id| rig.cache.get(id).is_some()).collect()
}

#[test]
fn held_events_take_effect_together() {
    let mut rig = filled(Windowed::events(3).unwrap());
    rig.apply([update(1), update(2)]);
    assert_eq!(left(&rig).len(), 10);
    rig.apply([update(3), update(4)]);
    assert_eq!(left(&rig), [0, 4, 5, 6, 7, 8, 9]);
}

#[test]
fn a_held_event_about_the_table_invalidates_everything() {
    let mut rig = filled(Windowed::events(3).unwrap());
    rig.apply([update(1), truncate(), update(3)]);
    assert_eq!(left(&rig), [0; 0]);
}

#[test]
fn events_held_before_a_resync_do_not_count_after_it() {
    let mut rig = filled(Windowed::events(3).unwrap());
    rig.apply([update(1), update(2)]);
    rig.down();
    rig.reconnect();
    rig.pump();
    for id in [1, 9] {
        assert!(rig.cache.insert(&rig.cache.stamp(), id, 1));
    }
    rig.apply([update(9), update(9)]);
    assert_eq!(
        left(&rig),
        [1, 9],
        "two events since the resync are not three"
    );
    rig.apply([update(9)]);
    assert_eq!(left(&rig), [1], "what was held before it is settled");
}

#[test]
fn deadlines_are_kept() {
    let quiet = Duration::from_secs(5);
    let mut rig = filled(Debounced::new(quiet, Duration::from_secs(60)).unwrap());
    let began = Instant::now();
    rig.say([update(1)]);
    rig.pump_at(began);
    let due = rig.driver.as_ref().unwrap().next_wake();
    assert_eq!(due, Some(began + quiet));
    rig.wake(began + quiet - Duration::from_millis(1));
    assert_eq!(left(&rig).len(), 10);
    rig.wake(began + quiet);
    assert_eq!(left(&rig), [0, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(rig.driver.as_ref().unwrap().next_wake(), None);
}

#[test]
fn a_fixed_interval_needs_no_events() {
    let mut rig = filled(Timed::every(Duration::from_secs(5)).unwrap());
    let due = rig.driver.as_ref().unwrap().next_wake().unwrap();
    rig.apply([update(1)]);
    assert_eq!(left(&rig).len(), 10);
    rig.wake(due + Duration::from_secs(1));
    assert_eq!(left(&rig), [0; 0]);
    assert_eq!(rig.cache.stats().flushed_by_strategy, 1);
}

#[test]
fn events_without_effect_are_ignored() {
    let strategy = Greedy::new().only_if(|event| event.operation() == Operation::Delete);
    let mut rig = filled(strategy);
    let delete = Event::builder("public", "users", Operation::Delete);
    rig.apply([update(1), delete.key(2).build()]);
    assert_eq!(left(&rig), [0, 1, 3, 4, 5, 6, 7, 8, 9]);
}

/// Always returns a deadline an hour ago.
#[derive(Default)]
struct Impatient {
    since: Option<Instant>,
    woken: u32,
}

impl Strategy for Impatient {
    fn on_started(&mut self, now: Instant) {
        self.since = now.checked_sub(Duration::from_secs(3_600));
    }

    fn on_event(&mut self, _: &Event, _: Instant) -> Decision {
        Decision::Hold
    }

    fn deadline(&self) -> Option<Instant> {
        self.since
    }

    fn on_deadline(&mut self, _: Instant) -> Decision {
        self.woken += 1;
        match self.woken {
            5 => Decision::Apply,
            _ => Decision::Ignore,
        }
    }
}

#[test]
fn a_deadline_in_the_past_is_kept_after_a_pause() {
    let mut rig = filled(Impatient::default());
    rig.apply([update(1)]);
    let mut now = Instant::now() + Duration::from_secs(1);
    for _ in 0..5 {
        rig.wake(now);
        // The next wake is soon, but not at once.
        let next = rig.driver.as_ref().unwrap().next_wake().unwrap();
        assert!(next > now && next <= now + Duration::from_millis(10));
        now = next;
    }
    assert_eq!(left(&rig), [0, 2, 3, 4, 5, 6, 7, 8, 9]);
}

/// Panics where the test chooses.
struct Faulty {
    in_event: bool,
    in_flush: bool,
}

impl Strategy for Faulty {
    fn on_event(&mut self, _: &Event, _: Instant) -> Decision {
        assert!(!self.in_event, "in an event");
        Decision::Hold
    }

    fn on_flushed(&mut self, _: Instant) {
        assert!(!self.in_flush, "in a flush");
    }
}

#[test]
fn after_a_panic_of_the_strategy_everything_is_invalidated_and_events_apply_at_once() {
    let mut rig = filled(Faulty {
        in_event: true,
        in_flush: false,
    });
    rig.apply([update(1)]);
    assert_eq!(left(&rig), [0; 0]);
    assert_eq!(rig.cache.stats().flushed_by_panic, 1);
    for id in 0..3 {
        assert!(rig.cache.insert(&rig.cache.stamp(), id, 1));
    }
    rig.apply([update(1)]);
    assert_eq!(left(&rig), [0, 2]);
    // A panic in the resync with which the cache becomes live does not prevent that.
    let mut rig = filled(Faulty {
        in_event: false,
        in_flush: true,
    });
    assert!(rig.cache.is_live());
    rig.apply([update(1)]);
    assert_eq!(left(&rig), [0, 2, 3, 4, 5, 6, 7, 8, 9]);
}
