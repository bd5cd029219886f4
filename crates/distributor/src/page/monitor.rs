//! Follows the herald for as long as the distributor exists.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use pgherald_actors::Herald;
use pgherald_core::__private::host::errors;
use pgherald_core::{Delivery, Filter, Health, Overflow, Result, SubscriptionOptions};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::database::Database;
use super::history::{Entry, History};
use super::rates::{Rates, Report};
use super::time;

/// The name of the subscription, in logs and metrics.
const NAME: &str = "live page";

/// How often an unused session is looked for.
const IDLE_CHECK: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub(super) struct Monitor {
    state: Arc<Mutex<State>>,
    health: watch::Receiver<Health>,
    started: SystemTime,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct State {
    history: History,
    rates: Rates,
}

impl Monitor {
    /// Starts the task.
    pub(super) fn start(herald: Arc<Herald>, database: Option<Arc<Database>>) -> Result<Self> {
        let runtime = Handle::try_current().map_err(|_| errors::no_runtime())?;
        let state = Arc::new(Mutex::new(State {
            history: History::default(),
            rates: Rates::new(Instant::now()),
        }));
        let health = herald.health();
        let task = runtime.spawn(follow(herald, Arc::clone(&state), database));
        Ok(Self {
            state,
            health,
            started: SystemTime::now(),
            task,
        })
    }

    /// Returns when the distributor started.
    pub(super) fn started(&self) -> String {
        time(self.started)
    }

    pub(super) fn health(&self) -> Health {
        self.health.borrow().clone()
    }

    pub(super) fn history(&self) -> Vec<Entry> {
        lock(&self.state).history.entries()
    }

    pub(super) fn rates(&self) -> Report {
        lock(&self.state).rates.report(Instant::now())
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow(herald: Arc<Herald>, state: Arc<Mutex<State>>, database: Option<Arc<Database>>) {
    let mut health = herald.health();
    health.mark_changed();
    // The source does not wait for queues with this policy, so the page delays no subscriber.
    let options = SubscriptionOptions::new(NAME).overflow(Overflow::DropOldest);
    let subscription = herald.open(Filter::new(), options).await;
    drop(herald);
    let Ok(mut subscription) = subscription else {
        // The herald was shut down.
        return lock(&state).history.on_health(&health.borrow());
    };
    let mut idle_check = tokio::time::interval(IDLE_CHECK);
    loop {
        tokio::select! {
            changed = health.changed(), if health.has_changed().is_ok() => {
                if changed.is_ok() {
                    lock(&state).history.on_health(&health.borrow_and_update());
                }
            }
            delivery = subscription.recv() => match delivery {
                Some(delivery) => on_delivery(&mut lock(&state), &delivery),
                None => break,
            },
            _ = idle_check.tick() => {
                if let Some(database) = &database {
                    database.close_if_unused();
                }
            }
        }
    }
    lock(&state).history.on_health(&health.borrow());
}

fn on_delivery(state: &mut State, delivery: &Delivery) {
    if let Some(resync) = delivery.resync() {
        state.history.on_resync(resync);
    }
    state.rates.on_events(delivery.events(), Instant::now());
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // The state is a record of what was seen, which a panic cannot make inconsistent.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
