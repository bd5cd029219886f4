//! Running user code so that nothing it does gets out.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::timeout;

use super::{Failure, HandlerResult};
use crate::panic::describe;

/// Runs one attempt: a panic, in the call itself, in a poll or in a destructor, comes back as
/// [`Failure::Panicked`], and an attempt that is not over after `limit` is dropped.
///
/// A future that blocks its thread cannot be stopped: the limit is looked at when it awaits.
///
/// # Errors
/// Whatever kept the attempt from succeeding.
pub async fn contain<F>(attempt: impl FnOnce() -> F, limit: Duration) -> Result<(), Failure>
where
    F: Future<Output = HandlerResult>,
{
    let future = catch_unwind(AssertUnwindSafe(|| Box::pin(attempt())))
        .map_err(|panic| Failure::Panicked(describe(&*panic).to_owned()))?;
    let mut contained = Contained {
        future: Some(future),
    };
    match timeout(limit, &mut contained).await {
        Ok(Ok(result)) => result.map_err(Failure::Error),
        Ok(Err(message)) => Err(Failure::Panicked(message)),
        Err(_) => match contained.discard() {
            Ok(()) => Err(Failure::TimedOut(limit)),
            Err(message) => Err(Failure::Panicked(message)),
        },
    }
}

/// A future whose panics are values. Safe to drop at any time.
struct Contained<F> {
    future: Option<Pin<Box<F>>>,
}

impl<F> Contained<F> {
    fn discard(&mut self) -> Result<(), String> {
        let future = self.future.take();
        catch_unwind(AssertUnwindSafe(|| drop(future)))
            .map_err(|panic| describe(&*panic).to_owned())
    }
}

impl<F: Future> Future for Contained<F> {
    type Output = Result<F::Output, String>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(future) = &mut self.future else {
            return Poll::Pending;
        };
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx)));
        let result = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(output)) => Ok(output),
            Err(panic) => Err(describe(&*panic).to_owned()),
        };
        // What the attempt returned counts more than how its remains went.
        let remains = self.discard();
        Poll::Ready(result.and_then(|output| remains.map(|()| output)))
    }
}

impl<F> Drop for Contained<F> {
    fn drop(&mut self) {
        let _ = self.discard();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::contain;
    use crate::handler::{Failure, HandlerError, HandlerResult};

    const LIMIT: Duration = Duration::from_secs(1);

    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("in drop");
        }
    }

    async fn outcome<F: Future<Output = HandlerResult>>(attempt: impl FnOnce() -> F) -> String {
        match contain(attempt, LIMIT).await {
            Ok(()) => "done".to_owned(),
            Err(failure) => failure.to_string(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn panics_and_hangs_come_back_as_failures() {
        assert_eq!(outcome(|| async { Ok(()) }).await, "done");
        assert_eq!(outcome(|| async { Err("no".into()) }).await, "no");
        assert_eq!(
            outcome(|| async { panic!("in poll") }).await,
            "panicked: in poll"
        );
        let in_call = || -> std::future::Ready<HandlerResult> { panic!("in call") };
        assert_eq!(outcome(in_call).await, "panicked: in call");
        let hang = || async {
            std::future::pending::<()>().await;
            Ok(())
        };
        assert_eq!(outcome(hang).await, "took longer than 1s");
        let hang_and_explode = || async {
            let _bomb = Bomb;
            std::future::pending::<()>().await;
            Ok(())
        };
        assert_eq!(outcome(hang_and_explode).await, "panicked: in drop");
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_is_dropped_explodes_for_nobody() {
        let attempt = contain(
            || async {
                let _bomb = Bomb;
                std::future::pending::<()>().await;
                Ok(())
            },
            Duration::from_secs(60),
        );
        assert!(tokio::time::timeout(LIMIT, attempt).await.is_err());
    }

    #[test]
    fn only_permanent_errors_are_not_retried() {
        assert!(Failure::Error("e".into()).is_retryable());
        assert!(!Failure::Error(HandlerError::permanent("e")).is_retryable());
        assert!(Failure::TimedOut(LIMIT).is_retryable());
    }
}
