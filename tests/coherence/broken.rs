//! What is wrong with a cache is found.

use std::time::Duration;

use pgherald::ListenerActor;
use pgherald_testkit::coherence::{CoherenceCheck, Fault, NotLive, Rule};

use crate::early::Early;
use crate::naive::Flaw;
use crate::support::{assert_caught, check};

/// Faults that end the listener's connection and are over soon.
fn lost_connections(check: CoherenceCheck) -> CoherenceCheck {
    check.kinds([Fault::TerminateListener, Fault::Cut, Fault::Refuse])
}

#[actix::test]
async fn storing_what_was_loaded_before_the_invalidation_is_found() {
    let check = check().kinds([]).faults(0);
    assert_caught(check, Flaw::StoresOldLoads, &[Rule::AppliedEvent]).await;
}

#[actix::test]
async fn joining_a_load_from_before_the_invalidation_is_found() {
    let check = check().kinds([]).faults(0);
    assert_caught(check, Flaw::JoinsOlderLoads, &[Rule::AppliedEvent]).await;
}

#[actix::test]
async fn announcing_the_gap_before_listening_again_is_found() {
    let check = lost_connections(check()).listener(|source| {
        let build = source.factory()?;
        Ok(ListenerActor::new(move || Early::new(build())))
    });
    assert_caught(check, Flaw::None, &[Rule::Quiet]).await;
}

#[actix::test]
async fn answering_from_memory_while_not_live_is_found() {
    let check = lost_connections(check());
    assert_caught(check, Flaw::AnswersBlindly, &[Rule::NotLive]).await;
}

#[actix::test]
async fn joining_loads_while_not_live_is_found() {
    let check = check().kinds([Fault::Refuse, Fault::Stall]);
    assert_caught(check, Flaw::JoinsBlindly, &[Rule::NotLive]).await;
}

#[actix::test]
async fn ignoring_an_overflow_is_found() {
    let check = check().kinds([Fault::Overflow]);
    assert_caught(check, Flaw::IgnoresOverflow, &[Rule::Quiet]).await;
}

#[actix::test]
async fn claiming_to_have_flushed_is_found() {
    let check = check().kinds([Fault::Overflow]);
    // By a read, unless the comparison with the database comes first.
    let rules = [Rule::Flush, Rule::Quiet];
    assert_caught(check, Flaw::OnlyClaimsToFlush, &rules).await;
}

#[actix::test]
async fn leaving_waiters_hanging_is_found() {
    let check = check().kinds([]).faults(0).deadline(Duration::from_secs(1));
    assert_caught(check, Flaw::AbandonsWaiters, &[Rule::Deadline]).await;
}

#[actix::test]
async fn mixing_up_keys_is_found() {
    let check = check().kinds([]).faults(0);
    assert_caught(check, Flaw::MixesUpKeys, &[Rule::OwnValue]).await;
}

#[actix::test]
async fn answering_for_too_long_without_a_source_is_found() {
    let check = check()
        .kinds([Fault::Refuse, Fault::Stall])
        .when_not_live(NotLive::ServeStale {
            max_age: Duration::from_millis(20),
        });
    assert_caught(check, Flaw::AnswersBlindly, &[Rule::NotLive]).await;
}

#[actix::test]
async fn confirming_a_write_too_early_is_found() {
    let check = check().kinds([]).faults(0);
    assert_caught(check, Flaw::ConfirmsAtOnce, &[Rule::OwnWrite]).await;
}

#[actix::test]
async fn answering_before_the_gap_was_heard_of_is_found() {
    let check = check()
        .kinds([Fault::Refuse, Fault::TerminateListener])
        .reopening();
    assert_caught(check, Flaw::HearsLate, &[Rule::Reopening]).await;
}

#[actix::test]
async fn a_panic_is_found() {
    let check = check().kinds([]).faults(0);
    assert_caught(check, Flaw::Panics, &[Rule::Deadline]).await;
}
