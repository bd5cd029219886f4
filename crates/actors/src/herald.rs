//! Listener, caches and handlers as one thing that is started and shut down.

use std::cell::RefCell;
use std::fmt;
use std::time::Duration;

use actix::{Actor, Addr, Recipient};
use futures_util::FutureExt;
use pgherald_core::cache::CacheKey;
use pgherald_core::group::{BatchHandler, Consumer, ConsumerHandle, TransactionalHandler};
use pgherald_core::trigger::{self, TriggerSpec};
use pgherald_core::{
    CacheBuilder, CacheDriver, CacheHandle, CachedFn, ChannelName, ConnectConfig, Durable, Error,
    EventHandler, FromEvent, Health, Joined, NotifySource, NotifySourceBuilder, Result,
    SubscriptionId, Table, TableName,
};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::cache::CacheActor;
use crate::durable::DurableActor;
use crate::handler::{Ephemeral, HandlerActor, HandlerReport};
use crate::listener::{ListenerActor, ListenerStatus, ShutdownReport};
use crate::messages::{Drain, GetStatus, Shutdown, Subscribe};

/// A running listener, and the caches and handlers that were started on it.
///
/// Everything it does can be done with the actors themselves; it saves the wiring, and shuts down in the
/// right order.
///
/// ```no_run
/// use std::time::Duration;
/// use pgherald_actors::{Ephemeral, Herald};
/// use pgherald_core::{Attempt, EventHandler, HandlerResult, Inserted, Table};
///
/// struct User;
/// impl Table for User {
///     const NAME: &'static str = "users";
///     const KEY: &'static [&'static str] = &["id"];
///     type Key = i64;
/// }
///
/// struct Greet;
/// impl EventHandler for Greet {
///     type Event = Inserted<User>;
///     async fn handle(&self, user: Inserted<User>, _: Attempt) -> HandlerResult {
///         println!("hello, user {}", user.key);
///         Ok(())
///     }
/// }
///
/// #[actix::main]
/// async fn main() -> pgherald_core::Result<()> {
///     let herald = Herald::connect("postgresql://app@localhost/shop".parse()?)
///         .watch::<User>()?
///         .install_triggers()
///         .start()
///         .await?;
///     herald.handler(Ephemeral::new("greet"), || Greet).await?;
///     println!("{}", herald.run_until_signal(Duration::from_secs(10)).await?);
///     Ok(())
/// }
/// ```
#[derive(Debug)]
pub struct Herald {
    listener: Addr<ListenerActor>,
    health: watch::Receiver<Health>,
    handlers: RefCell<Vec<Registered>>,
    /// The tables that are watched, where that is all that is listened to.
    watched: Option<Vec<TableName>>,
    /// Where the outbox is, if that is what is read, and what is required of the tables whose changes are recorded in it.
    outbox: Option<(ConnectConfig, Vec<TriggerSpec>)>,
}

/// A handler that a shutdown drains.
#[derive(Debug)]
struct Registered {
    drain: Recipient<Drain>,
    is_durable: bool,
}

impl Herald {
    /// Starts describing a herald on a database.
    pub fn connect(config: ConnectConfig) -> HeraldBuilder {
        HeraldBuilder {
            source: NotifySource::builder(config.clone()),
            config,
            poll_interval: None,
            install: None,
            latency_warning: Some(Duration::from_millis(500)),
            live_within: Duration::from_secs(10),
        }
    }

    /// Starts `listener` on the current arbiter.
    ///
    /// # Panics
    /// Where no actix system runs on this thread. [`HeraldBuilder::start`] reports that as an error.
    pub fn start(listener: ListenerActor) -> Self {
        let health = listener.watch_health();
        Self {
            listener: listener.start(),
            health,
            handlers: RefCell::default(),
            watched: None,
            outbox: None,
        }
    }

    /// The listener, for whatever is not offered here.
    pub fn listener(&self) -> &Addr<ListenerActor> {
        &self.listener
    }

    /// The listener's health, to be looked at and waited for.
    #[must_use]
    pub fn health(&self) -> watch::Receiver<Health> {
        self.health.clone()
    }

    /// Waits until the listener is live.
    ///
    /// # Errors
    /// If it has stopped.
    pub async fn live(&self) -> Result<()> {
        let mut health = self.health.clone();
        health
            .wait_for(Health::is_live)
            .await
            .map(drop)
            .map_err(|_| Error::shut_down())
    }

