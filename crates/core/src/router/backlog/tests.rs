use std::collections::HashMap;

use proptest::prelude::*;

use super::{Backlog, Delivery, Overflow, Popped};
use crate::gate::Session;
use crate::{Event, Key, Operation, Resync, ResyncReason};

/// An event about row `row`, numbered by its transaction id.
fn event(number: u64, row: i64) -> Event {
    Event::builder("public", "t", Operation::Update)
        .key(row)
        .transaction_id(number)
        .build()
}

fn number(event: &Event) -> u64 {
    event.transaction_id().unwrap()
}

fn row(event: &Event) -> i64 {
    i64::from_row_key(event.key().unwrap()).unwrap()
}

fn pop(backlog: &mut Backlog, max: usize) -> Option<Delivery> {
    match backlog.pop(max, u64::MAX) {
        Popped::Delivery(delivery) => Some(delivery),
        Popped::Nothing => None,
        Popped::Early(number) => panic!("{number} is early"),
    }
}

fn push(backlog: &mut Backlog, numbers: std::ops::Range<u64>) {
    backlog.push_events(numbers.map(|n| event(n, n as i64)).collect(), 1);
}

fn numbers(backlog: &mut Backlog, max: usize) -> (Option<u64>, Vec<u64>) {
    let delivery = pop(backlog, max).unwrap();
    (
        delivery.resync().map(Resync::lost),
        delivery.events().iter().map(number).collect(),
    )
}

#[test]
fn a_single_batch_is_delivered_without_copying() {
    let mut backlog = Backlog::new(10, Overflow::Resync);
    let batch: std::sync::Arc<[Event]> = [event(1, 1), event(2, 2)].into();
    backlog.push_events(batch.clone(), 1);
    let delivery = pop(&mut backlog, 2).unwrap();
    assert!(std::sync::Arc::ptr_eq(delivery.events(), &batch));
}

#[test]
fn small_batches_are_joined_up_to_the_credit() {
    let mut backlog = Backlog::new(10, Overflow::Resync);
    (0..5).for_each(|n| push(&mut backlog, n..n + 1));
    assert_eq!(numbers(&mut backlog, 3), (None, vec![0, 1, 2]));
    assert_eq!(numbers(&mut backlog, 3), (None, vec![3, 4]));
    assert!(pop(&mut backlog, 3).is_none());
}

#[test]
fn resyncs_keep_their_place_among_events() {
    let mut backlog = Backlog::new(10, Overflow::Resync);
    push(&mut backlog, 0..2);
    backlog.push_resync(Resync::new(ResyncReason::Reconnected), 1);
    backlog.push_resync(Resync::new(ResyncReason::TriggersRestored), 1);
    push(&mut backlog, 5..6);
    assert_eq!(numbers(&mut backlog, 9), (None, vec![0, 1]));
    let delivery = pop(&mut backlog, 9).unwrap();
    assert_eq!(
        delivery.resync().unwrap().to_string(),
        "reconnected+triggers_restored"
    );
    assert_eq!(delivery.events().len(), 1);
}

#[test]
fn a_session_start_is_delivered_with_adjacent_resyncs_only() {
    let session = || Session::next();
    let mut backlog = Backlog::new(4, Overflow::Resync);
    push(&mut backlog, 0..2);
    let first = session();
    backlog.push_resync(Resync::session_start(first), 1);
    assert!(!backlog.has_resync());
    assert_eq!(numbers(&mut backlog, 9), (None, vec![0, 1]));
    let delivery = pop(&mut backlog, 9).unwrap();
    assert!(delivery.resync().is_none() && delivery.session() == Some(first));
    assert_eq!(backlog.counts().resyncs, 0);
    // Merged with a resync before or after it.
    let (second, third) = (session(), session());
    backlog.push_resync(Resync::session_start(second), 1);
    backlog.push_resync(Resync::new(ResyncReason::Trimmed), 1);
    backlog.push_resync(Resync::session_start(third), 1);
    let delivery = pop(&mut backlog, 9).unwrap();
    assert_eq!(delivery.resync().unwrap().to_string(), "trimmed");
    assert_eq!(delivery.session(), Some(third));
    // Dropped with the events of an overflow, and kept in its resync.
    push(&mut backlog, 2..4);
    backlog.push_resync(Resync::session_start(third), 1);
    push(&mut backlog, 4..7);
    let delivery = pop(&mut backlog, 9).unwrap();
    assert_eq!(delivery.resync().unwrap().to_string(), "overflow (2 lost)");
    assert_eq!(delivery.session(), Some(third));
    assert_eq!(backlog.counts().resyncs, 2);
}

