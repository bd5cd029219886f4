//! The options of a source on a stream.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use pgherald_core::__private::host::errors::bad_nats;
use pgherald_core::{Backoff, Operation, Result, TableName};

use super::NatsSource;
use crate::config::NatsConfig;
use crate::contract::{Prefix, SubjectFilter};

const SHORTEST_LAG: Duration = Duration::from_millis(500);
const LONGEST_LAG: Duration = Duration::from_secs(60 * 60);
/// The shortest interval that a server accepts.
const SHORTEST_IDLE: Duration = Duration::from_millis(100);
const LONGEST_IDLE: Duration = Duration::from_secs(2);

/// The validated options.
pub(super) struct Settings {
    pub(super) config: NatsConfig,
    pub(super) stream: String,
    pub(super) prefix: Prefix,
    /// The subjects that the consumer selects.
    pub(super) filters: Vec<String>,
    pub(super) max_lag: Duration,
    pub(super) backoff: Backoff,
}

impl Settings {
    /// How often the server reports the position of an idle consumer.
    pub(super) fn idle_interval(&self) -> Duration {
        (self.max_lag / 8).clamp(SHORTEST_IDLE, LONGEST_IDLE)
    }

    /// How long a consumer may be silent before the source opens another session. The source ceases to be live before that.
    pub(super) fn silence_limit(&self) -> Duration {
        (self.idle_interval() * 20).max(self.max_lag * 2)
    }

    /// How long opening a session may take: connecting, and two requests.
    pub(super) fn opening_limit(&self) -> Duration {
        Duration::from_secs(5) + self.config.connect_limit() + self.config.request_limit() * 2
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("config", &self.config)
            .field("stream", &self.stream)
            .field("filters", &self.filters)
            .finish_non_exhaustive()
    }
}

/// Configures a [`NatsSource`]; see [`NatsSource::builder`].
#[derive(Clone, Debug)]
#[must_use = "call build() to get the source"]
pub struct NatsSourceBuilder {
    config: NatsConfig,
    stream: String,
    prefix: Prefix,
    tables: Vec<TableName>,
    operations: Vec<Operation>,
    max_lag: Duration,
    backoff: Backoff,
}