    /// Starts a [`HandlerActor`] and subscribes it.
    ///
    /// # Errors
    /// If its options cannot be used, the listener has stopped, or no actix system runs on this thread.
    pub async fn handler<H: EventHandler>(
        &self,
        options: Ephemeral,
        factory: impl Fn() -> H + 'static,
    ) -> Result<Addr<HandlerActor<H>>> {
        require_actix()?;
        let addr = HandlerActor::new(options.clone(), factory).start();
        self.subscribe(HandlerActor::subscription(&addr, &options))
            .await?;
        self.register(addr.clone().recipient(), false);
        Ok(addr)
    }

    /// Starts a durable handler: a consumer of the group that `terms` name. It reads the outbox by itself, on a connection
    /// of its own; see [`pgherald_core::group`] for what it promises.
    ///
    /// ```no_run
    /// # use pgherald_actors::Herald;
    /// use pgherald_core::trigger::TriggerSpec;
    /// use pgherald_core::{Attempt, Durable, EventHandler, HandlerResult, Inserted, Table};
    ///
    /// # struct User;
    /// # impl Table for User {
    /// #     const NAME: &'static str = "users";
    /// #     const KEY: &'static [&'static str] = &["id"];
    /// #     type Key = i64;
    /// # }
    /// struct Greet;
    /// impl EventHandler for Greet {
    ///     type Event = Inserted<User>;
    ///     async fn handle(&self, user: Inserted<User>, attempt: Attempt) -> HandlerResult {
    ///         println!("{:?}: hello, user {}", attempt.idempotency_key(), user.key);
    ///         Ok(())
    ///     }
    /// }
    ///
    /// # async fn example() -> pgherald_core::Result<()> {
    /// let herald = Herald::connect("postgresql://app@localhost/shop".parse()?)
    ///     .watch_with(TriggerSpec::of::<User>()?.outbox())
    ///     .install_triggers()
    ///     .start()
    ///     .await?;
    /// herald.durable(Durable::new("greet"), || Greet)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If its terms cannot be used, or it would not be given anything: no table in [outbox mode](TriggerSpec::outbox) is
    /// watched, or none that it wants events of. If no actix system runs on this thread.
    pub fn durable<H: EventHandler>(
        &self,
        terms: Durable,
        factory: impl Fn() -> H + 'static,
    ) -> Result<Addr<DurableActor>> {
        let (config, terms) = self.outbox_for::<H::Event>(terms)?;
        Consumer::new(config, terms, factory).map(|made| self.run(made))
    }

    /// Starts a durable handler that is given the transaction in which its acknowledgement commits.
    ///
    /// # Errors
    /// As for [`durable`](Self::durable).
    pub fn transactional<H: TransactionalHandler>(
        &self,
        terms: Durable,
        factory: impl Fn() -> H + 'static,
    ) -> Result<Addr<DurableActor>> {
        let (config, terms) = self.outbox_for::<H::Event>(terms)?;
        Consumer::transactional(config, terms, factory).map(|made| self.run(made))
    }

    /// Starts a durable handler that is given many events at once.
    ///
    /// # Errors
    /// As for [`durable`](Self::durable).
    pub fn batches<H: BatchHandler>(
        &self,
        terms: Durable,
        factory: impl Fn() -> H + 'static,
    ) -> Result<Addr<DurableActor>> {
        let (config, terms) = self.outbox_for::<H::Event>(terms)?;
        Consumer::batches(config, terms, factory).map(|made| self.run(made))
    }

    /// Where the outbox is, and the terms with what the handler requires of the watched tables; unless it wants none of them.
    fn outbox_for<E: FromEvent>(&self, terms: Durable) -> Result<(ConnectConfig, Durable)> {
        require_actix()?;
        let Some((config, specs)) = &self.outbox else {
            return Err(terms.not_watched());
        };
        let wanted = specs.iter().filter(|spec| terms.wants::<E>(spec.table()));
        let wanted: Vec<TriggerSpec> = wanted.cloned().collect();
        match wanted.is_empty() {
            true => Err(terms.not_watched()),
            false => Ok((config.clone(), terms.requires(wanted))),
        }
    }

    fn run(&self, (handle, consumer): (ConsumerHandle, Consumer)) -> Addr<DurableActor> {
        let addr = DurableActor::new(handle, consumer).start();
        self.register(addr.clone().recipient(), true);
        addr
    }

    fn register(&self, drain: Recipient<Drain>, is_durable: bool) {
        let registered = Registered { drain, is_durable };
        self.handlers.borrow_mut().push(registered);
    }

