//! The coherence check of caches whose source is a [`Remote`].

use std::convert::Infallible;
use std::rc::Rc;

use pgherald::ListenerActor;
use pgherald_testkit::coherence::{CoherenceCheck, CoherenceReport};

use crate::cached::{Cached, by_row};
use crate::faults::Remote;

/// Runs a check that also injects these faults of the remote.
pub(crate) async fn run(check: CoherenceCheck, faults: &[&'static str]) -> CoherenceReport {
    let remote = Remote::new().await;
    let starting = Rc::clone(&remote);
    let report = check
        .handlers()
        .listener_at(move |url, spec| {
            let source = starting.start(url, &spec);
            Ok(ListenerActor::new(source.factory()?))
        })
        .custom_faults(faults.iter().copied(), move |fault| {
            let remote = Rc::clone(&remote);
            async move {
                match fault {
                    Some(fault) => remote.inject(fault).await,
                    None => remote.repair().await,
                }
                Ok::<(), Infallible>(())
            }
        })
        .run(async |context| Cached::start(context, by_row(), |row, _| row).await)
        .await
        .unwrap();
    assert!(report.hits > 0 && report.handler_reads > 0, "{report}");
    report
}
