//! The options of an outbox source.

use std::sync::Arc;
use std::time::Duration;

use super::OutboxSource;
use crate::backoff::Backoff;
use crate::connect::ConnectConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::outbox::position::Progress;
use crate::source::options::{Options, check_span};
use crate::trigger::TriggerSpec;

#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) options: Options,
    pub(super) poll_interval: Duration,
    /// How far the sources have emitted the outbox.
    pub(super) progress: Progress,
}

/// Describes an [`OutboxSource`]; see [`OutboxSource::builder`].
#[derive(Clone, Debug)]
#[must_use = "call build() to get the source"]
pub struct OutboxSourceBuilder {
    settings: Settings,
}

impl OutboxSourceBuilder {
    pub(super) fn new(config: ConnectConfig) -> Self {
        Self::with(Options::new(config))
    }

    pub(in crate::source) fn with(options: Options) -> Self {
        Self {
            settings: Settings {
                options,
                poll_interval: Duration::from_secs(1),
                progress: Progress::default(),
            },
        }
    }

    /// Watches a table in [outbox mode](TriggerSpec::outbox): checks at every connect and heartbeat that its triggers are in
    /// place.
    ///
    /// While they are not, the source is not live. Triggers that differ from the specification without loss are only logged.
    pub fn watch(mut self, spec: TriggerSpec) -> Self {
        self.settings.options.specs.push(spec);
        self
    }

    /// Returns the tables that are [watched](Self::watch).
    #[must_use]
    pub(crate) fn watched(&self) -> &[TriggerSpec] {
        &self.settings.options.specs
    }

    /// Returns how far the source has emitted the outbox.
    #[must_use]
    pub(crate) fn progress(&self) -> Progress {
        self.settings.progress.clone()
    }

    /// Sets after how long without a wake-up the outbox is read anyway. The default is 1 s.
    ///
    /// This bounds the latency of the last events before a pause, if a wake-up is lost or a transaction commits long after
    /// its last write.
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.settings.poll_interval = interval;
        self
    }

    /// Queries the server every `interval`, and drops the session if there is no answer within `deadline`. The defaults are
    /// 10 s and 5 s.
    ///
    /// The query checks the triggers and the history of the outbox, and confirms that the session still listens.
    pub fn heartbeat(mut self, interval: Duration, deadline: Duration) -> Self {
        self.settings.options.heartbeat_interval = interval;
        self.settings.options.heartbeat_deadline = deadline;
        self
    }

    /// Limits an attempt to connect, listen and verify as a whole. If there are several hosts, each gets a share of the time.
    /// The default is 10 s.
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.settings.options.connect_timeout = limit;
        self
    }

    /// Sets the delays between attempts to connect. The default is 100 ms, doubling up to 30 s.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.settings.options.backoff = backoff;
        self
    }

    /// Builds the source. It connects when it is first polled.
    ///
    /// # Errors
    /// If an interval, a deadline, a timeout or the backoff is under a millisecond or over a day, or a watched table is not
    /// in outbox mode.
    pub fn build(self) -> Result<OutboxSource> {
        self.checked().map(OutboxSource::new)
    }

    /// Checks the options once, and returns a function that makes any number of such sources, for
    /// [`supervise`](crate::supervise).
    ///
    /// # Errors
    /// If an interval, a deadline, a timeout or the backoff is under a millisecond or over a day, or a watched table is not
    /// in outbox mode.
    pub fn factory(self) -> Result<impl Fn() -> OutboxSource + Clone + Send + 'static> {
        let settings = self.checked()?;
        Ok(move || OutboxSource::new(Arc::clone(&settings)))
    }

    fn checked(self) -> Result<Arc<Settings>> {
        let mut settings = self.settings;
        settings.options.check()?;
        check_span("poll interval", settings.poll_interval)?;
        if let Some(spec) = settings.options.specs.iter().find(|spec| !spec.is_outbox()) {
            let message = format!(
                "changes of {} are announced, not recorded in the outbox; put the table in outbox mode with \
                 TriggerSpec::outbox, or watch it with a NotifySource, which can be joined with this one",
                spec.table()
            );
            return Err(Error::new(ErrorKind::Config, message));
        }
        Ok(Arc::new(settings))
    }
}
