//! The options of a notify source.

use std::sync::Arc;
use std::time::Duration;

use super::NotifySource;
use crate::backoff::Backoff;
use crate::connect::ConnectConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::name::ChannelName;
use crate::source::channels::Channels;
use crate::source::options::Options;
use crate::source::outbox::OutboxSourceBuilder;
use crate::trigger::TriggerSpec;

#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) options: Options,
    pub(super) channels: Vec<ChannelName>,
    /// The channels that are added and removed while the source runs.
    pub(super) added: Option<Channels>,
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
                options: Options::new(config),
                channels: Vec::new(),
                added: None,
                probe: true,
            },
        }
    }

    /// Listens to `channel`, in addition to the channels of the watched tables. Without any channel and table, the source
    /// listens to [`ChannelName::DEFAULT`].
    pub fn channel(mut self, channel: ChannelName) -> Self {
        if !self.settings.channels.contains(&channel) {
            self.settings.channels.push(channel);
        }
        self
    }

    /// Listens to the channels that users add to this handle while the source runs. Their payloads need not be events, and cause
    /// no signals, unless the source listens to the channel in any case.
    pub fn channels(mut self, channels: &Channels) -> Self {
        self.settings.added = Some(channels.clone());
        self
    }

    /// Watches a table: listens to its channel, and checks at every connect and heartbeat that its triggers are in place.
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

    /// Returns the additional [channels](Self::channel). The source does not check triggers for them.
    #[must_use]
    pub(crate) fn other_channels(&self) -> &[ChannelName] {
        &self.settings.channels
    }

    /// Returns whether [channels](Self::channels) can be added while the source runs.
    #[must_use]
    pub(crate) fn adds_channels(&self) -> bool {
        self.settings.added.is_some()
    }

    /// Queries the server every `interval`, and drops the session if there is no answer within `deadline`. The defaults are
    /// 10 s and 5 s.
    ///
    /// The query confirms that the session still listens and that the triggers are in place.
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

    /// Whether to verify that a notification from a second connection arrives, until that has succeeded once. The default is
    /// on.
    ///
    /// The check fails behind a proxy that loses notifications although LISTEN succeeds. A pooler in transaction mode is
    /// refused in any case, at each attempt to connect.
    pub fn probe(mut self, on: bool) -> Self {
        self.settings.probe = on;
        self
    }

    /// Removes the tables in [outbox mode](TriggerSpec::outbox), and returns an outbox source for them with the same
    /// connection, heartbeat, timeout and backoff. [Join](crate::Joined) the two sources.
    pub(crate) fn split_outbox(mut self) -> (Self, OutboxSourceBuilder) {
        let mut options = self.settings.options.clone();
        options.specs.retain(TriggerSpec::is_outbox);
        self.settings.options.specs.retain(|spec| !spec.is_outbox());
        (self, OutboxSourceBuilder::with(options))
    }

    /// Builds the source. It connects when it is first polled.
    ///
    /// # Errors
    /// If an interval, a deadline, a timeout or the backoff is under a millisecond or over a day, or a watched table is in
    /// outbox mode.
    pub fn build(self) -> Result<NotifySource> {
        self.checked().map(NotifySource::new)
    }

    /// Checks the options once, and returns a function that makes any number of such sources, for
    /// [`supervise`](crate::supervise).
    ///
    /// # Errors
    /// If an interval, a deadline, a timeout or the backoff is under a millisecond or over a day, or a watched table is in
    /// outbox mode.
    pub fn factory(self) -> Result<impl Fn() -> NotifySource + Clone + Send + 'static> {
        let settings = self.checked()?;
        Ok(move || NotifySource::new(Arc::clone(&settings)))
    }

    fn checked(self) -> Result<Arc<Settings>> {
        let mut settings = self.settings;
        settings.options.check()?;
        if let Some(spec) = settings.options.specs.iter().find(|spec| spec.is_outbox()) {
            let message = format!(
                "changes of {} are recorded in the outbox, not announced; watch it with an OutboxSource",
                spec.table()
            );
            return Err(Error::new(ErrorKind::Config, message));
        }
        for spec in &settings.options.specs {
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
