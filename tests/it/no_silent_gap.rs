//! Each row that a subscriber did not receive lies in a gap that a resync announced: see [`Run`].

use std::time::Duration;

use pgherald::__private::host::events::Split;
use pgherald::ListenerActor;

use crate::numbers::{Outcome, Run};
use crate::support::source;

#[actix::test]
async fn every_number_is_delivered_or_lies_in_an_announced_gap_in_notify_mode() {
    run(false).await;
}

#[actix::test]
async fn every_number_is_delivered_in_outbox_mode_unless_a_server_crashed_or_a_queue_was_full() {
    let outcome = run(true).await;
    assert_eq!(outcome.fast.lost, 0, "{outcome:?}");
    assert!(outcome.fast.resyncs <= 1 + outcome.crashes, "{outcome:?}");
}

async fn run(is_recorded: bool) -> Outcome {
    let run = Run {
        faults: 30,
        is_recorded,
        losses: &[],
        lasting: &[],
        may_repeat: false,
    };
    run.start(
        |url, spec| {
            let source = source(url)
                .watch(spec)
                .connect_timeout(Duration::from_secs(2));
            match is_recorded {
                true => ListenerActor::new(source.split_outbox().1.factory().unwrap()),
                false => ListenerActor::new(source.factory().unwrap()),
            }
        },
        async |_| {},
    )
    .await
}
