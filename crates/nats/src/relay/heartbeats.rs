//! Sends the heartbeats of slices over core NATS.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::connection::State;
use pgherald_core::__private::host::group::SliceState;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::metrics::Metrics;
use super::session::Connector;
use crate::contract::Heartbeat;

/// The slices of a relay, as its consumer has published them last.
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

/// Sends a heartbeat of each slice at each interval. Never ends. A slice without a known lag has none, unless another
/// group stores it.
pub(super) async fn send(connector: Arc<Connector>, slices: Arc<Slices>, metrics: Arc<Metrics>) {
    let every = connector.options.heartbeat;
    let (relay, started) = (name(), Instant::now());
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let states = slices.get();
        let now = Instant::now();
        let lag = |state: &SliceState| state.complete_until.map(|until| now.duration_since(until));
        metrics.lag(states.iter().filter_map(lag).max().unwrap_or_default());
        let sending = async {
            // The consumer reports that there is no connection.
            let Ok(session) = connector.session().await else {
                return;
            };
            // The client would send them when it is connected again, and they would be too old.
            if session.client.connection_state() != State::Connected {
                return;
            }
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
    // Readers must know of both groups.
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

/// Returns a name that no other relay has.
fn name() -> String {
    format!("{:016x}", RandomState::new().hash_one(std::process::id()))
}
