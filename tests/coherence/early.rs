//! A source that announces the gap too early.

use pgherald::{Resync, ResyncReason, Signal, Source};

/// Says, as soon as the connection is lost, what it should say when it listens again.
pub(crate) struct Early<S> {
    inner: S,
    state: State,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    /// Not connected yet.
    Starting,
    Live,
    /// The resync was said, live must follow.
    Announced,
    /// Says nothing more until it really listens again.
    Lying,
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
            self.state = State::Lying;
            return Signal::Live;
        }
        loop {
            let signal = self.inner.next().await;
            match (&signal, self.state) {
                (Signal::Down(_), State::Live) => {
                    self.state = State::Announced;
                    return Signal::Resync(Resync::new(ResyncReason::Reconnected));
                }
                (Signal::Live, State::Lying) => self.state = State::Live,
                (Signal::Down(_) | Signal::Resync(_), State::Lying) => {}
                (Signal::Live, _) => {
                    self.state = State::Live;
                    return signal;
                }
                _ => return signal,
            }
        }
    }
}
