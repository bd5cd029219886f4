//! The builder of a herald.

use std::time::Duration;

use pgherald_core::__private::host::errors;
use pgherald_core::__private::host::events::{Split, Watches};
use pgherald_core::__private::host::outbox::Progresses;
use pgherald_core::group::Connections;
use pgherald_core::trigger::{self, TriggerSpec};
use pgherald_core::{
    ChannelName, ConnectConfig, Joined, NotifySource, NotifySourceBuilder, Result, Source, Table,
    TableName,
};

use super::place::Place;
use super::{Herald, Outbox, Started, live};
use crate::listener::ListenerActor;

/// Configures and starts a [`Herald`]; see [`Herald::builder`].
#[derive(Clone, Debug)]
#[must_use = "call start() to get the herald"]
pub struct HeraldBuilder {
    config: ConnectConfig,
    /// Has all tables. Those in outbox mode are split off when the herald starts, and share these settings.
    source: NotifySourceBuilder,
    poll_interval: Option<Duration>,
    /// Whether to install exactly what this program watches; `None` to install nothing.
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
    /// If the schema or table is not a valid name in PostgreSQL.
    pub fn watch<T: Table>(self) -> Result<Self> {
        Ok(self.watch_with(TriggerSpec::of::<T>()?))
    }

    /// Watches a table with the specified triggers. Operations without a trigger cause no events, so caches on the table keep
    /// values that these operations have changed.
    ///
    /// Tables in [outbox mode](TriggerSpec::outbox) and in notify mode may be combined. Each mode has its own connection, and
    /// the herald is live while both connections are. Events of different modes have no order between each other.
    pub fn watch_with(mut self, spec: TriggerSpec) -> Self {
        self.source = self.source.watch(spec);
        self
    }

    /// Returns the triggers that this program requires, as JSON. Write it to a file for `pgherald install --from FILE`.
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
    /// let herald = Herald::builder("postgresql://app@localhost/shop".parse()?).watch::<User>()?;
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

    /// Plans what [`install_triggers`](Self::install_triggers) would run, and runs nothing. [`Plan::sql`](trigger::Plan::sql)
    /// is a script for a review or a migration.
    ///
    /// # Errors
    /// As [`trigger::plan_widened`]; or if the server cannot be reached.
    pub async fn plan(&self) -> Result<trigger::Plan> {
        let client = self.config.client().await?;
        trigger::plan_widened(&client, self.source.watched()).await
    }

    /// Listens to a channel that triggers of another program notify, such as PGCacheWatch's.
    pub fn channel(mut self, channel: ChannelName) -> Self {
        self.source = self.source.channel(channel);
        self
    }

    /// Installs missing or different triggers of the watched tables when the herald starts. Without this, the triggers must be
    /// installed already: while they are not, the listener is not live.
    ///
    /// Existing triggers, columns and options that this program does not require stay, because another program may need them.
    /// The start fails if one installation cannot serve both programs: it has another mode, channel or key.
    pub fn install_triggers(mut self) -> Self {
        self.install = Some(false);
        self
    }

    /// Like [`install_triggers`](Self::install_triggers), but also removes from the watched tables what this program does not
    /// require. Each removal is logged as a warning.
    pub fn install_triggers_exactly(mut self) -> Self {
        self.install = Some(true);
        self
    }

    /// Sets the latency above which a warning is logged; see [`ListenerActor::latency_warning`].
    pub fn latency_warning(mut self, threshold: Option<Duration>) -> Self {
        self.latency_warning = threshold;
        self
    }

    /// Sets how long after the last wake-up the outbox is read without one. Affects only tables in outbox mode. See
    /// [`OutboxSourceBuilder::poll_interval`](pgherald_core::OutboxSourceBuilder::poll_interval).
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.poll_interval = Some(interval);
        self
    }

    /// Changes the source's settings: heartbeat, backoff, timeouts, tables. They also apply to tables in outbox mode, except
    /// for the probe, which only notifications need.
    pub fn source(
        mut self,
        change: impl FnOnce(NotifySourceBuilder) -> NotifySourceBuilder,
    ) -> Self {
        self.source = change(self.source);
        self
    }

    /// Runs the listener and the caches on the current arbiter instead of an arbiter of their own. Only under actix: under plain
    /// tokio, the start then fails.
    ///
    /// A handler that blocks this arbiter then delays the caches, which may serve outdated values meanwhile.
    pub fn on_current_arbiter(mut self) -> Self {
        self.on_current_arbiter = true;
        self
    }

    /// Sets how long [`start`](Self::start) waits until the listener is live, and the herald until each durable handler's
    /// consumer is. Default: 10 s; `start` refuses 0.
    pub fn live_within(mut self, limit: Duration) -> Self {
        self.live_within = limit;
        self
    }

    /// Installs triggers if configured to, starts the listener, and waits until it is [live](Herald::live), for at most
    /// [10 s](Self::live_within).
    ///
    /// # Errors
    /// As [`start_without_waiting`](Self::start_without_waiting). If the listener is not live in time, because the server cannot
    /// be reached or triggers are missing, for example: the error has the cause and its [hint](pgherald_core::Error::hint), and
    /// the listener is stopped.
    pub async fn start(self) -> Result<Herald> {
        let limit = self.live_within;
        if limit.is_zero() {
            return Err(errors::no_time_to_be_live());
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

    /// Installs triggers if configured to, and starts the listener. Waits neither until the listener nor until durable
    /// handlers are live. For programs that have to run while the database is unavailable.
    ///
    /// # Errors
    /// If a setting is invalid, or triggers cannot be installed. If neither an actix system nor a tokio runtime runs on this
    /// thread. If no triggers are to be installed, an unreachable server is no error: the listener retries.
    pub async fn start_without_waiting(self) -> Result<Herald> {
        let here = Place::current();
        let caches = match (&here, self.on_current_arbiter) {
            (Some(here), true) => here.clone(),
            (None, true) => return Err(errors::no_actix()),
            (_, false) => Place::new("caches")?,
        };
        let handlers = match here {
            Some(here) => here,
            None => Place::new("handlers")?,
        };
        let specs = self.source.watched().to_vec();
        let knows_all = self.source.other_channels().is_empty();
        let adds_channels = self.source.adds_channels();
        let (announced, mut recorded) = self.source.split_outbox();
        if let Some(interval) = self.poll_interval {
            recorded = recorded.poll_interval(interval);
        }
        let (in_outbox, progress) = (recorded.watched().to_vec(), recorded.progress());
        let has_announced = !announced.watched().is_empty() || !knows_all || adds_channels;
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
        let config = self.config.clone();
        let start = move || {
            let started = Started::new(make().latency_warning(latency_warning));
            (started, Connections::new(config))
        };
        let (started, connections) = caches.run(start).await?;
        let outbox = (!in_outbox.is_empty()).then(|| Outbox {
            config: self.config.clone(),
            connections,
            watched: in_outbox,
            progress,
        });
        let tables: Vec<TableName> = specs.iter().map(|spec| spec.table().clone()).collect();
        Ok(Herald {
            outbox,
            config: Some(self.config),
            key_types: tokio::sync::Mutex::default(),
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
