//! What a herald is to do, before it starts.

use std::time::Duration;

use pgherald_core::trigger::{self, TriggerSpec};
use pgherald_core::{
    ChannelName, ConnectConfig, Error, Joined, NotifySource, NotifySourceBuilder, Result, Source,
    Table, TableName,
};

use super::place::Place;
use super::{Herald, Started, live};
use crate::listener::ListenerActor;

/// Describes a [`Herald`]; see [`Herald::connect`].
#[derive(Clone, Debug)]
#[must_use = "call start() to get the herald"]
pub struct HeraldBuilder {
    config: ConnectConfig,
    /// Of all tables: what reads the outbox is split off, with the settings that both kinds have.
    source: NotifySourceBuilder,
    poll_interval: Option<Duration>,
    /// Whether to take away what is installed besides; `None` to install nothing.
    install: Option<bool>,
    latency_warning: Option<Duration>,
    live_within: Duration,
    on_current_arbiter: bool,
}

impl HeraldBuilder {
    pub(super) fn new(config: ConnectConfig) -> Self {
        Self {
            source: NotifySource::builder(config.clone()),
            config,
            poll_interval: None,
            install: None,
            latency_warning: Some(Duration::from_millis(500)),
            live_within: Duration::from_secs(10),
            on_current_arbiter: false,
        }
    }

    /// Watches `T`'s table with the default [`TriggerSpec`].
    ///
    /// # Errors
    /// If schema or table cannot be names in PostgreSQL.
    pub fn watch<T: Table>(self) -> Result<Self> {
        Ok(self.watch_with(TriggerSpec::of::<T>()?))
    }

    /// Watches a table with triggers as specified. Operations that the triggers leave out cause no events: caches on the table
    /// do not notice them.
    ///
    /// Tables in [outbox mode](TriggerSpec::outbox) may be watched beside others. Each mode has a connection of its own, and
    /// the herald is live while both are; there is no order between what the two bring.
    pub fn watch_with(mut self, spec: TriggerSpec) -> Self {
        self.source = self.source.watch(spec);
        self
    }

    /// Exports what this program requires of its tables, as JSON: write it to a file, and have `pgherald install --from FILE`
    /// install it.
    ///
    /// ```
    /// # use pgherald_actors::Herald;
    /// # use pgherald_core::Table;
    /// # struct User;
    /// # impl Table for User {
    /// #     const NAME: &'static str = "users";
    /// #     const KEY: &'static [&'static str] = &["id"];
    /// #     type Key = i64;
    /// # }
    /// # fn main() -> pgherald_core::Result<()> {
    /// let herald = Herald::connect("postgresql://app@localhost/shop".parse()?).watch::<User>()?;
    /// assert!(herald.manifest()?.contains("users"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`trigger::to_manifest`].
    pub fn manifest(&self) -> Result<String> {
        trigger::to_manifest(self.source.watched())
    }

    /// Works out what [`install_triggers`](Self::install_triggers) would run, and runs nothing: [`Plan::sql`](trigger::Plan::sql)
    /// is a script for a review or a migration.
    ///
    /// # Errors
    /// As [`trigger::plan_widened`]; or if the server cannot be reached.
    pub async fn plan(&self) -> Result<trigger::Plan> {
        let client = self.config.client().await?;
        trigger::plan_widened(&client, self.source.watched()).await
    }

    /// Listens to a channel that other triggers notify, PGCacheWatch's for example.
    pub fn channel(mut self, channel: ChannelName) -> Self {
        self.source = self.source.channel(channel);
        self
    }

    /// Installs the triggers of the watched tables before it starts, where they are not as specified.
    /// Without this they must be there; while they are not, the listener is not live.
    ///
    /// What the present installation has and this program does not watch stays: another program may need it. Start fails where
    /// one installation cannot serve both, because it has the other mode, another channel or another key; see
    /// [`Actual::widened`](trigger::Actual::widened).
    pub fn install_triggers(mut self) -> Self {
        self.install = Some(false);
        self
    }

    /// As [`install_triggers`](Self::install_triggers), but takes away from the watched tables what this program does not
    /// watch. What it takes away is logged.
    pub fn install_triggers_exactly(mut self) -> Self {
        self.install = Some(true);
        self
    }

    /// See [`ListenerActor::latency_warning`].
    pub fn latency_warning(mut self, threshold: Option<Duration>) -> Self {
        self.latency_warning = threshold;
        self
    }

