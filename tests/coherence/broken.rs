//! The checker finds each flaw of a broken cache.

use std::time::Duration;

use pgherald::ListenerActor;
use pgherald_testkit::coherence::{CoherenceCheck, Fault, NotLive, Rule};

use crate::early::Early;
use crate::naive::{Flaw, Naive};
use crate::settings::check;

/// Runs `check` on a naive cache with `flaw` until something is found, which must be one of `rules`.
async fn assert_caught(check: CoherenceCheck, flaw: Flaw, rules: &[Rule]) {
    let report = check
        .until_violation(Duration::from_secs(60))
        .run(async |context| Naive::start(&context, flaw).await)
        .await
        .unwrap();
    println!("{report}");
    let first = report.violations.first();
    let first = first.unwrap_or_else(|| panic!("{flaw:?} was not found: {report}"));
    assert!(rules.contains(&first.rule), "{report}");
}

/// Restricts the check to short faults that end the listener's connection.
fn lost_connections(check: CoherenceCheck) -> CoherenceCheck {
    check.kinds([Fault::TerminateListener, Fault::Cut, Fault::Refuse])
}

#[actix::test]
async fn storing_a_value_loaded_before_its_invalidation_is_found() {
    let check = check().kinds([]).faults(0);
    assert_caught(check, Flaw::StoresOldLoads, &[Rule::AppliedEvent]).await;
}

#[actix::test]
async fn joining_a_load_begun_before_an_invalidation_is_found() {
    let check = check().kinds([]).faults(0);
    assert_caught(check, Flaw::JoinsOlderLoads, &[Rule::AppliedEvent]).await;
}

#[actix::test]
async fn a_resync_before_listening_again_is_found() {
    let check = lost_connections(check()).listener(|source| {
        let build = source.factory()?;
        Ok(ListenerActor::new(move || Early::new(build())))
    });
    // While connections are refused, such a source looks live, too.
    assert_caught(check, Flaw::None, &[Rule::Quiet, Rule::NotLive]).await;
}

#[actix::test]
async fn serving_values_while_not_live_is_found() {
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
async fn reporting_a_flush_that_did_not_happen_is_found() {
    let check = check().kinds([Fault::Overflow]);
    // A read finds it, unless the comparison with the database comes first.
    let rules = [Rule::Flush, Rule::Quiet];
    assert_caught(check, Flaw::OnlyClaimsToFlush, &rules).await;
}

#[actix::test]
async fn leaving_waiters_hanging_is_found() {
    let check = check().kinds([]).faults(0).deadline(Duration::from_secs(1));
    assert_caught(check, Flaw::AbandonsWaiters, &[Rule::Deadline]).await;
}

#[actix::test]
async fn serving_the_value_of_another_key_is_found() {
    let check = check().kinds([]).faults(0);
    assert_caught(check, Flaw::MixesUpKeys, &[Rule::OwnValue]).await;
}

#[actix::test]
async fn serving_stale_values_beyond_the_maximum_age_is_found() {
    let check = check()
        .kinds([Fault::Refuse, Fault::Stall])
        .when_not_live(NotLive::ServeStale {
            max_age: Duration::from_millis(20),
        });
    assert_caught(check, Flaw::AnswersBlindly, &[Rule::NotLive]).await;
}

#[actix::test]
async fn confirming_a_write_before_it_is_applied_is_found() {
    let check = check().kinds([]).faults(0);
    assert_caught(check, Flaw::ConfirmsAtOnce, &[Rule::OwnWrite]).await;
}

#[actix::test]
async fn serving_values_before_the_resync_was_applied_is_found() {
    let check = check()
        .kinds([Fault::Refuse, Fault::TerminateListener])
        .reopening();
    assert_caught(check, Flaw::HearsLate, &[Rule::Reopening]).await;
}

#[actix::test]
async fn a_panicking_cache_is_found() {
    let check = check().kinds([]).faults(0);
    assert_caught(check, Flaw::Panics, &[Rule::Deadline]).await;
}
