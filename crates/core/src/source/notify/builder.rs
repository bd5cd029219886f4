//! The settings of a notify source.

use std::sync::Arc;
use std::time::Duration;

use super::NotifySource;
use crate::backoff::Backoff;
use crate::connect::ConnectConfig;
use crate::error::{Error, Kind, Result};
use crate::name::ChannelName;
use crate::source::outbox::OutboxSourceBuilder;
use crate::source::terms::Terms;
use crate::trigger::TriggerSpec;

#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) terms: Terms,
    pub(super) channels: Vec<ChannelName>,
    pub(super) probe: bool,
}

/// Describes a [`NotifySource`]; see [`NotifySource::builder`].
#[derive(Clone, Debug)]
#[must_use = "call build() to get the source"]
pub struct NotifySourceBuilder {
    settings: Settings,
}

impl NotifySourceBuilder {
    pub(super) fn new(config: ConnectConfig) -> Self {
        Self {
            settings: Settings {
                terms: Terms::new(config),
                channels: Vec::new(),
                probe: true,
            },
        }
    }

    /// Listens to `channel`, besides those of the watched tables. Without any channel and table, it is
    /// [`ChannelName::DEFAULT`].
    pub fn channel(mut self, channel: ChannelName) -> Self {
        if !self.settings.channels.contains(&channel) {
            self.settings.channels.push(channel);
        }
        self
    }

    /// Watches a table: listens to its channel, and checks at every connect and heartbeat that its triggers
    /// are in place. While they are not, the source is not live; if they merely differ from the
    /// specification, it says so in the log.
    pub fn watch(mut self, spec: TriggerSpec) -> Self {
        self.settings.terms.specs.push(spec);
        self
    }

    /// The tables that it [watches](Self::watch).
    #[must_use]
    pub fn watched(&self) -> &[TriggerSpec] {
        &self.settings.terms.specs
    }

    /// The [channels](Self::channel) that it listens to besides, of whose triggers nothing is known.
    #[must_use]
    pub fn other_channels(&self) -> &[ChannelName] {
        &self.settings.channels
    }

    /// Asks the server every `interval` whether the session still listens, and gives it up if there is no
    /// answer within `deadline`. Default: 10 s and 5 s.
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

    /// Whether to check, until it has succeeded once, that a notification from a second connection
    /// arrives. It does not where a proxy in between loses notifications, although LISTEN succeeds there. Default:
    /// on. A pooler in transaction mode is refused in any case, at each attempt to connect.
    pub fn probe(mut self, on: bool) -> Self {
        self.settings.probe = on;
        self
    }

    /// This without the tables in [outbox mode](TriggerSpec::outbox), and a source of these, with the same connection,
    /// heartbeat, timeout and backoff. To be [joined](crate::Joined).
    pub fn split_outbox(mut self) -> (Self, OutboxSourceBuilder) {
        let mut terms = self.settings.terms.clone();
        terms.specs.retain(TriggerSpec::is_outbox);
        self.settings.terms.specs.retain(|spec| !spec.is_outbox());
        (self, OutboxSourceBuilder::with(terms))
    }

    /// The source. It connects when it is first polled.
    ///
    /// # Errors
    /// If an interval, a deadline, a timeout or the backoff is under a millisecond or over a day, or a table to watch is
    /// in outbox mode.
    pub fn build(self) -> Result<NotifySource> {
        self.checked().map(NotifySource::new)
    }

    /// Makes any number of such sources: what [`supervise`](crate::supervise) asks for. Settings are
    /// checked here, once.
    ///
    /// # Errors
    /// If an interval, a deadline, a timeout or the backoff is under a millisecond or over a day, or a table to watch is
    /// in outbox mode.
    pub fn factory(self) -> Result<impl Fn() -> NotifySource + Clone + Send + 'static> {
        let settings = self.checked()?;
        Ok(move || NotifySource::new(Arc::clone(&settings)))
    }

    fn checked(self) -> Result<Arc<Settings>> {
        let mut settings = self.settings;
        settings.terms.check()?;
        if let Some(spec) = settings.terms.specs.iter().find(|spec| spec.is_outbox()) {
            let message = format!(
                "changes of {} are recorded in the outbox, not announced; watch it with an OutboxSource",
                spec.table()
            );
            return Err(Error::new(Kind::Config, message));
        }
        for spec in &settings.terms.specs {
            if !settings.channels.contains(spec.channel_name()) {
                settings.channels.push(spec.channel_name().clone());
            }
        }
        if settings.channels.is_empty() {
            settings.channels.push(ChannelName::default());
        }
        Ok(Arc::new(settings))
    }
}
