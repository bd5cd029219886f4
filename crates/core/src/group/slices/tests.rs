//! Cursors never pass an unfinished event, and each event is read once, while slices are claimed and lost.

use crate::ErrorKind;
use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::{Slices, Turn};
use crate::group::job::{Disposition, Park};
use crate::outbox::{Cursor, Point, Reading, Recorded};

const SLICES: i32 = 3;

/// Moment `n` in the life of a database that commits ten rows between any two moments.
fn moment(n: i64) -> Point {
    let text = format!("{0}:{0}: {1} {0} 0", n + 10, n * 10);
    text.parse::<Cursor>().unwrap().done
}

fn at(n: i64) -> Cursor {
    Cursor {
        done: moment(n),
        reading: None,
    }
}

/// The next rows of a turn, as the reader returns them: those of the slices between two moments.
fn page(turn: &Turn, now: i64, limit: usize) -> (Vec<i64>, Cursor) {
    let from = turn.cursor.done.floor;
    let to = match (&turn.cursor.reading, &turn.until) {
        (Some(reading), _) => reading.to.clone(),
        (None, Some(until)) => until.clone(),
        (None, None) => moment(now),
    };
    let position = turn.cursor.position().unwrap_or(i64::MIN).max(from);
    let is_requested = |id: &i64| turn.share.slices.contains(&slice_of(*id));
    let ids: Vec<i64> = (position + 1..=to.floor)
        .filter(is_requested)
        .take(limit)
        .collect();
    let cursor = match ids.last() {
        Some(last) if ids.len() == limit => Cursor {
            done: turn.cursor.done.clone(),
            reading: Some(Reading {
                to,
                position: *last,
            }),
        },
        _ => Cursor {
            done: to,
            reading: None,
        },
    };
    (ids, cursor)
}

fn slice_of(id: i64) -> i32 {
    (id % i64::from(SLICES)) as i32
}

/// The id up to which a cursor counts everything as done.
fn reach(cursor: &Cursor) -> i64 {
    cursor.position().unwrap_or(i64::MIN).max(cursor.done.floor)
}

proptest! {
    #[test]
    fn each_event_is_read_once_and_no_cursor_passes_an_unfinished_event(
        steps in proptest::collection::vec((0_u8..8, 0_usize..100), 1..200),
    ) {
        let mut slices = Slices::default();
        let mut stored: BTreeMap<i32, Cursor> = (0..SLICES).map(|slice| (slice, at(0))).collect();
        let mut epoch = 0;
        let mut now = 1;
        // Events that were taken in and are not done, with slice, epoch and number.
        let mut open: BTreeMap<i64, (i32, i64, u64)> = BTreeMap::new();
        let mut done: BTreeSet<i64> = BTreeSet::new();
        let finishing = std::iter::repeat_n((8, 0), 600);
        for (what, pick) in steps.into_iter().chain(finishing) {
            match what {
                0 => now += 1,
                1 => {
                    // Claimed again: unacknowledged events are read again.
                    let slice = (pick as i32) % SLICES;
                    epoch += 1;
                    slices.insert(SLICES, slice, epoch, &stored[&slice]);
                    open.retain(|_, (of, ..)| *of != slice);
                    done.retain(|id| slice_of(*id) != slice || *id <= reach(&stored[&slice]));
                }
                2 | 3 | 8 => {
                    if what == 8 && slices.len() < SLICES as usize {
                        let missing = (0..SLICES).find(|slice| slices.epoch(*slice).is_none());
                        let slice = missing.unwrap();
                        epoch += 1;
                        slices.insert(SLICES, slice, epoch, &stored[&slice]);
                    }
                    let Some(turn) = slices.turn() else { continue };
                    let (ids, after) = page(&turn, now, 1 + pick % 7);
                    let span = Slices::span(&turn, &after);
                    for id in ids {
                        let slice = slice_of(id);
                        if let Some(epoch) = slices.accepts(&turn, slice, id) {
                            let number = slices.take_in(slice, &span, id, 1).unwrap();
                            prop_assert!(open.insert(id, (slice, epoch, number)).is_none(), "{} twice", id);
                            prop_assert!(!done.contains(&id), "{} again", id);
                        }
                    }
                    slices.advance(&turn, &after);
                }
                4..=6 => {}
                _ => {
                    let all = slices.acknowledge(false, pick % 4 == 0, |_| true);
                    prop_assert!(slices.take_went_back().is_empty());
                    for one in &all {
                        let reach = reach(&one.cursor);
                        let passed = open.iter().find(|(id, (of, ..))| *of == one.slice && **id <= reach);
                        prop_assert!(passed.is_none(), "{:?} passed by {}", passed, one.cursor);
                        prop_assert!(reach >= self::reach(&stored[&one.slice]), "back to {}", one.cursor);
                        stored.insert(one.slice, one.cursor.clone());
                    }
                    let written: Vec<i32> = all.iter().map(|one| one.slice).collect();
                    slices.acknowledged(all, &written);
                }
            }
            if matches!(what, 4..=6 | 8) && !open.is_empty() {
                let id = *open.keys().nth(pick % open.len()).unwrap();
                if let Some((slice, epoch, number)) = open.remove(&id) {
                    prop_assert!(slices.is_current(slice, epoch));
                    slices.finish(slice, number);
                    done.insert(id);
                }
            }
        }
        prop_assert!(open.is_empty() && slices.pending() == 0);
        prop_assert_eq!(slices.streams(), 1, "they have met");
        let everything: BTreeSet<i64> = (1..=now * 10).collect();
        prop_assert_eq!(&done, &everything);
        let busy = slices.acknowledge(false, false, |_| true);
        for one in &busy {
            prop_assert_eq!(reach(&one.cursor), now * 10);
            stored.insert(one.slice, one.cursor.clone());
        }
        let behind = everything.iter().find(|id| **id > reach(&stored[&slice_of(**id)]));
        prop_assert!(behind.is_none(), "{:?} would be handled again", behind);
        let written: Vec<i32> = busy.iter().map(|one| one.slice).collect();
        slices.acknowledged(busy, &written);
        for one in slices.acknowledge(false, true, |_| true) {
            prop_assert_eq!(reach(&one.cursor), now * 10);
        }
    }
}

