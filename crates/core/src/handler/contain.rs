//! Runs user code and contains its panics and timeouts.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::timeout;

use super::{Failure, HandlerResult};
use crate::panic::contained;

/// Runs one attempt. Returns a panic as [`Failure::Panicked`], whether it occurs in the call, in a poll, in a destructor or
/// in the formatting of the error. Drops an attempt that takes longer than `limit`.
///
/// A future that blocks its thread cannot be stopped, because the limit is checked only when the future yields.
///
/// # Errors
/// Returns how the attempt failed.
pub async fn contain<F>(attempt: impl FnOnce() -> F, limit: Duration) -> Result<(), Failure>
where
    F: Future<Output = HandlerResult>,
{
    let future = contained(|| Box::pin(attempt())).map_err(Failure::Panicked)?;
    let mut contained = Contained {
        future: Some(future),
    };
    match timeout(limit, &mut contained).await {
        Ok(Ok(Ok(()))) => Ok(()),
        Ok(Ok(Err(error))) => Err(Failure::render(error)),
        Ok(Err(message)) => Err(Failure::Panicked(message)),
        Err(_) => match contained.discard() {
            Ok(()) => Err(Failure::TimedOut(limit)),
            Err(message) => Err(Failure::Panicked(message)),
        },
    }
}

/// A future that returns panics as errors. Dropping it never panics.
struct Contained<F> {
    future: Option<Pin<Box<F>>>,
}

impl<F> Contained<F> {
    fn discard(&mut self) -> Result<(), String> {
        let future = self.future.take();
        contained(|| drop(future))
    }
}

impl<F: Future> Future for Contained<F> {
    type Output = Result<F::Output, String>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(future) = &mut self.future else {
            return Poll::Pending;
        };
        let result = match contained(|| future.as_mut().poll(cx)) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(output)) => Ok(output),
            Err(message) => Err(message),
        };
        Poll::Ready(match (result, self.discard()) {
            (Ok(output), Err(message)) => {
                // The output is a value of the user as well, so its destructor may panic.
                let _ = contained(|| drop(output));
                Err(message)
            }
            (result, _) => result,
        })
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
    async fn panics_and_timeouts_are_returned_as_failures() {
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
        let throw_a_bomb = || async { std::panic::panic_any(Bomb) };
        assert_eq!(outcome(throw_a_bomb).await, "panicked: (not a text)");
    }

    #[derive(Debug)]
    struct BadError {
        drops_badly: bool,
    }

    impl std::fmt::Display for BadError {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            assert!(self.drops_badly, "in display");
            f.write_str("shown")
        }
    }

    impl std::error::Error for BadError {}

    impl Drop for BadError {
        fn drop(&mut self) {
            assert!(!self.drops_badly, "in drop of the error");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn panics_in_formatting_or_dropping_errors_are_failures() {
        let fail = |drops_badly| move || async move { Err(BadError { drops_badly }.into()) };
        assert_eq!(outcome(fail(false)).await, "panicked: in display");
        assert_eq!(outcome(fail(true)).await, "panicked: in drop of the error");
    }

    #[tokio::test(start_paused = true)]
    async fn dropping_an_attempt_contains_panics_of_destructors() {
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
    fn only_permanent_errors_are_not_retryable() {
        assert!(Failure::render("e".into()).is_retryable());
        assert!(!Failure::render(HandlerError::permanent("e")).is_retryable());
        assert!(Failure::TimedOut(LIMIT).is_retryable());
    }
}
