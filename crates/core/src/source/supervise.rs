//! A source that outlives its own panics and leaves room for others.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::time::Duration;

use futures_core::Stream;
use futures_util::{FutureExt, stream};

use super::Source;
use crate::backoff::Backoff;
use crate::error::{Error, Kind};
use crate::panic::{contained, message};
use crate::signal::Signal;

/// The signals of a supervised source, without end.
pub type Signals = Pin<Box<dyn Stream<Item = Signal> + Send>>;

/// How long to wait before a source that panicked is built anew.
const REBUILD: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(30));

/// Runs the source that `build` makes; if it, or `build`, panics, says [`Signal::Down`], waits, and runs a
/// new one.
///
/// Between two batches of events it yields: under a flood, those who take events from their queues on the
/// same thread must get to run before the queues are full.
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
    /// In a row.
    panics: u32,
    /// The last signal was a batch.
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
            return self.panicked("the source vanished");
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
        // Its destructor may panic as well.
        let broken = self.source.take();
        let _ = contained(|| drop(broken));
        let error = Error::new(Kind::Panicked, format!("the source panicked: {message}"));
        tracing::error!(error = %error.chain(), "source panicked, building a new one");
        Signal::Down(error)
    }
}
