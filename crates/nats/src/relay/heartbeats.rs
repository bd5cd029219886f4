//! Sends the heartbeats of slices over core NATS.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pgherald_core::__private::host::group::SliceState;
use pgherald_core::Health;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::metrics::Metrics;
use super::session::Connector;
use crate::contract::Heartbeat;

/// The slices of a relay, as its consumer last published them.
#[derive(Default)]
pub(super) struct Slices(Mutex<Vec<SliceState>>);

impl Slices {
    pub(super) fn set(&self, slices: Vec<SliceState>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = slices;
    }

    fn get(&self) -> Vec<SliceState> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// The lag of a relay, as the moment before which every committed change is stored.
struct Lag(Instant);

impl Lag {
    /// Returns the greatest lag of the slices. A relay that is not live may have lost its slices, so its lag grows until it is
    /// live.
    fn at(
        &mut self,
        now: Instant,
        slices: impl Iterator<Item = Duration>,
        is_live: bool,
    ) -> Duration {
        if is_live {
            let greatest = slices.max().unwrap_or_default();
            self.0 = now.checked_sub(greatest).unwrap_or(self.0);
        }
        now.duration_since(self.0)
    }
}

/// Sends a heartbeat of each slice at each interval. Never returns. Sends none for a slice whose lag is unknown, unless another
/// group stores messages of the slice.
pub(super) async fn send(
    connector: Arc<Connector>,
    slices: Arc<Slices>,
    metrics: Arc<Metrics>,
    health: watch::Receiver<Health>,
) {
    let mut lag_of_all = Lag(Instant::now());
    let every = connector.options.heartbeat;
    let (relay, started) = (name(), Instant::now());
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let states = slices.get();
        let now = Instant::now();
        let lag = |state: &SliceState| state.complete_until.map(|until| now.duration_since(until));
        let is_live = health.borrow().is_live();
        metrics.lag(lag_of_all.at(now, states.iter().filter_map(lag), is_live));
        let sending = async {
            // The consumer connects. Without a connection, the client would send the heartbeats later, and they would be too old.
            let Some(session) = connector.connected() else {
                return;
            };
            for state in &states {
                let group = connector.options.group.group();
                let Some(heartbeat) =
                    heartbeat(group, state, lag(state), every, (&relay, now - started))
                else {
                    continue;
                };
                let subject = connector.options.prefix.heartbeat(heartbeat.slice);
                if session
                    .client
                    .publish(subject, heartbeat.to_json().into())
                    .await
                    .is_err()
                {
                    return;
                }
            }
        };
        // A heartbeat that waited for the connection would be too old.
        let _ = tokio::time::timeout(every, sending).await;
    }
}

fn heartbeat(
    group: &str,
    state: &SliceState,
    lag: Option<Duration>,
    every: Duration,
    sent: (&str, Duration),
) -> Option<Heartbeat> {
    // Send it anyway, so that readers detect both groups.
    let lag = lag.or_else(|| state.is_contended.then_some(Duration::MAX));
    let (slice, slices) = state.slice;
    let numbers = (u16::try_from(slice).ok()?, u16::try_from(slices).ok()?);
    Some(Heartbeat::new(
        (group, &state.period),
        numbers,
        state.epoch,
        (&state.incarnation, state.sequence),
        lag?,
        every,
        sent,
    ))
}

/// Returns a random name for the relay.
fn name() -> String {
    format!("{:016x}", RandomState::new().hash_one(std::process::id()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::Lag;

    #[test]
    fn lag_grows_while_the_relay_is_not_live() {
        let begun = Instant::now();
        let (second, mut lag) = (Duration::from_secs(1), Lag(begun));
        let mut at = |seconds, slices: &[u32], is_live| {
            let slices = slices.iter().map(|lag| second * *lag);
            lag.at(begun + second * seconds, slices, is_live).as_secs()
        };
        assert_eq!(at(10, &[1, 3], true), 3);
        assert_eq!(at(20, &[], false), 13, "its slices are lost");
        assert_eq!(at(30, &[], false), 23);
        assert_eq!(at(40, &[], true), 0, "other relays own its slices");
    }
}
