//! The options of a durable handler.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::connections::Connections;
use crate::backoff::Backoff;
use crate::error::{Error, ErrorKind, Result};
use crate::event::FromEvent;
use crate::filter::Filter;
use crate::handler::RetryPolicy;
use crate::name::TableName;
use crate::router::Caches;
use crate::trigger::TriggerSpec;

/// The number of slices of a new group, by default.
const SLICES: i32 = 32;
const MAX_SLICES: i32 = 1_024;
const SHORTEST_LEASE: Duration = Duration::from_millis(200);
const LONGEST_LEASE: Duration = Duration::from_secs(60 * 60);

/// The options of a durable handler: its group and limits.
///
/// ```
/// use std::time::Duration;
/// use pgherald_core::{Backoff, DurableOptions, RetryPolicy};
///
/// let options = DurableOptions::new("enrich-users")
///     .concurrency(16)
///     .timeout(Duration::from_secs(10))
///     .retry(RetryPolicy::new(20, Backoff::new(Duration::from_secs(1), Duration::from_secs(3_600))));
/// # let _ = options;
/// ```
#[derive(Clone, Debug)]
#[must_use = "options do nothing until a handler is run with them"]
pub struct DurableOptions {
    pub(super) group: Arc<str>,
    pub(super) slices: Option<i32>,
    pub(super) from_beginning: bool,
    /// Whether a new group that does not begin with the whole outbox receives a resync.
    pub(super) first_resync: bool,
    pub(super) lease: Duration,
    pub(super) concurrency: usize,
    pub(super) max_batch: usize,
    pub(super) timeout: Duration,
    pub(super) retry: RetryPolicy,
    pub(super) filter: Filter,
    pub(super) requirements: Vec<TriggerSpec>,
    pub(super) caches: Option<Caches>,
    pub(super) connections: Option<Connections>,
    /// Where a relay stores the events. `None` for handlers.
    pub(super) destination: Option<Arc<str>>,
}

