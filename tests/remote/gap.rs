//! Each row that a subscriber of a distributor did not receive lies in a gap that a resync announced: see [`Run`].

use pgherald::ListenerActor;

use crate::faults::{FAULTS, LOSSES, Remote};
use crate::numbers::{Outcome, Run};

#[actix::test]
async fn every_number_is_delivered_by_a_distributor_or_lies_in_an_announced_gap() {
    run(false).await;
}

#[actix::test]
async fn every_number_of_the_outbox_is_delivered_by_a_distributor_or_lies_in_an_announced_gap() {
    let outcome = run(true).await;
    // The source continues after all faults but crashes. A position may also be lost while the distributor itself connects.
    assert!(
        outcome.fast.resyncs <= 3 + 2 * outcome.crashes,
        "{outcome:?}"
    );
}

async fn run(is_recorded: bool) -> Outcome {
    let remote = Remote::new().await;
    let run = Run {
        faults: 40,
        is_recorded,
        losses: &LOSSES,
        lasting: &FAULTS,
        may_repeat: false,
    };
    run.start(
        |url, spec| ListenerActor::new(remote.start(url, &spec).factory().unwrap()),
        async |fault| match fault {
            Some(fault) => remote.inject(fault).await,
            None => remote.repair().await,
        },
    )
    .await
}
