//! Loads that read from caches, and the detection of deadlocks between them.
//!
//! A loader may read other keys and other caches. If it waits for a load that waits, directly or through further loads,
//! for *this* load, none of them can end. So each load that waits is entered in a global register, and a wait that
//! would close a cycle is refused.
//!
//! Loads are tracked by task. If a loader spawns a task and waits for its reads, the register does not know.

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

/// A load that the current task runs in.
#[derive(Debug)]
pub(super) struct Frame {
    outer: Option<Arc<Frame>>,
    flights: Vec<FlightId>,
    place: Mutex<Option<OwnedSemaphorePermit>>,
}

/// The wait would never end.
#[derive(Debug)]
pub(super) struct Circle;

/// Whether the current task runs in a load that holds a permit. Waiting for another permit could then be a wait for
/// itself.
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

/// Runs `load` in a task of its own, as part of the loads that the current task runs in.
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

/// Registers a wait for a flight while it exists.
#[derive(Debug)]
pub(super) struct Wait {
    waiting: Vec<FlightId>,
    target: FlightId,
}

impl Wait {
    /// Registers the wait for `target`. Gives up the permits of the current loads.
    ///
    /// # Errors
    /// If `target` waits, directly or not, for a load that the current task runs in.
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

/// Whether one of `goals` is `from`, or `from` waits for it.
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
