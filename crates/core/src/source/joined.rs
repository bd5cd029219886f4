//! Combines two sources into one that is live while both are.
//!
//! ```text
//!   first  ── Signal ──┐
//!                      ├─► Events and Resync at once; Live when both are; Down when one is not
//!   second ── Signal ──┘
//! ```
//!
//! Polling it polls both sources. For each source it stores whether the source is live, whether it has resumed, and the cause
//! if it is down. It also stores which source's cause it reported last.
//!
//! Guarantees:
//! - The signals of each source are passed on in their order. There is no order between the two sources: if one transaction
//!   changes a table of each, the changes arrive in any order. A write token of one source does not cover the other.
//! - `Live` is emitted when both sources are live, after all earlier signals of both.
//! - `Resumed` is also delayed until both are live, because the other source may still have to catch up.
//! - The cause of the last `Down` belongs to a source that is down.

use super::Source;
use crate::error::Error;
use crate::signal::Signal;

/// Joins two sources into one stream, for example for announced and recorded tables.
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
    members: [Member; 2],
    /// The index of the source whose cause was reported last.
    reported: usize,
    /// A signal to emit before anything else.
    next: Option<Signal>,
}

/// What one of the two sources has emitted.
#[derive(Debug, Default)]
struct Member {
    is_live: bool,
    /// Whether the source has resumed and `Resumed` was not emitted yet.
    has_resumed: bool,
    /// Why the source is down. Empty if it has since emitted a resync of all channels, or `Resumed`.
    cause: Option<Error>,
}

impl<A: Source, B: Source> Joined<A, B> {
    /// Joins two sources. They are polled only while the joined source is.
    #[must_use]
    pub fn new(first: A, second: B) -> Self {
        Self {
            first,
            second,
            members: [Member::default(), Member::default()],
            reported: 0,
            next: None,
        }
    }

    /// Returns the signal to emit after source number `from` has emitted `signal`.
    fn take(&mut self, from: usize, signal: Signal) -> Option<Signal> {
        let [one, other] = match &mut self.members {
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
                *one = Member {
                    cause: Some(error.clone()),
                    ..Member::default()
                };
                self.reported = from;
                Some(Signal::Down(error))
            }
            Signal::Live => {
                let was_live = std::mem::replace(&mut one.is_live, true);
                one.cause = None;
                if other.is_live && !was_live {
                    let resumed =
                        [one, other].map(|member| std::mem::take(&mut member.has_resumed));
                    if resumed.contains(&true) {
                        self.next = Some(Signal::Live);
                        return Some(Signal::Resumed);
                    }
                    return Some(Signal::Live);
                }
                let cause = other.cause.clone().filter(|_| self.reported == from)?;
                self.reported = 1 - from;
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
            // `select!` polls in random order, so a busy source does not starve the other.
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
    use crate::error::{Error, ErrorKind};
    use crate::signal::{Resync, ResyncReason, Signal};

    struct Silent;

    impl Source for Silent {
        async fn next(&mut self) -> Signal {
            pending().await
        }
    }

    /// Returns the signals emitted for a script of signals: `1` or `2`, followed by `live`, `down`, `resync` or `resumed`.
    fn emitted(script: &str) -> String {
        let mut joined = Joined::new(Silent, Silent);
        let mut emitted = Vec::new();
        for word in script.split(' ') {
            let (from, what) = word.split_at(1);
            let signal = match what {
                "live" => Signal::Live,
                "resumed" => Signal::Resumed,
                "resync" => Signal::Resync(Resync::new(ResyncReason::Reconnected)),
                _ => Signal::Down(Error::new(ErrorKind::Connect, format!("down{from}"))),
            };
            emitted.extend(joined.take(usize::from(from == "2"), signal));
            emitted.extend(joined.next.take());
        }
        let words = emitted.iter().map(|signal| match signal {
            Signal::Live => "live".to_owned(),
            Signal::Resumed => "resumed".to_owned(),
            Signal::Resync(_) => "resync".to_owned(),
            Signal::Down(error) => error.to_string(),
            Signal::Events(_) => "events".to_owned(),
        });
        words.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn joined_sources_are_live_while_both_are() {
        assert_eq!(emitted("1resync 1live"), "resync");
        assert_eq!(emitted("1resync 1live 2resync 2live"), "resync resync live");
        assert_eq!(
            emitted("1resync 1live 2resync 2live 2down 2resync 2live"),
            "resync resync live down2 resync live"
        );
        assert_eq!(emitted("1live 2live 1live"), "live");
    }

    #[test]
    fn resumed_is_emitted_when_both_sources_are_live() {
        assert_eq!(
            emitted("1live 2live 1down 2down 1resumed 1live 2resync 2live"),
            "live down1 down2 resync resumed live"
        );
        assert_eq!(
            emitted("1live 2live 1down 1resumed 1down 1resync 1live"),
            "live down1 down1 resync live"
        );
        assert_eq!(
            emitted("1live 2live 1down 1resumed 1live"),
            "live down1 resumed live"
        );
    }

    #[test]
    fn the_reported_cause_is_of_a_source_that_is_down() {
        assert_eq!(
            emitted("2down 1down 1resync 1live 2resync 2live"),
            "down2 down1 resync down2 resync live"
        );
        // No `Down` comes between a resync and `Live`, because it would require another resync.
        assert_eq!(
            emitted("2down 1down 2resync 1resync 1live 2live"),
            "down2 down1 resync resync live"
        );
    }
}
