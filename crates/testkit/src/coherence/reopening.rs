//! Raises the floors for reads after an outage (R7).

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::run::Run;

/// Each time that the source becomes live, raises the floors to the versions that were acknowledged before. Ends with the
/// listener.
pub(super) async fn watch(run: Arc<Run>) {
    let mut health = run.liveness.health();
    let mut last = None;
    loop {
        let since = run.liveness.live_since();
        if since != last
            && let Some(moment) = since.and_then(instant)
        {
            run.floors.raise_reopening(moment);
        }
        last = since;
        if health.changed().await.is_err() {
            return;
        }
    }
}

fn instant(time: SystemTime) -> Option<Instant> {
    Instant::now().checked_sub(time.elapsed().ok()?)
}