#[test]
fn resync_drops_the_backlog_and_keeps_what_follows_the_gap() {
    let mut backlog = Backlog::new(4, Overflow::Resync);
    push(&mut backlog, 0..3);
    push(&mut backlog, 3..5);
    push(&mut backlog, 5..6);
    assert_eq!(numbers(&mut backlog, 9), (Some(3), vec![3, 4, 5]));
    push(&mut backlog, 6..8);
    push(&mut backlog, 8..20);
    assert_eq!(numbers(&mut backlog, 9), (Some(14), vec![]));
}

#[test]
fn an_empty_queue_takes_a_batch_of_any_size() {
    for overflow in [
        Overflow::Resync,
        Overflow::DropOldest,
        Overflow::CoalesceByKey,
    ] {
        let mut backlog = Backlog::new(4, overflow);
        push(&mut backlog, 0..9);
        assert_eq!(numbers(&mut backlog, 9), (None, (0..9).collect()));
    }
}

#[test]
fn events_of_a_failed_delivery_are_lost_before_later_ones() {
    let mut backlog = Backlog::new(9, Overflow::Resync);
    push(&mut backlog, 0..5);
    assert_eq!(numbers(&mut backlog, 3), (None, vec![0, 1, 2]));
    backlog.take_back();
    assert_eq!(numbers(&mut backlog, 3), (Some(3), vec![3, 4]));
    let counts = backlog.counts();
    assert_eq!((counts.matched, counts.delivered, counts.lost), (5, 2, 3));
    // It fails again, so the resync of that delivery is delivered again.
    backlog.take_back();
    assert_eq!(numbers(&mut backlog, 3), (Some(5), vec![]));
    backlog.take_back();
    backlog.take_back();
    assert_eq!(backlog.counts().lost, 5);
}

#[test]
fn drop_oldest_drops_only_as_many_as_needed() {
    let mut backlog = Backlog::new(4, Overflow::DropOldest);
    push(&mut backlog, 0..3);
    push(&mut backlog, 3..6);
    push(&mut backlog, 6..7);
    assert_eq!(numbers(&mut backlog, 9), (Some(3), vec![3, 4, 5, 6]));
}

#[test]
fn coalescing_keeps_the_newest_event_per_row() {
    let mut backlog = Backlog::new(3, Overflow::CoalesceByKey);
    push(&mut backlog, 0..1);
    backlog.push_events((1..9).map(|n| event(n, (n % 3) as i64)).collect(), 1);
    let delivery = pop(&mut backlog, 9).unwrap();
    assert!(delivery.resync().is_none());
    assert_eq!(delivery.coalesced(), 6);
    assert_eq!(
        delivery.events().iter().map(number).collect::<Vec<_>>(),
        [6, 7, 8]
    );
    // There are more rows than room, so coalescing does not help and the backlog is dropped.
    push(&mut backlog, 0..1);
    push(&mut backlog, 1..7);
    assert_eq!(numbers(&mut backlog, 9), (Some(7), vec![]));
}

#[derive(Clone, Debug)]
enum Step {
    Events { size: usize, rows: i64 },
    Resync,
    Pop { max: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1_usize..12, 1_i64..8).prop_map(|(size, rows)| Step::Events { size, rows }),
        1 => Just(Step::Resync),
        3 => (1_usize..9).prop_map(|max| Step::Pop { max }),
    ];
    proptest::collection::vec(step, 1..80)
}

fn policy() -> impl Strategy<Value = Overflow> {
    prop_oneof![
        Just(Overflow::Resync),
        Just(Overflow::DropOldest),
        Just(Overflow::CoalesceByKey)
    ]
}

