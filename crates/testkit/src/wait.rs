//! Waits for a condition in blocking code.

use std::time::{Duration, Instant};

const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Polls `condition` until it holds. Returns `false` if it does not within `limit`.
///
/// Blocks the thread: only for code in `spawn_blocking` or in a `Drop`.
#[expect(
    clippy::disallowed_methods,
    reason = "operating system processes are polled from a thread that may block"
)]
pub(crate) fn wait_until(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}
