//! A time limit for the server that a blocked thread of this process does not use up.

use std::pin::pin;
use std::time::Duration;

use tokio::time::timeout;

/// In how many parts a limit is waited for.
const PARTS: u32 = 8;

/// Waits for an answer of the server, for about `limit`. Returns `None` if there is none.
///
/// A handler that blocks its thread also keeps this process from sending the request and from receiving the answer. So the limit
/// is waited for in parts, and the time in which the thread is blocked counts as one part, however long it is.
pub(super) async fn within<F: Future>(limit: Duration, answer: F) -> Option<F::Output> {
    let mut answer = pin!(answer);
    for _ in 0..PARTS {
        if let Ok(answer) = timeout(limit / PARTS, &mut answer).await {
            return Some(answer);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::rc::Rc;
    use std::time::Duration;

    use tokio::sync::Notify;
    use tokio::task::LocalSet;
    use tokio::time::{Instant, advance};

    use super::within;

    const LIMIT: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_silent_server_is_given_up_after_the_limit() {
        let started = Instant::now();
        assert!(within(LIMIT, pending::<()>()).await.is_none());
        assert!(started.elapsed() >= LIMIT && started.elapsed() < LIMIT * 11 / 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_blocked_thread_does_not_use_the_limit_up() {
        let answered = Rc::new(Notify::new());
        let answer = within(LIMIT, answered.notified());
        let connection = async {
            // Like a handler that blocks the thread before the connection can read the answer.
            advance(LIMIT * 3).await;
            tokio::task::yield_now().await;
            answered.notify_one();
        };
        let (answer, ()) = LocalSet::new()
            .run_until(async { tokio::join!(answer, connection) })
            .await;
        assert!(answer.is_some());
    }
}