proptest! {
    /// Every event is delivered in order, or is in a gap that a resync reports with its exact size, or was superseded by a
    /// newer event of its row.
    #[test]
    fn every_missing_event_is_reported(
        steps in steps(), capacity in 1_usize..20, overflow in policy(),
    ) {
        let mut backlog = Backlog::new(capacity, overflow);
        let mut next = 0_u64;
        let mut pushed: Vec<i64> = Vec::new();
        let (mut reported_lost, mut reported_coalesced) = (0, 0);
        let mut delivered: Vec<(u64, i64)> = Vec::new();
        // The numbers that were skipped, and whether a resync was delivered in their place.
        let mut announced = false;
        let mut gaps: HashMap<u64, bool> = HashMap::new();
        let mut last: Option<u64> = None;
        let mut drain = steps;
        drain.extend((0..1_000).map(|_| Step::Pop { max: 8 }));
        for step in drain {
            match step {
                Step::Events { size, rows } => {
                    let batch = (0..size as u64)
                        .map(|n| event(next + n, (next + n) as i64 % rows))
                        .collect::<Vec<_>>();
                    pushed.extend(batch.iter().map(row));
                    next += size as u64;
                    backlog.push_events(batch.into(), 1);
                    let limit = match overflow {
                        Overflow::CoalesceByKey => 2 * capacity,
                        _ => capacity,
                    };
                    prop_assert!(backlog.len() <= limit.max(size));
                }
                Step::Resync => {
                    backlog.push_resync(Resync::new(ResyncReason::Reconnected), 1);
                }
                Step::Pop { max } => {
                    let Some(delivery) = pop(&mut backlog, max) else { continue };
                    prop_assert!(delivery.events().len() <= max);
                    reported_lost += delivery.resync().map_or(0, Resync::lost);
                    reported_coalesced += delivery.coalesced();
                    announced |= delivery.resync().is_some();
                    for event in delivery.events().iter() {
                        let number = number(event);
                        prop_assert!(last.is_none_or(|last| last < number), "out of order");
                        let expected = last.map_or(0, |last| last + 1);
                        for missing in expected..number {
                            gaps.insert(missing, announced);
                        }
                        announced = false;
                        last = Some(number);
                        delivered.push((number, row(event)));
                    }
                }
            }
            let counts = backlog.counts();
            prop_assert_eq!(
                counts.matched,
                counts.delivered + counts.lost + counts.coalesced + backlog.len() as u64
            );
        }
        prop_assert_eq!(backlog.len(), 0);
        prop_assert_eq!(reported_lost, backlog.counts().lost);
        prop_assert_eq!(reported_coalesced, backlog.counts().coalesced);
        for (missing, announced) in gaps {
            let row = pushed[missing as usize];
            let superseded = delivered.iter().any(|(number, r)| *number > missing && *r == row);
            let coalesces = overflow == Overflow::CoalesceByKey;
            prop_assert!(
                announced || (coalesces && (superseded || reported_lost > 0)),
                "{} is missing without a resync", missing
            );
        }
    }
}

#[test]
fn items_wait_until_caches_have_applied_them() {
    let mut backlog = Backlog::new(10, Overflow::Resync);
    let early = |backlog: &mut Backlog, below| match backlog.pop(9, below) {
        Popped::Early(number) => number,
        other => panic!("{other:?}"),
    };
    for number in [3, 5, 7] {
        backlog.push_events([event(number, 1)].into(), number);
    }
    assert_eq!(early(&mut backlog, 3), 3);
    let Popped::Delivery(delivery) = backlog.pop(9, 6) else {
        panic!("nothing");
    };
    assert_eq!(
        delivery.events().iter().map(number).collect::<Vec<_>>(),
        [3, 5]
    );
    assert_eq!(early(&mut backlog, 7), 7);
    // Delivered items count until they are handled.
    assert_eq!(backlog.mark(0), Some(3));
    backlog.handled();
    assert_eq!(backlog.mark(0), Some(7));
    assert_eq!(backlog.mark(7), None);
}

#[test]
fn merged_items_span_the_numbers_of_all() {
    let mut backlog = Backlog::new(4, Overflow::DropOldest);
    for number in 1..=6 {
        backlog.push_events([event(number, 1)].into(), number);
    }
    assert_eq!(backlog.mark(0), Some(1));
    assert!(matches!(backlog.pop(9, 2), Popped::Early(2)));
    let mut backlog = Backlog::new(4, Overflow::Resync);
    for number in 1..=5 {
        backlog.push_events([event(number, 1)].into(), number);
    }
    backlog.push_resync(Resync::new(ResyncReason::Reconnected), 6);
    assert_eq!(backlog.mark(0), Some(1));
    assert!(matches!(backlog.pop(9, 4), Popped::Early(4)));
}