impl DurableOptions {
    /// Returns the default options for a group of this name: 8 attempts at a time, 30 s for each, up to 12 attempts for an
    /// event, and a lease of 10 s. The delay before a retry is at most one second at first, and doubles up to ten minutes.
    ///
    /// All consumers of one group share its work, also across processes, so all of them must run the same handler. The name
    /// appears in the database, in logs and in reports. It has 1 to 255 bytes.
    pub fn new(group: impl AsRef<str>) -> Self {
        let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(600));
        Self {
            group: group.as_ref().into(),
            slices: None,
            from_beginning: false,
            first_resync: true,
            lease: Duration::from_secs(10),
            concurrency: 8,
            max_batch: 500,
            timeout: Duration::from_secs(30),
            retry: RetryPolicy::new(12, backoff),
            filter: Filter::new(),
            requirements: Vec::new(),
            caches: None,
            connections: None,
            destination: None,
        }
    }

    /// Returns the group's name.
    #[must_use]
    pub fn group(&self) -> &str {
        &self.group
    }

    /// Sets the number of slices over which keys are spread: 1 to 1,024. Default: 32.
    ///
    /// At most so many consumers can share the work, and at most so many attempts of a transactional handler run at a time. The
    /// number is fixed when the group is created. Each slice costs a small write: with the acknowledgement of its events, and at
    /// most every 30 s while it has none.
    pub fn slices(mut self, count: u16) -> Self {
        self.slices = Some(i32::from(count));
        self
    }

    /// Lets a new group begin with everything that is still in the outbox. By default, a new group begins with a
    /// [resync](crate::EventHandler::resync), and then receives what is committed after its creation. Existing groups continue
    /// from their cursors.
    pub fn from_beginning(mut self) -> Self {
        self.from_beginning = true;
        self
    }

    /// Sets the duration of the consumer's lease: 200 ms to one hour. Default: 10 s.
    ///
    /// The consumer renews its lease three times in that duration. If it does not, other consumers take over its slices when the
    /// lease has expired. So a consumer whose code blocks its thread for longer loses its slices.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// Sets how many attempts may run at a time; 0 is refused. Default: 8.
    ///
    /// Events of one row are always handled one after the other. A transactional handler handles the events of one slice one
    /// after the other, and each of its running attempts has a connection of its own. A batch handler receives one batch at a
    /// time; for it, this is the number of single events that are retried at a time.
    pub fn concurrency(mut self, attempts: usize) -> Self {
        self.concurrency = attempts;
        self
    }

    /// Sets the most events in a [batch](crate::group::BatchHandler); 0 is refused. Default: 500.
    pub fn max_batch(mut self, events: usize) -> Self {
        self.max_batch = events;
        self
    }

    /// Sets how long one attempt may take; 0 is refused. Default: 30 s.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = limit;
        self
    }

    /// Sets how often an event is tried before it becomes a dead letter, and the delays between attempts.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = policy;
        self
    }

    /// Sets which events the handler receives, among those of its event type. Default: all.
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = filter;
        self
    }

    /// Makes the caches of a listener in this process apply each event before the handler receives it. So the handler reads
    /// nothing through these caches that is older than its event. The actors' `Herald` does this for its own caches.
    pub fn caches(mut self, caches: Caches) -> Self {
        self.caches = Some(caches);
        self
    }

    /// Shares connections with other consumers of this process, instead of two connections of its own. They must lead to the
    /// database of the consumer's configuration. The actors' `Herald` does this for its durable handlers.
    pub fn connections(mut self, connections: Connections) -> Self {
        self.connections = Some(connections);
        self
    }

    /// Declares that the handler requires the changes of these tables to be recorded in the outbox, with these keys and columns.
    /// The actors' `Herald` declares this for the tables that it watches.
    ///
    /// The group stores the requirements. A consumer compares them with what is installed when it connects and every 10 s, or
    /// once in a lease if that is shorter. While less is installed than required, the consumer is not live and reads nothing;
    /// events that it has read before may still be handled. If triggers were missing or altered, or DDL may have changed rows,
    /// the group receives one [resync](crate::EventHandler::resync)
    /// ([`TriggersRestored`](crate::ResyncReason::TriggersRestored), [`TableAltered`](crate::ResyncReason::TableAltered)), even
    /// if that happened while none of its consumers ran.
    pub fn requires(mut self, tables: impl IntoIterator<Item = TriggerSpec>) -> Self {
        for spec in tables {
            if !self.requirements.contains(&spec) {
                self.requirements.push(spec);
            }
        }
        self
    }

    /// Returns whether a handler of `E` with these options can receive events of `table`.
    #[must_use]
    pub(crate) fn wants<E: FromEvent>(&self, table: &TableName) -> bool {
        E::narrow(self.filter.clone()).wants_table(table)
    }

    /// Returns the error for a handler that [can receive](Self::wants) events of none of the recorded tables. For hosts that know
    /// which tables are recorded.
    #[must_use]
    pub(crate) fn not_watched(&self) -> Error {
        let message = format!(
            "group {:?} would receive no events: none of the tables whose events its handler takes is watched with \
             TriggerSpec::outbox",
            self.group
        );
        Error::new(ErrorKind::Config, message)
    }

    pub(super) fn checked(self) -> Result<Self> {
        let group = &*self.group;
        let refuse = |what: String| {
            let message = format!("group {group:?}: {what}");
            Err(Error::new(ErrorKind::Config, message))
        };
        if group.is_empty() || group.len() > 255 || group.contains('\0') {
            return refuse("its name must have 1 to 255 bytes, and no NUL".to_owned());
        }
        if let Some(slices) = self.slices
            && !(1..=MAX_SLICES).contains(&slices)
        {
            return refuse(format!(
                "it has {slices} slices, there must be 1 to {MAX_SLICES}"
            ));
        }
        if self.lease < SHORTEST_LEASE || self.lease > LONGEST_LEASE {
            let lease = self.lease;
            return refuse(format!(
                "the lease is {lease:?}, it must lie between {SHORTEST_LEASE:?} and {LONGEST_LEASE:?}"
            ));
        }
        if let Some(spec) = self.requirements.iter().find(|spec| !spec.is_outbox()) {
            let table = spec.table();
            return refuse(format!(
                "it requires {table} in notify mode, but groups read the outbox: use TriggerSpec::outbox"
            ));
        }
        let mut tables = HashSet::new();
        let twice = self
            .requirements
            .iter()
            .find(|spec| !tables.insert(spec.table()));
        if let Some(spec) = twice {
            let table = spec.table();
            return refuse(format!(
                "it requires {table} twice, with different specifications: give one"
            ));
        }
        if self.timeout.is_zero() {
            return refuse("the timeout is 0".to_owned());
        }
        for (setting, value) in [
            ("concurrency", self.concurrency),
            ("max_batch", self.max_batch),
        ] {
            if value == 0 {
                return refuse(format!("{setting} is 0, it must be at least 1"));
            }
        }
        Ok(self)
    }

    pub(super) fn slices_when_made(&self) -> i32 {
        self.slices.unwrap_or(SLICES)
    }
}
