//! Loads that read from caches themselves, and the deadlocks that must not come of it.
//!
//! A loader may read other keys and other caches. If it waits for the load of somebody who, directly or by further
//! waits, waits for *this* load, nobody would ever get on. So whoever waits inside a load says so in a common
//! register; a wait that would close a circle is refused.
//!
//! Known by the task: a loader that spawns a task and waits for what that task reads is not seen.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;
use tracing::Instrument;

use super::store::FlightId;

tokio::task_local! {
    static CURRENT: Arc<Frame>;
}

/// For each flight, the flights that its loader waits for.
static WAITS: Mutex<BTreeMap<FlightId, Vec<FlightId>>> = Mutex::new(BTreeMap::new());

/// A load that the current task is in the middle of.
#[derive(Debug)]
pub(super) struct Frame {
    outer: Option<Arc<Frame>>,
    flights: Vec<FlightId>,
    place: Mutex<Option<OwnedSemaphorePermit>>,
}

/// Waiting would never end.
#[derive(Debug)]
pub(super) struct Circle;

/// Whether the current task is in the middle of a load that has a place. Waiting for another one could then be waiting
/// for oneself.
pub(super) fn has_place() -> bool {
    let mut frame = CURRENT.try_with(Arc::clone).ok();
    while let Some(current) = frame {
        if current.place.lock().is_some() {
            return true;
        }
        frame = current.outer.clone();
    }
    false
}

/// Runs `load` as the load of these flights.
pub(super) async fn within<L, F>(
    flights: Vec<FlightId>,
    place: Option<OwnedSemaphorePermit>,
    load: L,
) -> F::Output
where
    L: FnOnce() -> F,
    F: Future,
{
    let frame = Frame {
        outer: CURRENT.try_with(Arc::clone).ok(),
        flights,
        place: Mutex::new(place),
    };
    CURRENT
        .scope(Arc::new(frame), async move { load().await })
        .await
}

/// Runs `load` in a task of its own, as a part of the loads that the current task is in the middle of.
pub(super) fn spawn<F>(runtime: &Handle, load: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    let frame = CURRENT.try_with(Arc::clone).ok();
    let load = async move {
        match frame {
            Some(frame) => CURRENT.scope(frame, load).await,
            None => load.await,
        }
    };
    runtime.spawn(load.in_current_span())
}

/// To be held while waiting for a flight.
#[derive(Debug)]
pub(super) struct Wait {
    waiting: Vec<FlightId>,
    target: FlightId,
}

impl Wait {
    /// Enters the wait for `target` into the register; places of the current loads are given away.
    ///
    /// # Errors
    /// If `target`, directly or not, waits for a load that the current task is in the middle of.
    pub(super) fn begin(target: FlightId) -> Result<Self, Circle> {
        let mut waiting = Vec::new();
        let mut frame = CURRENT.try_with(Arc::clone).ok();
        while let Some(current) = frame {
            waiting.extend_from_slice(&current.flights);
            drop(current.place.lock().take());
            frame = current.outer.clone();
        }
        if !waiting.is_empty() {
            let mut waits = WAITS.lock();
            if reaches(&waits, target, &waiting) {
                return Err(Circle);
            }
            for flight in &waiting {
                waits.entry(*flight).or_default().push(target);
            }
        }
        Ok(Self { waiting, target })
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let mut waits = WAITS.lock();
        for flight in &self.waiting {
            if let Some(targets) = waits.get_mut(flight) {
                if let Some(position) = targets.iter().position(|other| *other == self.target) {
                    targets.swap_remove(position);
                }
                if targets.is_empty() {
                    waits.remove(flight);
                }
            }
        }
    }
}

/// Whether one of `goals` is `from`, or is waited for by it.
fn reaches(waits: &BTreeMap<FlightId, Vec<FlightId>>, from: FlightId, goals: &[FlightId]) -> bool {
    let mut seen = BTreeSet::new();
    let mut open = vec![from];
    while let Some(flight) = open.pop() {
        if goals.contains(&flight) {
            return true;
        }
        if seen.insert(flight)
            && let Some(targets) = waits.get(&flight)
        {
            open.extend_from_slice(targets);
        }
    }
    false
}
