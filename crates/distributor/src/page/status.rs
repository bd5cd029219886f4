//! The answer of `/v1/status`.

use std::time::SystemTime;

use pgherald_core::__private::host::group::Node;
use pgherald_core::Health;
use pgherald_core::group::GroupStatus;
use pgherald_core::outbox::OutboxStatus;
use serde::Serialize;

use super::caches::{Cache, Observed};
use super::database::Snapshot;
use super::findings::{Facts, Finding, findings};
use super::history::Entry;
use super::rates::Report;
use super::{Page, time};
use crate::connected::Overview;
use crate::distributor::Shared;

/// The version of the answer.
const VERSION: u32 = 1;

/// All that the page shows, but events.
#[derive(Serialize)]
pub(super) struct Status {
    version: u32,
    at: String,
    started: String,
    may_operate: bool,
    health: State,
    /// The oldest entry first.
    history: Vec<Entry>,
    rates: Report,
    clients: Overview,
    /// `null` without a database.
    database: Option<Database>,
    caches: Vec<Cache>,
    findings: Vec<Finding>,
}

/// The health of the listener.
#[derive(Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
enum State {
    Connecting,
    Live {
        since: String,
    },
    Down {
        since: String,
        cause: String,
        hint: &'static str,
    },
}

#[derive(Serialize)]
struct Database {
    /// When it was read.
    at: Option<String>,
    /// How long ago that was.
    age_seconds: Option<f64>,
    error: Option<String>,
    outbox: Option<Outbox>,
    groups: Vec<Group>,
}

#[derive(Serialize)]
struct Outbox {
    bytes: u64,
    max_bytes: u64,
    oldest_seconds: Option<f64>,
    keep_seconds: f64,
}

#[derive(Serialize)]
struct Group {
    name: String,
    is_paused: bool,
    lag_events: i64,
    lag_is_estimate: bool,
    lag_seconds: f64,
    slices: i32,
    parked: i64,
    failing: i64,
    oldest_failing_seconds: Option<f64>,
    dead_letters: i64,
    last_error: Option<String>,
    nodes: Vec<Owner>,
}

/// A consumer of a group.
#[derive(Serialize)]
struct Owner {
    description: String,
    slices: i64,
    /// Negative if the lease has expired.
    lease_seconds: f64,
}

impl Status {
    pub(super) fn new(
        shared: &Shared,
        page: &Page,
        snapshot: Option<&Snapshot>,
        may_operate: bool,
    ) -> Self {
        let health = page.monitor.health();
        let caches: Vec<_> = page.caches.iter().map(Observed::read).collect();
        let clients = shared.clients().overview();
        let findings = findings(&Facts {
            health: &health,
            database: snapshot,
            caches: &caches,
            clients: clients.count,
            most_clients: shared.limits.clients,
        });
        Self {
            version: VERSION,
            at: time(SystemTime::now()),
            started: page.monitor.started(),
            may_operate: may_operate && page.database.is_some(),
            health: State::new(&health),
            history: page.monitor.history(),
            rates: page.monitor.rates(),
            clients,
            database: snapshot.map(Database::new),
            caches,
            findings,
        }
    }
}

impl State {
    fn new(health: &Health) -> Self {
        match health {
            Health::Live { since } => Self::Live {
                since: time(*since),
            },
            Health::Degraded { since, cause, .. } => Self::Down {
                since: time(*since),
                cause: cause.chain(),
                hint: cause.hint(),
            },
            _ => Self::Connecting,
        }
    }
}

impl Database {
    fn new(snapshot: &Snapshot) -> Self {
        let content = &snapshot.content;
        let group = |group| Group::new(group, &content.nodes);
        Self {
            at: snapshot.read.map(|(_, at)| time(at)),
            age_seconds: snapshot.read.map(|(at, _)| at.elapsed().as_secs_f64()),
            error: snapshot.error.as_ref().map(|error| error.chain()),
            outbox: content.outbox.as_ref().map(Outbox::new),
            groups: content.groups.iter().map(group).collect(),
        }
    }
}

impl Outbox {
    fn new(status: &OutboxStatus) -> Self {
        Self {
            bytes: status.bytes,
            max_bytes: status.max_bytes,
            oldest_seconds: status.oldest.map(|oldest| oldest.as_secs_f64()),
            keep_seconds: status.keep.as_secs_f64(),
        }
    }
}

impl Group {
    fn new(status: &GroupStatus, nodes: &[Node]) -> Self {
        let owners = nodes.iter().filter(|node| node.group == status.name);
        let owner = |node: &Node| Owner {
            description: node.description.clone(),
            slices: node.slices,
            lease_seconds: node.lease_seconds,
        };
        Self {
            name: status.name.clone(),
            is_paused: status.is_paused,
            lag_events: status.lag_events,
            lag_is_estimate: status.lag_is_estimate,
            lag_seconds: status.lag.as_secs_f64(),
            slices: status.slices,
            parked: status.parked,
            failing: status.failing,
            oldest_failing_seconds: status.oldest_failing.map(|oldest| oldest.as_secs_f64()),
            dead_letters: status.dead_letters,
            last_error: status.last_error.clone(),
            nodes: owners.map(owner).collect(),
        }
    }
}