impl NatsSourceBuilder {
    pub(super) fn new(config: NatsConfig, stream: String) -> Self {
        Self {
            config,
            stream,
            prefix: Prefix::default(),
            tables: Vec::new(),
            operations: Vec::new(),
            max_lag: Duration::from_secs(5),
            backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(30)),
        }
    }

    /// Sets the prefix of the relay's subjects. The default is `pg`.
    pub fn prefix(mut self, prefix: Prefix) -> Self {
        self.prefix = prefix;
        self
    }

    /// Adds tables whose events the source receives. The NATS server sends no other events. Without any, the source receives the
    /// events of all tables in the stream.
    ///
    /// Heartbeats do not name tables: a source of a table that no relay stores is live without events.
    pub fn tables(mut self, tables: impl IntoIterator<Item = TableName>) -> Self {
        self.tables.extend(tables);
        self
    }

    /// Adds operations whose events the source receives. The NATS server sends no other events. Without any, the source receives
    /// all operations. Caches need all of them.
    pub fn operations(mut self, operations: impl IntoIterator<Item = Operation>) -> Self {
        self.operations.extend(operations);
        self
    }

    /// Sets the lag up to which the source is live: 500 ms to an hour. The default is 5 s.
    ///
    /// The heartbeats of the relays show up to which moment the source has all changes. The source is live, and caches answer,
    /// while this moment is less than `max_lag` ago for each slice of the relay's group. So caches stop answering within `max_lag`
    /// after a relay, its database or NATS has stopped, and while a relay lags by more. Set `max_lag` to at least three times the
    /// interval of heartbeats, which is 1 s by default, and to more on busy machines. Otherwise the source is live only now and
    /// then.
    ///
    /// The age of a heartbeat includes its delay on the way, compared with the fastest heartbeat of its relay in the last one to
    /// two minutes. A delay that all heartbeats have adds to `max_lag`. If the oldest messages of the stream are removed before the
    /// source has read them, it emits a resync within about 10 s. It does not detect that other messages were removed.
    pub fn max_lag(mut self, limit: Duration) -> Self {
        self.max_lag = limit;
        self
    }

    /// Sets the delays between attempts to connect. The default is 100 ms, doubling up to 30 s.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Builds the source. It connects when it is first polled.
    ///
    /// # Errors
    /// If the name of the stream is empty or has characters that NATS does not allow there, if `max_lag` is not between 500 ms and an
    /// hour, or if a timeout of the configuration is zero.
    pub fn build(self) -> Result<NatsSource> {
        self.checked().map(NatsSource::new)
    }

    /// Checks the options once, and returns a function that makes any number of such sources, for
    /// [`supervise`](pgherald_core::supervise()) and for heralds.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn factory(self) -> Result<impl Fn() -> NatsSource + Clone + Send + 'static> {
        let settings = self.checked()?;
        Ok(move || NatsSource::new(Arc::clone(&settings)))
    }

    fn checked(self) -> Result<Arc<Settings>> {
        self.config.check()?;
        let is_foreign = |c: char| c.is_whitespace() || c.is_control() || "./\\*>".contains(c);
        if self.stream.is_empty() || self.stream.contains(is_foreign) {
            let message = format!(
                "{:?} is not the name of a stream: it must not be empty or have spaces, dots, slashes, * or >",
                self.stream
            );
            return Err(bad_nats(message));
        }
        if self.max_lag < SHORTEST_LAG || self.max_lag > LONGEST_LAG {
            let message = format!(
                "max_lag is {:?}; it must be between {SHORTEST_LAG:?} and {LONGEST_LAG:?}",
                self.max_lag
            );
            return Err(bad_nats(message));
        }
        Ok(Arc::new(Settings {
            filters: self.filters(),
            config: self.config,
            stream: self.stream,
            prefix: self.prefix,
            max_lag: self.max_lag,
            backoff: self.backoff,
        }))
    }

    fn filters(&self) -> Vec<String> {
        if self.tables.is_empty() && self.operations.is_empty() {
            return vec![self.prefix.all()];
        }
        let operations: Vec<Option<Operation>> = match &*self.operations {
            [] => vec![None],
            some => some.iter().copied().map(Some).collect(),
        };
        let tables: Vec<Option<&TableName>> = match &*self.tables {
            [] => vec![None],
            some => some.iter().map(Some).collect(),
        };
        let mut filters = vec![self.prefix.controls()];
        for table in tables {
            for &operation in &operations {
                let filter = SubjectFilter {
                    slice: None,
                    schema: table.map(TableName::schema),
                    table: table.map(TableName::name),
                    operation,
                };
                filters.push(filter.with(&self.prefix));
            }
        }
        // A server refuses filters that overlap.
        filters.sort();
        filters.dedup();
        filters
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pgherald_core::{Operation, TableName};

    use super::{NatsConfig, NatsSource, NatsSourceBuilder};

    fn builder(stream: &str) -> NatsSourceBuilder {
        NatsSource::builder(NatsConfig::new("localhost").unwrap(), stream)
    }

    #[test]
    fn tables_and_operations_become_subjects_beside_the_announcements() {
        let filters = |builder: NatsSourceBuilder| builder.checked().unwrap().filters.join(" ");
        let table = |name: &str| TableName::new("public", name).unwrap();
        assert_eq!(filters(builder("S")), "pg.>");
        let two = builder("S").tables([table("a.b"), table("c"), table("c")]);
        assert_eq!(
            filters(two.clone().prefix("x.y".parse().unwrap())),
            "x.y.*.$control x.y.*.public.a%2Eb.* x.y.*.public.c.*"
        );
        assert_eq!(
            filters(two.operations([Operation::Insert, Operation::Delete])),
            "pg.*.$control pg.*.public.a%2Eb.delete pg.*.public.a%2Eb.insert pg.*.public.c.delete pg.*.public.c.insert"
        );
        assert_eq!(
            filters(builder("S").operations([Operation::Insert])),
            "pg.*.$control pg.*.*.*.insert"
        );
    }

    #[test]
    fn options_that_cannot_work_are_refused() {
        for name in ["", "a.b", "a b", "*", "a>", "a/b"] {
            assert!(builder(name).build().unwrap_err().is_config(), "{name}");
        }
        for lag in [Duration::ZERO, Duration::from_secs(100_000)] {
            assert!(builder("S").max_lag(lag).build().unwrap_err().is_config());
        }
        let config = NatsConfig::new("localhost").unwrap();
        let config = config.connect_timeout(Duration::ZERO);
        assert!(NatsSource::builder(config, "S").build().is_err());
    }
}
