//! Two sources as one: live while both are.
//!
//! ```text
//!   first  ── Signal ──┐
//!                      ├─► Events and Resync at once; Live when both are; Down when one is not
//!   second ── Signal ──┘
//! ```
//!
//! Owner: whoever polls it polls both. It keeps, for each, whether it is live, whether it has resumed, and the cause if it is
//! down; and whose cause was told last.
//!
//! Guarantees:
//! - What each source says of changes is passed on in its order. Nothing is promised of the order between the two: what one
//!   transaction changes in a table of each arrives in any order. A write token of one source says nothing of the other.
//! - `Live` is said when the second of them is live, behind what both had to say before it.
//! - `Resumed` waits for that too: until then, what the other one has missed is still to be said.
//! - The cause of the last `Down` is that of a source that is down.

use super::Source;
use crate::error::Error;
use crate::signal::Signal;

/// Joins two sources behind one stream: tables that are announced and tables that are recorded, say.
///
/// ```
/// use pgherald_core::trigger::TriggerSpec;
/// use pgherald_core::{ConnectConfig, Joined, NotifySource, OutboxSource, TableName, supervise};
///
/// let config: ConnectConfig = "postgresql://app@localhost/shop".parse()?;
/// let users = TriggerSpec::new(TableName::new("public", "users")?);
/// let orders = TriggerSpec::new(TableName::new("public", "orders")?).outbox();
/// let announced = NotifySource::builder(config.clone()).watch(users).factory()?;
/// let recorded = OutboxSource::builder(config).watch(orders).factory()?;
/// let signals = supervise(move || Joined::new(announced(), recorded()));
/// # drop(signals);
/// # Ok::<(), pgherald_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Joined<A, B> {
    first: A,
    second: B,
    states: [State; 2],
    /// Whose cause was told last.
    told: usize,
    /// Said before anything else.
    next: Option<Signal>,
}

#[derive(Debug, Default)]
struct State {
    is_live: bool,
    /// Whether it has resumed since neither was live, which is still to be said.
    has_resumed: bool,
    /// If it is down, and has not said what is missing, or that nothing is, since then.
    cause: Option<Error>,
}

impl<A: Source, B: Source> Joined<A, B> {
    /// Both of them. Neither is polled before this is.
    #[must_use]
    pub fn new(first: A, second: B) -> Self {
        Self {
            first,
            second,
            states: [State::default(), State::default()],
            told: 0,
            next: None,
        }
    }

    /// What is to be said because the source of number `from` has said `signal`.
    fn take(&mut self, from: usize, signal: Signal) -> Option<Signal> {
        let [one, other] = match &mut self.states {
            [one, other] if from == 0 => [one, other],
            [other, one] => [one, other],
        };
        match signal {
            Signal::Events(_) => Some(signal),
            Signal::Resync(ref resync) => {
                if resync.channel().is_none() {
                    one.cause = None;
                }
                Some(signal)
            }
            Signal::Resumed => {
                one.cause = None;
                one.has_resumed = true;
                None
            }
            Signal::Down(error) => {
                *one = State {
                    cause: Some(error.clone()),
                    ..State::default()
                };
                self.told = from;
                Some(Signal::Down(error))
            }
            Signal::Live => {
                let was_live = std::mem::replace(&mut one.is_live, true);
                one.cause = None;
                if other.is_live && !was_live {
                    let resumed = [one, other].map(|state| std::mem::take(&mut state.has_resumed));
                    if resumed.contains(&true) {
                        self.next = Some(Signal::Live);
                        return Some(Signal::Resumed);
                    }
                    return Some(Signal::Live);
                }
                let cause = other.cause.clone().filter(|_| self.told == from)?;
                self.told = 1 - from;
                Some(Signal::Down(cause))
            }
        }
    }
}

impl<A: Source, B: Source> Source for Joined<A, B> {
    async fn next(&mut self) -> Signal {
        loop {
            if let Some(signal) = self.next.take() {
                return signal;
            }
            // In random order, so that neither waits for the other to pause.
            let (from, signal) = tokio::select! {
                signal = self.first.next() => (0, signal),
                signal = self.second.next() => (1, signal),
            };
            if let Some(signal) = self.take(from, signal) {
                return signal;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::{Joined, Source};
    use crate::error::{Error, Kind};
    use crate::signal::{Resync, ResyncReason, Signal};

    struct Silent;

    impl Source for Silent {
        async fn next(&mut self) -> Signal {
            pending().await
        }
    }

    /// What is said of a script of signals: `1` or `2`, and `live`, `down`, `resync` or `resumed`.
    fn said(script: &str) -> String {
        let mut joined = Joined::new(Silent, Silent);
        let mut said = Vec::new();
        for word in script.split(' ') {
            let (from, what) = word.split_at(1);
            let signal = match what {
                "live" => Signal::Live,
                "resumed" => Signal::Resumed,
                "resync" => Signal::Resync(Resync::new(ResyncReason::Reconnected)),
                _ => Signal::Down(Error::new(Kind::Connect, format!("down{from}"))),
            };
            said.extend(joined.take(usize::from(from == "2"), signal));
            said.extend(joined.next.take());
        }
        let words = said.iter().map(|signal| match signal {
            Signal::Live => "live".to_owned(),
            Signal::Resumed => "resumed".to_owned(),
            Signal::Resync(_) => "resync".to_owned(),
            Signal::Down(error) => error.to_string(),
            Signal::Events(_) => "events".to_owned(),
        });
        words.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn it_is_live_while_both_are() {
        assert_eq!(said("1resync 1live"), "resync");
        assert_eq!(said("1resync 1live 2resync 2live"), "resync resync live");
        assert_eq!(
            said("1resync 1live 2resync 2live 2down 2resync 2live"),
            "resync resync live down2 resync live"
        );
        assert_eq!(said("1live 2live 1live"), "live");
    }

    #[test]
    fn what_was_caught_up_on_is_told_when_nothing_is_missing() {
        assert_eq!(
            said("1live 2live 1down 2down 1resumed 1live 2resync 2live"),
            "live down1 down2 resync resumed live"
        );
        assert_eq!(
            said("1live 2live 1down 1resumed 1down 1resync 1live"),
            "live down1 down1 resync live"
        );
        assert_eq!(
            said("1live 2live 1down 1resumed 1live"),
            "live down1 resumed live"
        );
    }

    #[test]
    fn the_cause_is_that_of_a_source_that_is_down() {
        assert_eq!(
            said("2down 1down 1resync 1live 2resync 2live"),
            "down2 down1 resync down2 resync live"
        );
        // Between a resync and Live comes nothing that would ask for another one.
        assert_eq!(
            said("2down 1down 2resync 1resync 1live 2live"),
            "down2 down1 resync resync live"
        );
    }
}
