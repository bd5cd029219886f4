//! The terms of a durable handler.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::backoff::Backoff;
use crate::error::{Error, Kind, Result};
use crate::event::FromEvent;
use crate::filter::Filter;
use crate::handler::RetryPolicy;
use crate::name::TableName;
use crate::router::Caches;
use crate::trigger::TriggerSpec;

/// How many slices a group is made with unless it is said.
const SLICES: i32 = 32;
const MOST_SLICES: i32 = 1_024;
const SHORTEST_LEASE: Duration = Duration::from_millis(200);
const LONGEST_LEASE: Duration = Duration::from_secs(60 * 60);

/// The terms of a durable handler: its group and limits.
///
/// ```
/// use std::time::Duration;
/// use pgherald_core::{Backoff, Durable, RetryPolicy};
///
/// let terms = Durable::new("enrich-users")
///     .concurrency(16)
///     .timeout(Duration::from_secs(10))
///     .retry(RetryPolicy::new(20, Backoff::new(Duration::from_secs(1), Duration::from_secs(3_600))));
/// # let _ = terms;
/// ```
#[derive(Clone, Debug)]
#[must_use = "terms do nothing until a handler is run with them"]
pub struct Durable {
    pub(super) group: Arc<str>,
    pub(super) slices: Option<i32>,
    pub(super) from_beginning: bool,
    /// Whether a new group that does not begin with the whole outbox gets a resync.
    pub(super) first_resync: bool,
    pub(super) lease: Duration,
    pub(super) concurrency: usize,
    pub(super) max_batch: usize,
    pub(super) timeout: Duration,
    pub(super) retry: RetryPolicy,
    pub(super) filter: Filter,
    pub(super) requirements: Vec<TriggerSpec>,
    pub(super) caches: Option<Caches>,
}

impl Durable {
    /// Terms with 8 attempts at a time, 30 s for each, 12 attempts for an event with waits of up to a second, doubling, up
    /// to ten minutes, and a lease of 10 s.
    ///
    /// All consumers of one group share its work, in whichever processes they are: they must do the same. The name stands
    /// in the database, in logs and reports.
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
        }
    }

    /// The group's name.
    #[must_use]
    pub fn group(&self) -> &str {
        &self.group
    }

    /// Over how many slices keys are spread: the most consumers that can share the work, and, of a transactional handler,
    /// the most attempts at a time. Fixed when the group is made; 32 unless said. Each slice costs a small write per
    /// acknowledgement.
    pub fn slices(mut self, count: u16) -> Self {
        self.slices = Some(i32::from(count));
        self
    }

    /// Has the group, when it is made, begin with everything that is still in the outbox. Default: with what is committed
    /// from then on, after a [resync](crate::EventHandler::resync) that tells so.
    pub fn from_beginning(mut self) -> Self {
        self.from_beginning = true;
        self
    }

    /// How long others wait for a consumer that gives no sign of life, before they take over its slices. It gives one three
    /// times as often. Code that blocks its thread for longer loses its slices.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// How many attempts may run at a time; 0 is refused. Events of one row always run one after the other; of a
    /// transactional handler, those of one slice, and each attempt that runs has a connection of its own. A batch handler
    /// is given one batch at a time; of those that failed, so many single events.
    pub fn concurrency(mut self, attempts: usize) -> Self {
        self.concurrency = attempts;
        self
    }

    /// How many events a [batch](crate::group::BatchHandler) has at most; 0 is refused.
    pub fn max_batch(mut self, events: usize) -> Self {
        self.max_batch = events;
        self
    }

    /// How long one attempt may take; 0 is refused.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = limit;
        self
    }

    /// How often an event is tried, before it becomes a dead letter.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = policy;
        self
    }

    /// Which events it is given, of those that its event type stands for. Default: all.
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = filter;
        self
    }

    /// Has the caches of a listener in this process apply each event before the handler receives it, so that the handler reads
    /// nothing through them that is older than its event. The actors' `Herald` does this for its own caches.
    pub fn caches(mut self, caches: Caches) -> Self {
        self.caches = Some(caches);
        self
    }

    /// Declares what the handler requires of tables: that their changes are recorded in the outbox, with these keys and
    /// columns. The actors' `Herald` declares it for the tables that it watches.
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

    /// Whether events of `table` can be among those that a handler of `E` is given on these terms.
    #[must_use]
    pub fn wants<E: FromEvent>(&self, table: &TableName) -> bool {
        E::narrow(self.filter.clone()).wants_table(table)
    }

    /// For hosts that know which tables are recorded: what to say when the handler [wants](Self::wants) none of them.
    #[must_use]
    pub fn not_watched(&self) -> Error {
        let message = format!(
            "group {:?} would be given nothing: no table that it wants events of is watched with TriggerSpec::outbox",
            self.group
        );
        Error::new(Kind::Config, message)
    }

    pub(super) fn checked(self) -> Result<Self> {
        let group = &*self.group;
        let refuse = |what: String| {
            let message = format!("group {group:?}: {what}");
            Err(Error::new(Kind::Config, message))
        };
        if group.is_empty() || group.len() > 255 || group.contains('\0') {
            return refuse("a name has 1 to 255 bytes, and no NUL".to_owned());
        }
        if let Some(slices) = self.slices
            && !(1..=MOST_SLICES).contains(&slices)
        {
            return refuse(format!("{slices} slices, there must be 1 to {MOST_SLICES}"));
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
