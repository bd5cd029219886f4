//! The settings of an outbox source.

use std::sync::Arc;
use std::time::Duration;

use super::OutboxSource;
use crate::backoff::Backoff;
use crate::connect::ConnectConfig;
use crate::error::{Error, Kind, Result};
use crate::source::terms::{Terms, check_span};
use crate::trigger::TriggerSpec;

#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) terms: Terms,
    pub(super) poll_interval: Duration,
}

/// Describes an [`OutboxSource`]; see [`OutboxSource::builder`].
#[derive(Clone, Debug)]
#[must_use = "call build() to get the source"]
pub struct OutboxSourceBuilder {
    settings: Settings,
}

impl OutboxSourceBuilder {
    pub(super) fn new(config: ConnectConfig) -> Self {
        Self::with(Terms::new(config))
    }

    pub(in crate::source) fn with(terms: Terms) -> Self {
        Self {
            settings: Settings {
                terms,
                poll_interval: Duration::from_secs(1),
            },
        }
    }

    /// Watches a table in [outbox mode](TriggerSpec::outbox): checks at every connect and heartbeat that its triggers are
    /// in place. While they are not, the source is not live; if they merely differ from the specification, it says so in
    /// the log.
    pub fn watch(mut self, spec: TriggerSpec) -> Self {
        self.settings.terms.specs.push(spec);
        self
    }

    /// The tables that it [watches](Self::watch).
    #[must_use]
    pub fn watched(&self) -> &[TriggerSpec] {
        &self.settings.terms.specs
    }

    /// After how long without a wake-up the outbox is read anyway. Default: 1 s.
    ///
    /// That is how late the last events before a pause can be, where a wake-up went astray or a transaction took long
    /// from its last write to its commit.
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.settings.poll_interval = interval;
        self
    }

    /// Asks the server every `interval` how the triggers are, and gives the session up if there is no answer within
    /// `deadline`. Default: 10 s and 5 s.
    pub fn heartbeat(mut self, interval: Duration, deadline: Duration) -> Self {
        self.settings.terms.heartbeat_interval = interval;
        self.settings.terms.heartbeat_deadline = deadline;
        self
    }

    /// How long an attempt to connect, listen and verify may take as a whole. Several hosts share that time: none uses up
    /// all of it. Default: 10 s.
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.settings.terms.connect_timeout = limit;
        self
    }

    /// The wait between attempts. Default: 100 ms doubling up to 30 s.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.settings.terms.backoff = backoff;
        self
    }

    /// The source. It connects when it is first polled.
    ///
    /// # Errors
    /// If an interval, a deadline, a timeout or the backoff is under a millisecond or over a day, or a table to watch is
    /// not in outbox mode.
    pub fn build(self) -> Result<OutboxSource> {
        self.checked().map(OutboxSource::new)
    }

    /// Makes any number of such sources: what [`supervise`](crate::supervise) asks for. Settings are checked here, once.
    ///
    /// # Errors
    /// If an interval, a deadline, a timeout or the backoff is under a millisecond or over a day, or a table to watch is
    /// not in outbox mode.
    pub fn factory(self) -> Result<impl Fn() -> OutboxSource + Clone + Send + 'static> {
        let settings = self.checked()?;
        Ok(move || OutboxSource::new(Arc::clone(&settings)))
    }

    fn checked(self) -> Result<Arc<Settings>> {
        let mut settings = self.settings;
        settings.terms.check()?;
        check_span("poll interval", settings.poll_interval)?;
        if let Some(spec) = settings.terms.specs.iter().find(|spec| !spec.is_outbox()) {
            let message = format!(
                "changes of {} are announced, not recorded in the outbox; put the table in outbox mode with \
                 TriggerSpec::outbox, or watch it with a NotifySource, which can be joined with this one",
                spec.table()
            );
            return Err(Error::new(Kind::Config, message));
        }
        Ok(Arc::new(settings))
    }
}