proptest! {
    #[test]
    fn totals_are_the_sums_over_all_slices(
        steps in proptest::collection::vec((0_u8..7, 0_usize..100), 1..100),
    ) {
        let mut slices = Slices::default();
        let mut open: Vec<(i32, u64)> = Vec::new();
        for (now, (what, pick)) in (1..).zip(steps) {
            let slice = (pick as i32) % SLICES;
            match what {
                0 => slices.insert(SLICES, slice, now, &at(0)),
                1 => _ = slices.hold_up(slice, pick % 2 == 0),
                2 => slices.release(pick % 2),
                3 => {
                    let Some(turn) = slices.turn() else { continue };
                    let (ids, after) = page(&turn, now, 5);
                    let span = Slices::span(&turn, &after);
                    // The slice may have been held up since the page was requested.
                    slices.hold_up(slice, pick % 3 == 0);
                    for id in ids {
                        let slice = slice_of(id);
                        if slices.accepts(&turn, slice, id).is_some() {
                            open.push((slice, slices.take_in(slice, &span, id, pick).unwrap()));
                        }
                    }
                    slices.advance(&turn, &after);
                }
                4 => {
                    for (slice, number) in open.drain(..open.len() / 2) {
                        slices.finish(slice, number);
                    }
                }
                5 => slices.park(Park { slice, ..park(now) }),
                _ => {
                    let all = slices.acknowledge(false, true, |_| true);
                    match pick % 2 {
                        0 => slices.not_acknowledged(all),
                        _ => _ = slices.acknowledged(all, &[0]),
                    }
                }
            }
            prop_assert_eq!(slices.totals(), slices.sums());
        }
    }
}

#[test]
fn cursor_that_would_move_back_is_not_written_and_its_slice_is_reported() {
    let mut slices = Slices::default();
    for slice in 0..SLICES {
        slices.insert(SLICES, slice, 1, &at(5));
    }
    let turn = slices.turn().unwrap();
    // Like a reader whose database was restored to an earlier state.
    slices.advance(&turn, &at(3));
    assert!(slices.acknowledge(false, true, |_| true).is_empty());
    let went_back = slices.take_went_back();
    assert_eq!(went_back.len(), 3);
    assert!(
        went_back
            .iter()
            .all(|(_, error)| error.kind() == ErrorKind::History)
    );
    assert!(slices.take_went_back().is_empty());
}

fn park(id: i64) -> Park {
    let row = Recorded {
        id,
        xid: None,
        sent_at: std::time::SystemTime::now(),
        relation: 0,
        hash: 0,
        operation: 0,
        key: None,
        columns: None,
        old_columns: None,
        changed: None,
        problem: None,
    };
    Park {
        slice: 0,
        row,
        attempts: 0,
        error: None,
        disposition: Disposition::Behind,
    }
}

#[test]
fn events_parked_while_an_attempt_acknowledges_are_written_afterwards() {
    let start: Cursor = "7:7: 0 7 0".parse().unwrap();
    let read: Cursor = "9:9: 20 9 1".parse().unwrap();
    let mut slices = Slices::default();
    slices.insert(1, 0, 1, &start);
    let turn = slices.turn().unwrap();
    let span = Slices::span(&turn, &read);
    let number = slices.take_in(0, &span, 11, 1).unwrap();
    slices.advance(&turn, &read);
    slices.park(park(5));
    assert!(
        slices.has_to_write(0),
        "an attempt does not write events to park"
    );
    let written = slices.acknowledge(true, true, |_| true);
    assert_eq!(written[0].parks.len(), 1);
    slices.acknowledged(written, &[0]);
    assert!(!slices.has_to_write(0));
    slices.begin(0);
    let written = slices.acknowledge_next(0).unwrap().unwrap();
    assert_eq!(
        (written.parks.len(), written.cursor.position()),
        (0, Some(11))
    );
    slices.park(park(-3));
    assert!(
        slices.acknowledge(true, true, |_| true).is_empty(),
        "the attempt acknowledges"
    );
    slices.end(0, 1);
    slices.committed(0, number);
    let left = slices.acknowledge(true, true, |_| true);
    let ids: Vec<i64> = left[0].parks.iter().map(|park| park.row.id).collect();
    assert_eq!(ids, [-3]);
    assert_eq!(left[0].cursor, read);
}

