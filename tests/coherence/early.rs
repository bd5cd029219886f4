//! A source that emits the resync of a gap too early.

use pgherald::{Resync, ResyncReason, Signal, Source};

/// Emits the signals of a reconnect as soon as the connection is lost, before the source listens again.
pub(crate) struct Early<S> {
    inner: S,
    state: State,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    /// Not connected yet.
    Starting,
    Live,
    /// The resync was emitted, and `Live` follows.
    Announced,
    /// Emits nothing until the inner source listens again.
    Suppressing,
}

impl<S: Source> Early<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self {
            inner,
            state: State::Starting,
        }
    }
}

impl<S: Source> Source for Early<S> {
    async fn next(&mut self) -> Signal {
        if self.state == State::Announced {
            self.state = State::Suppressing;
            return Signal::Live;
        }
        loop {
            let signal = self.inner.next().await;
            match (&signal, self.state) {
                (Signal::Down(_), State::Live) => {
                    self.state = State::Announced;
                    return Signal::Resync(Resync::new(ResyncReason::Reconnected));
                }
                (Signal::Live, State::Suppressing) => self.state = State::Live,
                (Signal::Down(_) | Signal::Resync(_), State::Suppressing) => {}
                (Signal::Live, _) => {
                    self.state = State::Live;
                    return signal;
                }
                _ => return signal,
            }
        }
    }
}
