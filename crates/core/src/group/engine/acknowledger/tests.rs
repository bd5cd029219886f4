use std::time::Duration;

use tokio::time::Instant;

use super::{Acknowledger, Command, Ledger, Refusal, Sent, Settlement, Written};
use crate::error::{Error, ErrorKind};
use crate::outbox::Cursor;

fn ledger() -> Ledger {
    let mut ledger = Ledger::default();
    for slice in 0..2 {
        let start: Cursor = "7:7: 0 7 0".parse().unwrap();
        ledger.slices.insert(2, slice, 1, &start);
    }
    ledger
}

fn settlement(slice: i32, id: i64) -> Settlement {
    Settlement {
        slice,
        epoch: 1,
        generation: 0,
        id,
        failed: None,
    }
}

fn ids(sent: Option<&Sent>) -> Vec<i64> {
    let sent = sent.into_iter().flat_map(|sent| &sent.settlements);
    sent.map(|one| one.id).collect()
}

fn refused(settlement: &Settlement) -> Written {
    Written {
        refused: vec![Refusal {
            slice: settlement.slice,
            epoch: settlement.epoch,
            cause: Error::new(ErrorKind::Query, "refused"),
        }],
        settlements: vec![settlement.clone()],
        ..Written::default()
    }
}

#[test]
fn refused_settlement_waits_with_its_slice_and_other_slices_continue() {
    let (mut ledger, mut commands, now) = (ledger(), Vec::new(), Instant::now());
    let mut acknowledger = Acknowledger::new("g".into(), false, now);
    acknowledger.settle(settlement(0, 10));
    acknowledger.write_now(now);
    let sent = acknowledger.due(now, &mut ledger, &mut commands).unwrap();
    let written = refused(&sent.settlements[0]);
    acknowledger.answered(sent, Ok(written), now, &mut ledger, &mut commands);
    assert!(acknowledger.is_held_up(0) && !acknowledger.is_held_up(1));
    assert!(!acknowledger.has_settlements(), "it waits for the retry");
    acknowledger.tick_began(std::iter::empty());
    assert!(
        acknowledger.was_settled(10),
        "a tick must not bring it back"
    );

    // Before the retry, only the other slice is written.
    acknowledger.settle(settlement(0, 11));
    acknowledger.settle(settlement(1, 20));
    acknowledger.write_now(now);
    let sent = acknowledger.due(now, &mut ledger, &mut commands);
    assert_eq!(ids(sent.as_ref()), [20]);
    acknowledger.answered(
        sent.unwrap(),
        Ok(Written::default()),
        now,
        &mut ledger,
        &mut commands,
    );
    assert!(acknowledger.is_held_up(0), "nothing of it was written");

    // The retry writes everything of the slice, in its order, and ends holding it up.
    let later = now + Duration::from_secs(20);
    let sent = acknowledger.due(later, &mut ledger, &mut commands);
    assert_eq!(ids(sent.as_ref()), [10, 11]);
    assert_eq!(acknowledger.retry_at(0), None, "the retry runs");
    acknowledger.answered(
        sent.unwrap(),
        Ok(Written::default()),
        later,
        &mut ledger,
        &mut commands,
    );
    assert!(!acknowledger.is_held_up(0));
    assert!(commands.is_empty(), "the connections are kept");
}

#[test]
fn slices_of_an_unanswered_write_are_forgotten_and_their_settlements_are_dropped() {
    let (mut ledger, mut commands, now) = (ledger(), Vec::new(), Instant::now());
    let mut acknowledger = Acknowledger::new("g".into(), false, now);
    acknowledger.settle(settlement(0, 10));
    acknowledger.write_now(now);
    let sent = acknowledger.due(now, &mut ledger, &mut commands).unwrap();
    acknowledger.settle(settlement(0, 11));
    acknowledger.settle(settlement(1, 20));
    let lost = Error::new(ErrorKind::Disconnected, "no answer");
    acknowledger.answered(sent, Err(lost), now, &mut ledger, &mut commands);
    assert_eq!(ledger.slices.numbers(), [1], "the other is claimed again");
    assert!(matches!(commands.pop(), Some(Command::Disconnect(_))));
    // The slice was claimed again: its epoch is another one.
    let start: Cursor = "7:7: 0 7 0".parse().unwrap();
    ledger.slices.insert(2, 0, 2, &start);
    let later = now + Duration::from_secs(1);
    acknowledger.connected(later);
    let sent = acknowledger.due(later, &mut ledger, &mut commands);
    assert_eq!(ids(sent.as_ref()), [20]);
}

#[test]
fn idle_slices_are_written_after_a_pause() {
    let (mut ledger, mut commands, now) = (ledger(), Vec::new(), Instant::now());
    let mut acknowledger = Acknowledger::new("g".into(), false, now);
    let turn = ledger.slices.turn().unwrap();
    ledger.slices.advance(&turn, &"9:9: 0 9 0".parse().unwrap());
    acknowledger.write_now(now);
    assert!(acknowledger.due(now, &mut ledger, &mut commands).is_none());
    let then = acknowledger.alarm().unwrap();
    assert_eq!(then, now + super::IDLE_PAUSE);
    let sent = acknowledger.due(then, &mut ledger, &mut commands).unwrap();
    assert_eq!(sent.acknowledgements.len(), 2);
    assert_eq!(acknowledger.alarm(), None, "there is nothing more to write");
}