#[test]
fn large_parked_events_are_written_in_parts_with_a_cursor_each() {
    let mut slices = Slices::default();
    slices.insert(1, 0, 1, &at(1));
    let turn = slices.turn().unwrap();
    let span = Slices::span(&turn, &at(2));
    let numbers: Vec<u64> = (11..16)
        .map(|id| slices.take_in(0, &span, id, 1).unwrap())
        .collect();
    slices.advance(&turn, &at(2));
    let large = |id| {
        let mut park = park(id);
        park.row.columns = Some("x".repeat(super::MAX_BYTES / 2).into());
        park
    };
    for (id, number) in (11..15).zip(&numbers) {
        slices.finish(0, *number);
        slices.park(large(id));
    }
    let ids = |sent: &[super::Acknowledgement]| -> Vec<i64> {
        sent[0].parks.iter().map(|park| park.row.id).collect()
    };
    assert!(
        slices.has_to_write(0),
        "an attempt does not write events to park"
    );
    let first = slices.acknowledge(false, true, |_| true);
    assert_eq!(
        (ids(&first), first[0].cursor.position()),
        (vec![11, 12], Some(12))
    );
    slices.not_acknowledged(first);
    slices.finish(0, numbers[4]);
    let again = slices.acknowledge(false, true, |_| true);
    assert_eq!(
        (ids(&again), again[0].cursor.position()),
        (vec![11, 12], Some(12))
    );
    slices.acknowledged(again, &[0]);
    let second = slices.acknowledge(false, true, |_| true);
    assert_eq!(
        (ids(&second), second[0].cursor.position()),
        (vec![13, 14], Some(14))
    );
    slices.acknowledged(second, &[0]);
    let last = slices.acknowledge(false, true, |_| true);
    assert!(last[0].parks.is_empty() && last[0].cursor == at(2));
    assert_eq!(slices.bytes(), 0);
}

#[test]
fn cursors_of_idle_slices_are_not_written_with_each_event() {
    let mut slices = Slices::default();
    for slice in 0..SLICES {
        slices.insert(SLICES, slice, 1, &at(1));
    }
    let written = |slices: &mut Slices, with_idle: bool| {
        let all = slices.acknowledge(false, with_idle, |_| true);
        let written: Vec<i32> = all.iter().map(|one| one.slice).collect();
        slices.acknowledged(all, &written);
        written
    };
    let turn = slices.turn().unwrap();
    let span = Slices::span(&turn, &at(2));
    let slice = slice_of(11);
    slices.accepts(&turn, slice, 11).unwrap();
    let number = slices.take_in(slice, &span, 11, 1).unwrap();
    slices.advance(&turn, &at(2));
    assert!(
        written(&mut slices, false).is_empty(),
        "nothing is done yet"
    );
    slices.finish(slice, number);
    assert_eq!(written(&mut slices, false), [slice]);
    assert!(written(&mut slices, false).is_empty());
    assert_eq!(written(&mut slices, true).len(), 2, "the others");
    // Rows that the group does not want count as lag until the cursor has passed them.
    let turn = slices.turn().unwrap();
    slices.accepts(&turn, slice, 21).unwrap();
    slices.advance(&turn, &at(3));
    assert_eq!(written(&mut slices, false), [slice]);
    // Trimming waits for every slice to pass a closing.
    let turn = slices.turn().unwrap();
    slices.advance(&turn, &"14:14: 40 14 1".parse().unwrap());
    assert_eq!(written(&mut slices, false), [0, 1, 2]);
}

#[test]
fn pending_events_of_held_up_slices_are_counted_separately() {
    let mut slices = Slices::default();
    slices.insert(2, 0, 1, &at(1));
    slices.insert(2, 1, 1, &at(1));
    let turn = slices.turn().unwrap();
    let span = Slices::span(&turn, &at(2));
    let first = slices.take_in(0, &span, 11, 5).unwrap();
    slices.take_in(0, &span, 12, 7).unwrap();
    slices.take_in(1, &span, 13, 100).unwrap();
    assert_eq!(slices.held_up(), (0, 0));
    slices.hold_up(0, true);
    assert_eq!((slices.held_up(), slices.pending()), ((2, 12), 3));
    slices.finish(0, first);
    assert_eq!(slices.held_up(), (1, 7));
    slices.hold_up(0, false);
    assert_eq!(slices.held_up(), (0, 0));
}
