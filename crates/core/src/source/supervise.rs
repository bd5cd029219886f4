//! Runs a source, survives its panics, and yields to other tasks of the thread.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::time::Duration;

use futures_core::Stream;
use futures_util::{FutureExt, stream};

use super::Source;
use crate::backoff::Backoff;
use crate::error::{Error, ErrorKind};
use crate::panic::{contained, message};
use crate::signal::Signal;

/// The signals of a supervised source, without end.
pub type Signals = Pin<Box<dyn Stream<Item = Signal> + Send>>;

/// The delay before a source that panicked is replaced.
const REBUILD: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(30));

/// Runs the source that `build` makes. If the source or `build` panics, emits [`Signal::Down`], waits, and builds a new
/// source.
///
/// Yields between two batches of events. Otherwise, a flood of events would fill the queues before subscribers on the same
/// thread get to run.
pub fn supervise<S: Source>(build: impl Fn() -> S + Send + 'static) -> Signals {
    let state = Supervised {
        build,
        source: None,
        panics: 0,
        yields: false,
    };
    Box::pin(stream::unfold(state, async |mut state| {
        let signal = state.next().await;
        Some((signal, state))
    }))
}

struct Supervised<B, S> {
    build: B,
    source: Option<S>,
    /// The number of panics since the source was last live.
    panics: u32,
    /// Whether the last signal was a batch.
    yields: bool,
}

impl<S: Source, B: Fn() -> S> Supervised<B, S> {
    async fn next(&mut self) -> Signal {
        if std::mem::take(&mut self.yields) {
            tokio::task::yield_now().await;
        }
        if self.source.is_none() {
            if self.panics > 0 {
                tokio::time::sleep(REBUILD.delay(self.panics - 1)).await;
            }
            match contained(|| (self.build)()) {
                Ok(source) => self.source = Some(source),
                Err(message) => return self.panicked(&message),
            }
        }
        let Some(source) = &mut self.source else {
            return self.panicked("the source is missing");
        };
        match AssertUnwindSafe(source.next()).catch_unwind().await {
            Ok(signal) => {
                match signal {
                    Signal::Live => self.panics = 0,
                    Signal::Events(_) => self.yields = true,
                    Signal::Resync(_) | Signal::Resumed | Signal::Down(_) => {}
                }
                signal
            }
            Err(panic) => self.panicked(&message(panic)),
        }
    }

    fn panicked(&mut self, message: &str) -> Signal {
        self.panics = self.panics.saturating_add(1);
        // The destructor may panic too.
        let broken = self.source.take();
        let _ = contained(|| drop(broken));
        let error = Error::new(ErrorKind::Panic, format!("the source panicked: {message}"));
        tracing::error!(error = %error.chain(), "source panicked, building a new one");
        Signal::Down(error)
    }
}
