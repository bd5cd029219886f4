//! What a read has to return once the source is live again (R7).

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::run::Run;

/// Raises the floors to what was acknowledged before the source became live, each time it does. Ends with
/// the listener.
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
