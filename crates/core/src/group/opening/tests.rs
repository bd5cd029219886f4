use std::time::{Duration, SystemTime};

use super::{Relation, stored_at};
use crate::group::destination::{Known, Last, LastMessage, Mark};
use crate::outbox::{Cursor, History};

fn at(id: u64) -> Cursor {
    format!("{id}:{id}: {} {id} 0", id * 10).parse().unwrap()
}

fn known(incarnation: &str, sequence: u64) -> Known {
    Known::now(incarnation.into(), sequence, None)
}

fn relate(cursor: &Cursor, known: Option<&Known>, last: &Last, now: &History) -> Relation {
    super::relate(cursor, known, last, (&("fleet".into(), 4), now))
}

fn last(sequence: u64, cursor: u64, history: &str) -> Last {
    let mark = Mark {
        group: ("fleet".into(), 4),
        cursor: at(cursor).to_string(),
        history: history.to_owned(),
        listed: None,
    };
    Last {
        incarnation: "A".into(),
        message: Some(LastMessage {
            sequence,
            stored_at: SystemTime::now(),
            mark: Some(mark),
        }),
        max_age: None,
    }
}

#[test]
fn relay_continues_from_the_tip_only_if_it_is_certain() {
    let now = History::parse("me,1").unwrap();
    let decide = |known: Option<Known>, last: Last| relate(&at(5), known.as_ref(), &last, &now);
    let ahead = Relation::Ahead(Box::new(at(7)), None);
    assert_eq!(decide(Some(known("A", 3)), last(4, 7, "me,1")), ahead);
    assert_eq!(decide(None, last(4, 7, "me,1")), ahead);
    // Another relay has announced the loss already.
    assert_eq!(decide(Some(known("B", 9)), last(4, 7, "me,1")), ahead);
    // A slice without events: the database is ahead.
    assert_eq!(
        decide(Some(known("A", 4)), last(4, 3, "me,1")),
        Relation::Known
    );
    assert_eq!(
        decide(Some(known("A", 4)), last(4, 7, "me,0")),
        Relation::Known
    );
    // An earlier group of this name has written before.
    assert_eq!(decide(None, last(4, 3, "me,1")), Relation::Lost);
    let here = Relation::Ahead(Box::new(at(5)), None);
    assert_eq!(decide(None, last(4, 5, "me,1")), here);
    assert_eq!(
        decide(Some(known("A", 9)), last(4, 3, "me,1")),
        Relation::Lost,
        "restored"
    );
    assert_eq!(
        decide(Some(known("B", 4)), last(4, 3, "me,1")),
        Relation::Lost,
        "recreated"
    );
    assert_eq!(
        decide(Some(known("A", 3)), last(4, 7, "other,1")),
        Relation::Lost
    );
    assert_eq!(
        decide(Some(known("A", 3)), last(9, 7, "me,0")),
        Relation::Unknown(4, 9),
        "crashed"
    );
    assert_eq!(
        decide(Some(known("A", 9)), last(4, 7, "me,0")),
        Relation::Lost
    );
    let foreign = Last {
        message: Some(LastMessage {
            sequence: 9,
            stored_at: SystemTime::now(),
            mark: None,
        }),
        ..last(9, 7, "me,1")
    };
    assert_eq!(
        decide(Some(known("A", 3)), foreign),
        Relation::Unknown(4, 9)
    );
}

#[test]
fn stored_announcement_is_not_repeated_although_it_has_not_moved_the_cursor() {
    let now = History::parse("me,1").unwrap();
    let listed = Some((1, 3));
    let mut announced = last(4, 5, "me,1");
    if let Some(LastMessage {
        mark: Some(mark), ..
    }) = &mut announced.message
    {
        mark.listed = listed;
    }
    for known in [None, Some(known("A", 3)), Some(known("B", 9))] {
        let relation = relate(&at(5), known.as_ref(), &announced, &now);
        let expected = Relation::Ahead(Box::new(at(5)), listed);
        assert_eq!(relation, expected, "{known:?}");
    }
}