    /// Starts a [`CacheActor`] and subscribes it. The cache is read through the handle, from any thread.
    ///
    /// ```no_run
    /// # use pgherald_actors::Herald;
    /// # use pgherald_core::{CacheBuilder, CacheHandle, Table};
    /// # struct User;
    /// # impl Table for User {
    /// #     const NAME: &'static str = "users";
    /// #     const KEY: &'static [&'static str] = &["id"];
    /// #     type Key = i64;
    /// # }
    /// # async fn example(herald: &Herald) -> pgherald_core::Result<()> {
    /// let names: CacheHandle<i64, String> =
    ///     herald.cache(CacheBuilder::new("names").row_of::<User>().capacity(50_000)).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If what is described cannot be used, the cache depends on a table that is not watched (and no
    /// [`channel`](HeraldBuilder::channel) of other triggers is listened to), the listener has stopped, or no actix system
    /// runs on this thread.
    pub async fn cache<K: CacheKey, V: Send + Sync + 'static>(
        &self,
        cache: CacheBuilder<K, V>,
    ) -> Result<CacheHandle<K, V>> {
        require_actix()?;
        let (handle, driver) = cache.build()?;
        self.drive(driver).await?;
        Ok(handle)
    }

    /// Starts the cache of a function. Until then, and after the shutdown, the function is called each time. Called a
    /// second time, it gives the function another, empty cache; the one before goes with the herald that started it.
    ///
    /// # Errors
    /// As for [`cache`](Self::cache).
    pub async fn cached<K: CacheKey, V: Send + Sync + 'static>(
        &self,
        function: &CachedFn<K, V>,
    ) -> Result<()> {
        require_actix()?;
        let (handle, driver) = function.build()?;
        self.drive(driver).await?;
        function.attach(handle);
        Ok(())
    }

    async fn drive<K: CacheKey, V: Send + Sync + 'static>(
        &self,
        driver: CacheDriver<K, V>,
    ) -> Result<()> {
        if let Some(watched) = &self.watched {
            driver.check_watched(watched)?;
        }
        if let Some((_, specs)) = &self.outbox {
            let recorded: Vec<_> = specs.iter().map(|spec| spec.table().clone()).collect();
            driver.set_recorded(&recorded);
        }
        self.subscribe(CacheActor::run(driver)).await.map(drop)
    }

    /// Subscribes an actor of yours.
    ///
    /// # Errors
    /// If the options cannot be used, or the listener has stopped.
    pub async fn subscribe(&self, subscribe: Subscribe) -> Result<SubscriptionId> {
        self.listener
            .send(subscribe)
            .await
            .map_err(|_| Error::shut_down())?
    }

    /// How the listener is doing.
    ///
    /// # Errors
    /// If it has stopped.
    pub async fn status(&self) -> Result<ListenerStatus> {
        self.listener
            .send(GetStatus)
            .await
            .map_err(|_| Error::shut_down())
    }

    /// Closes the source, delivers what waits in the queues, lets the handlers finish, and reports. Durable handlers begin no
    /// attempt from now on. All of it takes at most `deadline`; what is not done then is dropped, and reported as such.
    ///
    /// # Errors
    /// If the listener has stopped before.
    pub async fn shutdown(self, deadline: Duration) -> Result<HeraldReport> {
        let began = Instant::now();
        let closing = self.listener.send(Shutdown { deadline });
        let closing = closing.map(Result::ok).boxed_local().shared();
        let handlers = self.handlers.into_inner().into_iter().map(|handler| {
            let closing = closing.clone();
            async move {
                // A durable handler reads by itself. What waits for the others in queues is delivered first.
                if !handler.is_durable {
                    closing.await;
                }
                let deadline = deadline.saturating_sub(began.elapsed());
                handler.drain.send(Drain { deadline }).await
            }
        });
        let reports = futures_util::future::join_all(handlers).await;
        Ok(HeraldReport {
            listener: closing.await.ok_or_else(Error::shut_down)?,
            handlers: reports.into_iter().flatten().collect(),
        })
    }

    /// Waits for SIGINT or SIGTERM (Ctrl-C where there are no signals), then shuts down.
    ///
    /// # Errors
    /// If the listener has stopped before.
    pub async fn run_until_signal(self, deadline: Duration) -> Result<HeraldReport> {
        interrupted().await;
        tracing::info!(?deadline, "shutting down");
        self.shutdown(deadline).await
    }
}

/// Fails where actors cannot be started: they live on a thread of an actix system.
fn require_actix() -> Result<()> {
    match actix_rt::Arbiter::try_current() {
        Some(_) => Ok(()),
        None => Err(Error::no_actix()),
    }
}

