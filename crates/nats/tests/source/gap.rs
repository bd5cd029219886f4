//! Each row that a subscriber behind a relay did not receive lies in a gap that a resync announced: see [`Run`].

use pgherald::ListenerActor;

use crate::faults::{FAULTS, LOSSES, Remote};
use crate::numbers::Run;

#[actix::test]
async fn every_number_is_delivered_by_a_relay_or_lies_in_an_announced_gap() {
    crate::program::log();
    let remote = Remote::of_slices(1).await;
    let run = Run {
        faults: 24,
        is_recorded: true,
        losses: &LOSSES,
        lasting: &FAULTS,
        // A relay stores events again that it had stored shortly before the stream was created again.
        may_repeat: true,
    };
    run.start(
        |url, spec| ListenerActor::new(remote.start(url, &spec).factory().unwrap()),
        async |fault| match fault {
            Some(fault) => remote.inject(fault).await,
            None => remote.repair().await,
        },
    )
    .await;
}