#[test]
fn position_of_another_group_is_not_continued() {
    let now = History::parse("me,1").unwrap();
    for other in [("fleet".into(), 8), ("other".into(), 4)] {
        let mut of_other = last(4, 7, "me,1");
        if let Some(LastMessage {
            mark: Some(mark), ..
        }) = &mut of_other.message
        {
            mark.group = other.clone();
        }
        let decide = |known: Option<Known>| relate(&at(5), known.as_ref(), &of_other, &now);
        assert_eq!(decide(None), Relation::OtherGroup, "a new group");
        assert_eq!(decide(Some(known("B", 9))), Relation::OtherGroup);
        assert_eq!(decide(Some(known("A", 9))), Relation::OtherGroup);
        assert_eq!(decide(Some(known("A", 3))), Relation::Contended(other));
    }
}

#[test]
fn known_message_does_not_become_younger_when_its_slice_is_opened_again() {
    let old = Known {
        at: 1_000,
        ..known("A", 4)
    };
    let mut opened = last(4, 5, "me,1");
    assert_eq!(stored_at(Some(&old), &opened), 1_000);
    if let Some(message) = &mut opened.message {
        message.stored_at = SystemTime::UNIX_EPOCH + Duration::from_secs(2_000);
    }
    for other in [None, Some(known("B", 4)), Some(known("A", 3))] {
        assert_eq!(stored_at(other.as_ref(), &opened), 2_000, "{other:?}");
    }
    // The clock of the destination is ahead of that of the relay.
    let age = |seconds| Known {
        at: super::seconds(SystemTime::now()) - seconds,
        ..known("A", 4)
    };
    let max_age = Some(Duration::from_secs(60));
    assert!(age(57).has_expired(max_age) && !age(50).has_expired(max_age));
}

#[test]
fn closing_that_the_database_knows_is_not_forgotten_with_the_tip() {
    let now = History::parse("me,1").unwrap();
    let with_closing = |id: u64, closed| -> Cursor {
        let cursor = format!("{id}:{id}: {} {id} {closed}", id * 10);
        cursor.parse().unwrap()
    };
    let known = known("A", 3);
    let decide = |cursor, last| relate(cursor, Some(&known), last, &now);
    let ahead = Relation::Ahead(Box::new(with_closing(7, 4)), None);
    assert_eq!(
        decide(&with_closing(5, 4), &last(4, 7, "me,1")),
        ahead,
        "the tip has an older one"
    );
}

#[test]
fn late_batch_of_another_relay_is_searched_for_stored_events() {
    let now = History::parse("me,1").unwrap();
    // The cursor that was written meanwhile is in the middle of the batch's difference.
    let mut late = last(4, 5, "me,1");
    if let Some(LastMessage {
        mark: Some(mark), ..
    }) = &mut late.message
    {
        mark.cursor = format!("{} 7:7: 70 7 0 69", at(5));
    }
    let decide =
        |known: &str, sequence| relate(&at(6), Some(&self::known(known, sequence)), &late, &now);
    assert_eq!(decide("A", 3), Relation::Unknown(4, 4));
    assert_eq!(
        decide("A", 0),
        Relation::Unknown(1, 4),
        "the first batch of a group"
    );
    assert_eq!(decide("B", 3), Relation::Lost, "recreated");
}

#[test]
fn missing_messages_are_a_loss_unless_they_have_expired() {
    let now = History::parse("me,1").unwrap();
    let empty = Last {
        message: None,
        ..last(1, 1, "me,1")
    };
    let decide = |known: Option<Known>, last: &Last| relate(&at(5), known.as_ref(), last, &now);
    assert_eq!(decide(None, &empty), Relation::Known);
    assert_eq!(
        decide(Some(known("A", 3)), &empty),
        Relation::Lost,
        "purged"
    );
    assert_eq!(
        decide(Some(known("B", 3)), &empty),
        Relation::Lost,
        "recreated"
    );
    let old = Known {
        at: 0,
        ..known("A", 3)
    };
    let with_age = Last {
        max_age: Some(Duration::from_secs(60)),
        ..empty
    };
    assert_eq!(decide(Some(old), &with_age), Relation::Known);
    assert_eq!(decide(Some(known("A", 3)), &with_age), Relation::Lost);
}