    /// After how long without a wake-up the outbox is read anyway, if tables are in that mode. See
    /// [`OutboxSourceBuilder::poll_interval`](pgherald_core::OutboxSourceBuilder::poll_interval).
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.poll_interval = Some(interval);
        self
    }

    /// Changes the source's settings: heartbeat, backoff, timeouts, tables. They hold for reading the outbox as well, but
    /// for the probe, which only notifications need.
    pub fn source(
        mut self,
        change: impl FnOnce(NotifySourceBuilder) -> NotifySourceBuilder,
    ) -> Self {
        self.source = change(self.source);
        self
    }

    /// Runs the listener and the caches on the current arbiter rather than on one of their own.
    ///
    /// A handler that blocks this arbiter then delays the caches: they may answer with values that are older than the
    /// handler's work.
    pub fn on_current_arbiter(mut self) -> Self {
        self.on_current_arbiter = true;
        self
    }

    /// How long [`start`](Self::start) waits for the listener to be live, and the herald for each durable handler. Default: 10 s;
    /// `start` refuses 0.
    pub fn live_within(mut self, limit: Duration) -> Self {
        self.live_within = limit;
        self
    }

    /// Installs triggers if asked to, starts the listener, and waits until it is [live](Herald::live):
    /// [10 s](Self::live_within) at most.
    ///
    /// # Errors
    /// As for [`start_without_waiting`](Self::start_without_waiting). If the listener is not live in time; the error has the
    /// cause and its [hint](Error::hint): the server cannot be reached, say, or triggers are missing. The listener is stopped
    /// then.
    pub async fn start(self) -> Result<Herald> {
        let limit = self.live_within;
        if limit.is_zero() {
            return Err(Error::no_time_to_be_live());
        }
        let mut herald = self.start_without_waiting().await?;
        if let Err(error) = live::within(limit, herald.health(), "the listener").await {
            // No handler has subscribed yet, so nothing is lost.
            let _ = herald.shutdown(Duration::ZERO).await;
            return Err(error);
        }
        herald.live_within = Some(limit);
        Ok(herald)
    }

    /// Installs triggers if asked to, and starts the listener. Waits neither for the listener nor for durable handlers to be
    /// live: for programs that have to run while the database is away.
    ///
    /// # Errors
    /// If a setting cannot be used, or triggers were to be installed and that failed. If neither an actix system nor a tokio
    /// runtime runs on this thread. A server that is down is no error otherwise: the listener goes on trying.
    pub async fn start_without_waiting(self) -> Result<Herald> {
        let here = Place::current();
        let caches = match (&here, self.on_current_arbiter) {
            (Some(here), true) => here.clone(),
            (None, true) => return Err(Error::no_actix()),
            (_, false) => Place::new("caches")?,
        };
        let handlers = match here {
            Some(here) => here,
            None => Place::new("handlers")?,
        };
        let specs = self.source.watched().to_vec();
        let knows_all = self.source.other_channels().is_empty();
        let (announced, mut recorded) = self.source.split_outbox();
        if let Some(interval) = self.poll_interval {
            recorded = recorded.poll_interval(interval);
        }
        let in_outbox = recorded.watched().to_vec();
        let has_announced = !announced.watched().is_empty() || !knows_all;
        // Settings are checked also of the source that is not needed.
        let (announced, recorded) = (announced.factory()?, recorded.factory()?);
        let make: Box<dyn FnOnce() -> ListenerActor + Send> =
            match (has_announced, in_outbox.is_empty()) {
                (_, true) => listener(announced),
                (false, false) => listener(recorded),
                (true, false) => listener(move || Joined::new(announced(), recorded())),
            };
        if let Some(exactly) = self.install {
            install(&self.config, &specs, exactly).await?;
        }
        let latency_warning = self.latency_warning;
        let start = move || Started::new(make().latency_warning(latency_warning));
        let started = caches.run(start).await?;
        let tables: Vec<TableName> = specs.iter().map(|spec| spec.table().clone()).collect();
        Ok(Herald {
            outbox: (!in_outbox.is_empty()).then_some((self.config.clone(), in_outbox)),
            config: Some(self.config),
            watched: knows_all.then_some(tables),
            ..Herald::of(started, caches, handlers)
        })
    }
}

fn listener<S: Source>(
    build: impl Fn() -> S + Send + 'static,
) -> Box<dyn FnOnce() -> ListenerActor + Send> {
    Box::new(|| ListenerActor::new(build))
}

async fn install(config: &ConnectConfig, specs: &[TriggerSpec], exactly: bool) -> Result<()> {
    let client = config.client().await?;
    if !exactly {
        return trigger::install(&client, specs).await;
    }
    let plan = trigger::plan(&client, specs).await?;
    for warning in plan.warnings() {
        tracing::warn!("installing triggers: {warning}");
    }
    plan.apply(&client).await
}