async fn interrupted() {
    let ctrl_c = async {
        if let Err(error) = tokio::signal::ctrl_c().await {
            tracing::warn!(%error, "cannot wait for SIGINT");
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    let terminated = async {
        use tokio::signal::unix::{SignalKind, signal};
        match signal(SignalKind::terminate()) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(error) => {
                tracing::warn!(%error, "cannot wait for SIGTERM");
                std::future::pending::<()>().await;
            }
        }
    };
    #[cfg(not(unix))]
    let terminated = std::future::pending::<()>();
    tokio::select! {
        () = ctrl_c => {}
        () = terminated => {}
    }
}

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
}

impl HeraldBuilder {
    /// Watches `T`'s table with the default [`TriggerSpec`].
    ///
    /// # Errors
    /// If schema or table cannot be names in PostgreSQL.
    pub fn watch<T: Table>(self) -> Result<Self> {
        Ok(self.watch_with(TriggerSpec::of::<T>()?))
    }

    /// Watches a table with triggers as specified. Of operations that the triggers leave out, nobody is told: caches on
    /// the table neither.
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

    /// Installs triggers if asked to, starts the listener on the current arbiter, and waits until it is [live](Herald::live):
    /// [10 s](Self::live_within) at most.
    ///
    /// # Errors
    /// As for [`start_without_waiting`](Self::start_without_waiting). If the listener is not live in time; the error has the
    /// cause and its [hint](Error::hint): the server cannot be reached, say, or triggers are missing. The listener is stopped
    /// then.
    pub async fn start(self) -> Result<Herald> {
        let limit = self.live_within;
        let herald = self.start_without_waiting().await?;
        if let Ok(live) = tokio::time::timeout(limit, herald.live()).await {
            return live.map(|()| herald);
        }
        let cause = match &*herald.health().borrow() {
            Health::Live { .. } => return Ok(herald),
            Health::Degraded { cause, .. } => Some(cause.clone()),
            Health::Connecting => None,
        };
        // No handler has subscribed yet, so nothing is lost.
        let _ = herald.shutdown(Duration::ZERO).await;
        Err(Error::not_live(limit, cause))
    }

    /// How long [`start`](Self::start) waits for the listener to be live. Default: 10 s.
    pub fn live_within(mut self, limit: Duration) -> Self {
        self.live_within = limit;
        self
    }

    /// Installs triggers if asked to, and starts the listener on the current arbiter. Does not wait until it is
    /// [live](Herald::live): for programs that are to run while the database is away.
    ///
    /// # Errors
    /// If a setting cannot be used, or triggers were to be installed and that failed. If no actix system runs on this thread.
    /// A server that is down is no error otherwise: the listener goes on trying.
    pub async fn start_without_waiting(self) -> Result<Herald> {
        require_actix()?;
        let specs = self.source.watched().to_vec();
        let knows_all = self.source.other_channels().is_empty();
        let (announced, mut recorded) = self.source.split_outbox();
        if let Some(interval) = self.poll_interval {
            recorded = recorded.poll_interval(interval);
        }
        let in_outbox = recorded.watched().to_vec();
        let has_announced = !announced.watched().is_empty() || !knows_all;
        let listener = match (has_announced, in_outbox.is_empty()) {
            (_, true) => ListenerActor::new(announced.factory()?),
            (false, false) => ListenerActor::new(recorded.factory()?),
            (true, false) => {
                let (announced, recorded) = (announced.factory()?, recorded.factory()?);
                ListenerActor::new(move || Joined::new(announced(), recorded()))
            }
        };
        if let Some(exactly) = self.install {
            install(&self.config, &specs, exactly).await?;
        }
        let listener = listener.latency_warning(self.latency_warning);
        let tables: Vec<TableName> = specs.iter().map(|spec| spec.table().clone()).collect();
        Ok(Herald {
            outbox: (!in_outbox.is_empty()).then_some((self.config, in_outbox)),
            watched: knows_all.then_some(tables),
            ..Herald::start(listener)
        })
    }
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

/// What was done, and what was not, when a herald was shut down.
#[derive(Clone, Debug)]
pub struct HeraldReport {
    /// The listener and its subscriptions.
    pub listener: ShutdownReport,
    /// The handlers, in the order in which they were started.
    pub handlers: Vec<HandlerReport>,
}

impl HeraldReport {
    /// Whether nothing that was received was dropped. What failed is counted in the reports of the [handlers](Self::handlers).
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.listener.is_complete() && self.handlers.iter().all(|report| report.dropped == 0)
    }
}

/// One line per subscription and handler.
impl fmt::Display for HeraldReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.listener.fmt(f)?;
        self.handlers
            .iter()
            .try_for_each(|report| write!(f, "\n{report}"))
    }
}
