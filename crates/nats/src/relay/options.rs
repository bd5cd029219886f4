//! The options of a relay.

use std::time::Duration;

use pgherald_core::__private::host::errors;
use pgherald_core::trigger::TriggerSpec;
use pgherald_core::{DurableOptions, Filter, Result};

use crate::contract::Prefix;

/// The maximum number of batches in flight. A server accepts 50 unfinished batches of a stream.
const MAX_CONCURRENCY: usize = 16;

/// The options of a relay: its group, its stream, and limits.
///
/// ```
/// use pgherald_nats::{RelayOptions, StreamOptions};
///
/// let options = RelayOptions::new("fleet", "CHANGES")
///     .prefix("shop".parse()?)
///     .create(StreamOptions::new().replicas(3));
/// # let _ = options;
/// # Ok::<(), pgherald_core::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "options do nothing until a relay is made with them"]
pub struct RelayOptions {
    pub(crate) group: DurableOptions,
    pub(crate) stream: String,
    pub(crate) prefix: Prefix,
    pub(crate) create: Option<StreamOptions>,
    pub(crate) heartbeat: Duration,
    concurrency: usize,
}

impl RelayOptions {
    /// Returns the default options for a group and a stream: the prefix `pg`, a lease of 10 s, a heartbeat each second, and up to 8
    /// batches in flight.
    ///
    /// Any number of relays with the same group share its slices. The group is one of the database: it is listed, paused and deleted
    /// like the group of a durable handler.
    pub fn new(group: impl AsRef<str>, stream: impl Into<String>) -> Self {
        Self {
            group: DurableOptions::new(group),
            stream: stream.into(),
            prefix: Prefix::default(),
            create: None,
            heartbeat: Duration::from_secs(1),
            concurrency: 8,
        }
    }

    /// Sets the first tokens of all subjects. Default: `pg`.
    pub fn prefix(mut self, prefix: Prefix) -> Self {
        self.prefix = prefix;
        self
    }

    /// Creates the stream if it does not exist. An existing stream is never changed: the relay refuses it if it does not fit.
    pub fn create(mut self, stream: StreamOptions) -> Self {
        self.create = Some(stream);
        self
    }

    /// Sets which events are stored. Default: all of the outbox.
    pub fn filter(mut self, filter: Filter) -> Self {
        self.group = self.group.filter(filter);
        self
    }

    /// Declares which tables must be recorded in the outbox; see [`DurableOptions::requires`].
    pub fn requires(mut self, tables: impl IntoIterator<Item = TriggerSpec>) -> Self {
        self.group = self.group.requires(tables);
        self
    }

    /// Sets the number of slices of a new group; see [`DurableOptions::slices`]. Default: 32.
    pub fn slices(mut self, count: u16) -> Self {
        self.group = self.group.slices(count);
        self
    }

    /// Lets a new group begin with everything that is still in the outbox. By default, a new group announces a resync, and begins
    /// with the events that are committed after its creation.
    pub fn from_beginning(mut self) -> Self {
        self.group = self.group.from_beginning();
        self
    }

    /// Sets the duration of the lease: 200 ms to one hour. Default: 10 s.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.group = self.group.lease(lease);
        self
    }

    /// Sets the maximum number of batches in flight, each of a different slice: 1 to 16. Default: 8.
    pub fn concurrency(mut self, batches: usize) -> Self {
        self.concurrency = batches;
        self
    }

    /// Sets the time between two heartbeats of a slice: 50 ms to a minute. Default: one second.
    pub fn heartbeat(mut self, interval: Duration) -> Self {
        self.heartbeat = interval;
        self
    }

    /// Checks the options that the group does not check.
    pub(crate) fn checked(mut self) -> Result<Self> {
        let refuse = |message: String| Err(errors::bad_nats(message));
        let is_name = |c: char| c.is_ascii_graphic() && !".*>/\\".contains(c);
        if self.stream.is_empty() || self.stream.len() > 255 || !self.stream.chars().all(is_name) {
            return refuse(format!(
                "{:?} is no name of a stream: use 1 to 255 ASCII characters without spaces, dots, *, > and slashes",
                self.stream
            ));
        }
        if !(1..=MAX_CONCURRENCY).contains(&self.concurrency) {
            return refuse(format!(
                "concurrency of the relay is {}; it must be 1 to {MAX_CONCURRENCY}",
                self.concurrency
            ));
        }
        let heartbeats = Duration::from_millis(50)..=Duration::from_secs(60);
        if !heartbeats.contains(&self.heartbeat) {
            return refuse(format!(
                "the heartbeat of the relay is {:?}; it must be 50 ms to 60 s",
                self.heartbeat
            ));
        }
        self.group = self.group.concurrency(self.concurrency);
        Ok(self)
    }
}

/// The options with which a relay creates its stream.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "options do nothing until a relay is made with them"]
pub struct StreamOptions {
    pub(crate) replicas: usize,
    pub(crate) in_memory: bool,
    pub(crate) max_age: Option<Duration>,
    pub(crate) max_bytes: Option<u64>,
    pub(crate) max_messages: Option<u64>,
    pub(crate) refuses_new: bool,
    pub(crate) duplicate_window: Option<Duration>,
}

impl StreamOptions {
    /// Returns the options of a stream on disk, with one replica and without limits.
    pub const fn new() -> Self {
        Self {
            replicas: 1,
            in_memory: false,
            max_age: None,
            max_bytes: None,
            max_messages: None,
            refuses_new: false,
            duplicate_window: None,
        }
    }

    /// Sets the number of servers that store the stream: 1, 3 or 5.
    pub const fn replicas(mut self, count: usize) -> Self {
        self.replicas = count;
        self
    }

    /// Stores messages in memory only. If the servers stop, all messages are lost, and the relay announces a resync.
    pub const fn in_memory(mut self) -> Self {
        self.in_memory = true;
        self
    }

    /// Sets the age at which the stream deletes messages. By default, it keeps them.
    pub const fn max_age(mut self, age: Duration) -> Self {
        self.max_age = Some(age);
        self
    }

    /// Sets the maximum size of the stream in bytes. A full stream deletes its oldest messages, unless it
    /// [refuses new](Self::refuse_new) ones.
    pub const fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = Some(bytes);
        self
    }

    /// Sets the maximum number of messages in the stream, like [`max_bytes`](Self::max_bytes).
    pub const fn max_messages(mut self, count: u64) -> Self {
        self.max_messages = Some(count);
        self
    }

    /// Refuses new messages when the stream is full, instead of deleting the oldest ones. The relay then waits.
    pub const fn refuse_new(mut self) -> Self {
        self.refuses_new = true;
        self
    }

    /// Sets the duplicate window of the stream. The relay needs none.
    pub const fn duplicate_window(mut self, window: Duration) -> Self {
        self.duplicate_window = Some(window);
        self
    }
}

impl Default for StreamOptions {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::RelayOptions;

    #[test]
    fn options_out_of_range_are_refused() {
        let options = || RelayOptions::new("fleet", "CHANGES");
        assert!(options().checked().is_ok());
        for bad in [
            RelayOptions::new("fleet", "a.b"),
            RelayOptions::new("fleet", ""),
            RelayOptions::new("fleet", "a b"),
            options().concurrency(0),
            options().concurrency(17),
            options().heartbeat(Duration::ZERO),
            options().heartbeat(Duration::from_secs(61)),
        ] {
            assert!(
                bad.clone().checked().expect_err("refused").is_config(),
                "{bad:?}"
            );
        }
    }
}
