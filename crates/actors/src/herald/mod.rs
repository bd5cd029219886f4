//! Starts a listener, caches and handlers, and shuts them down in the right order.

mod builder;
mod interrupt;
mod live;
mod place;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use actix::{Actor, Addr, Recipient};
use futures_util::FutureExt;
use pgherald_core::__private::host::cache::{Drive, KeyTypes};
use pgherald_core::__private::host::errors;
use pgherald_core::__private::host::group::{not_watched, wants};
use pgherald_core::cache::CacheKey;
use pgherald_core::group::{BatchHandler, Consumer, ConsumerHandle, TransactionalHandler};
use pgherald_core::trigger::TriggerSpec;
use pgherald_core::{
    CacheBuilder, CacheDriver, CacheHandle, CachedFn, Caches, ConnectConfig, DurableOptions, Error,
    EventHandler, Filter, FromEvent, Health, ListenerStatus, Result, Subscription, SubscriptionId,
    SubscriptionOptions, TableName,
};
use tokio::sync::watch;
use tokio::time::Instant;

pub use builder::HeraldBuilder;
use interrupt::interrupted;
use place::Place;

use crate::cache::CacheActor;
use crate::durable::DurableActor;
use crate::handler::{EphemeralOptions, HandlerActor};
use crate::listener::ListenerActor;
use crate::messages::{Drain, GetStatus, OpenSubscription, Shutdown, Subscribe};
use crate::report::{HandlerReport, ShutdownReport};

/// A running listener, and the caches and handlers that were started on it.
///
/// A herald runs under actix and under plain tokio. It can be shared between threads, as an `Arc<Herald>` for example.
///
/// | started under | listener and caches run on | handlers run on |
/// |---|---|---|
/// | `#[actix::main]`, `#[actix_web::main]` | an arbiter of their own | the arbiter that started the herald |
/// | `#[tokio::main]` | a thread of their own | another thread of their own |
///
/// So a handler that blocks its thread delays no cache. Handlers need not be `Send`, but their factories must be.
/// Under plain tokio both threads use the program's runtime, so handlers can share its connection pools.
///
/// If the herald is dropped without a [shutdown](Self::shutdown), its actors continue until the runtime that started it ends.
///
/// A program can also start and connect the actors itself.
///
/// ```no_run
/// use std::time::Duration;
/// use pgherald_actors::{EphemeralOptions, Herald};
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
///     let herald = Herald::builder("postgresql://app@localhost/shop".parse()?)
///         .watch::<User>()?
///         .install_triggers()
///         .start()
///         .await?;
///     herald.start_handler(EphemeralOptions::new("greet"), || Greet).await?;
///     println!("{}", herald.run_until_signal(Duration::from_secs(10)).await?);
///     Ok(())
/// }
/// ```
#[derive(Debug)]
pub struct Herald {
    listener: Addr<ListenerActor>,
    health: watch::Receiver<Health>,
    /// The subscribed caches, which consumers wait for.
    subscribed: Caches,
    /// Where the listener and the caches run.
    caches: Place,
    /// Where the handlers run.
    handlers: Place,
    registered: Mutex<Vec<Registered>>,
    /// How long to wait until each consumer is live; `None` for not at all.
    live_within: Option<Duration>,
    /// The watched tables; `None` if events of other tables may arrive too.
    watched: Option<Vec<TableName>>,
    /// The database; `None` if the program made the listener.
    config: Option<ConnectConfig>,
    /// The types of the tables' columns, as they were read for the caches that were started so far.
    key_types: tokio::sync::Mutex<KeyTypes>,
    /// The outbox's database, and the triggers of the tables in outbox mode; `None` if there is no such table.
    outbox: Option<(ConnectConfig, Vec<TriggerSpec>)>,
}

/// A listener that was started on the current thread.
struct Started {
    listener: Addr<ListenerActor>,
    health: watch::Receiver<Health>,
    caches: Caches,
}

impl Started {
    fn new(listener: ListenerActor) -> Self {
        let (health, caches) = (listener.watch_health(), listener.caches());
        Self {
            listener: listener.start(),
            health,
            caches,
        }
    }
}

/// A handler that a shutdown drains.
#[derive(Debug)]
struct Registered {
    drain: Recipient<Drain>,
    is_durable: bool,
}

impl Herald {
    /// Returns a builder of a herald for a database.
    pub fn builder(config: ConnectConfig) -> HeraldBuilder {
        HeraldBuilder::new(config)
    }

    /// Starts `listener` on the current arbiter, where caches and handlers will run too. For custom sources, and for tests that
    /// pause the clock.
    ///
    /// # Errors
    /// If no actix system runs on this thread.
    pub async fn start_on_current_arbiter(listener: ListenerActor) -> Result<Self> {
        let here = Place::current().ok_or_else(errors::no_actix)?;
        Ok(Self::of(Started::new(listener), here.clone(), here))
    }

    fn of(started: Started, caches: Place, handlers: Place) -> Self {
        Self {
            listener: started.listener,
            health: started.health,
            subscribed: started.caches,
            caches,
            handlers,
            registered: Mutex::default(),
            live_within: None,
            watched: None,
            key_types: tokio::sync::Mutex::default(),
            config: None,
            outbox: None,
        }
    }

    /// Returns the listener's address, for messages that the herald has no method for.
    pub fn listener(&self) -> &Addr<ListenerActor> {
        &self.listener
    }

    /// Returns the listener's health, which can be read and awaited.
    #[must_use]
    pub fn health(&self) -> watch::Receiver<Health> {
        self.health.clone()
    }

    /// Waits until the listener is live.
    ///
    /// # Errors
    /// If the listener has stopped.
    pub async fn live(&self) -> Result<()> {
        live::wait(&mut self.health.clone()).await
    }

    /// Starts a [`HandlerActor`] and subscribes it.
    ///
    /// # Errors
    /// If the concurrency or the timeout is 0, or the herald was shut down.
    pub async fn start_handler<H: EventHandler>(
        &self,
        options: EphemeralOptions,
        factory: impl Fn() -> H + Send + 'static,
    ) -> Result<Addr<HandlerActor<H>>> {
        options.check()?;
        let started_with = options.clone();
        let start = move || HandlerActor::new(started_with, factory).start();
        let addr = self.handlers.run(start).await?;
        self.subscribe(HandlerActor::subscription(&addr, &options))
            .await?;
        self.register(addr.clone().recipient(), false);
        Ok(addr)
    }

    /// Starts a durable handler: a consumer of the group that `options` name. It reads the outbox on a connection of its own.
    /// See [`pgherald_core::group`] for its guarantees.
    ///
    /// When this returns, the consumer is live, so a new group receives each event that is committed from then on. After
    /// [`start_without_waiting`](HeraldBuilder::start_without_waiting), this does not wait: a new group begins when its
    /// consumer has connected.
    ///
    /// ```no_run
    /// # use pgherald_actors::Herald;
    /// use pgherald_core::trigger::TriggerSpec;
    /// use pgherald_core::{Attempt, DurableOptions, EventHandler, HandlerResult, Inserted, Table};
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
    /// let herald = Herald::builder("postgresql://app@localhost/shop".parse()?)
    ///     .watch_with(TriggerSpec::of::<User>()?.outbox())
    ///     .install_triggers()
    ///     .start()
    ///     .await?;
    /// herald.start_durable(DurableOptions::new("greet"), || Greet).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If an option is invalid. If the handler would receive no events, because no table in [outbox mode](TriggerSpec::outbox)
    /// that its event type and filter include is watched. If its consumer is not live [in time](HeraldBuilder::live_within):
    /// the error has the cause and a [hint](Error::hint), and the consumer is stopped. If the herald was shut down.
    pub async fn start_durable<H: EventHandler>(
        &self,
        options: DurableOptions,
        factory: impl Fn() -> H + Send + 'static,
    ) -> Result<Addr<DurableActor>> {
        let (config, options) = self.outbox_for::<H::Event>(options)?;
        self.consume(move || Consumer::new(config, options, factory))
            .await
    }

    /// Starts a durable handler that writes in the transaction in which the event is acknowledged.
    ///
    /// # Errors
    /// As [`start_durable`](Self::start_durable).
    pub async fn start_transactional<H: TransactionalHandler>(
        &self,
        options: DurableOptions,
        factory: impl Fn() -> H + Send + 'static,
    ) -> Result<Addr<DurableActor>> {
        let (config, options) = self.outbox_for::<H::Event>(options)?;
        self.consume(move || Consumer::transactional(config, options, factory))
            .await
    }

    /// Starts a durable handler that receives events in batches.
    ///
    /// # Errors
    /// As [`start_durable`](Self::start_durable).
    pub async fn start_batches<H: BatchHandler>(
        &self,
        options: DurableOptions,
        factory: impl Fn() -> H + Send + 'static,
    ) -> Result<Addr<DurableActor>> {
        let (config, options) = self.outbox_for::<H::Event>(options)?;
        self.consume(move || Consumer::batches(config, options, factory))
            .await
    }

    /// Returns the outbox's database, and `options` with the triggers that the handler requires.
    fn outbox_for<E: FromEvent>(
        &self,
        options: DurableOptions,
    ) -> Result<(ConnectConfig, DurableOptions)> {
        let Some((config, specs)) = &self.outbox else {
            return Err(not_watched(&options));
        };
        let required = specs
            .iter()
            .filter(|spec| wants::<E>(&options, spec.table()));
        let required: Vec<TriggerSpec> = required.cloned().collect();
        match required.is_empty() {
            true => Err(not_watched(&options)),
            false => {
                let options = options.requires(required).caches(self.subscribed.clone());
                Ok((config.clone(), options))
            }
        }
    }

    async fn consume(
        &self,
        make: impl FnOnce() -> Result<(ConsumerHandle, Consumer)> + Send + 'static,
    ) -> Result<Addr<DurableActor>> {
        let start = || {
            let (handle, consumer) = make()?;
            Ok((handle.clone(), DurableActor::new(handle, consumer).start()))
        };
        let (handle, addr) = self.handlers.run(start).await??;
        if let Some(limit) = self.live_within {
            let consumer = format!("the consumer of group {:?}", handle.report().group);
            if let Err(error) = live::within(limit, handle.health(), &consumer).await {
                handle.drain(Duration::ZERO).await;
                return Err(error);
            }
        }
        self.register(addr.clone().recipient(), true);
        Ok(addr)
    }

    fn register(&self, drain: Recipient<Drain>, is_durable: bool) {
        let registered = Registered { drain, is_durable };
        self.registered().push(registered);
    }

    fn registered(&self) -> std::sync::MutexGuard<'_, Vec<Registered>> {
        // The list is valid even if a panic has poisoned the lock.
        self.registered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a [`CacheActor`] and subscribes it. Returns the handle that reads the cache, from any thread.
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
    ///     herald.start_cache(CacheBuilder::new("names").row_of::<User>().capacity(50_000)).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If an option is invalid, or the herald was shut down. If the cache depends on a table that is not watched, unless a
    /// [`channel`](HeraldBuilder::channel) of other triggers is listened to.
    ///
    /// If a key type does not fit a key column, see [`CacheBuilder::row_of`]. The herald checks this while it is live, for key
    /// types that do not fit all column types, such as `String`. Otherwise the first event closes the cache, see
    /// [`CacheHandle::refused`].
    pub async fn start_cache<K: CacheKey, V: Send + Sync + 'static>(
        &self,
        cache: CacheBuilder<K, V>,
    ) -> Result<CacheHandle<K, V>> {
        let (handle, driver) = cache.build()?;
        self.drive(driver).await?;
        Ok(handle)
    }

    /// Starts the cache of a `#[cached]` function. Before this, and after the shutdown, each call runs the function.
    ///
    /// # Errors
    /// As [`start_cache`](Self::start_cache). If the function's cache was started already, by this herald or by another one that
    /// still runs. In tests, a [`CacheScope`](pgherald_core::CacheScope) gives each test its own caches.
    pub async fn start_cached<K: CacheKey, V: Send + Sync + 'static>(
        &self,
        function: &CachedFn<K, V>,
    ) -> Result<()> {
        let (handle, driver) = function.build()?;
        // Before the driver is subscribed, so that no cache is left if the function is refused. While the cache is not live,
        // calls run the function.
        function.attach(handle)?;
        self.drive(driver).await
    }

    async fn drive<K: CacheKey, V: Send + Sync + 'static>(
        &self,
        driver: CacheDriver<K, V>,
    ) -> Result<()> {
        if let Some(watched) = &self.watched {
            driver.check_watched(watched)?;
        }
        self.check_keys(&driver).await?;
        if let Some((_, specs)) = &self.outbox {
            let recorded: Vec<_> = specs.iter().map(|spec| spec.table().clone()).collect();
            driver.set_recorded(&recorded);
        }
        let subscribe = self.caches.run(move || CacheActor::run(driver)).await?;
        self.subscribe(subscribe).await.map(drop)
    }

    async fn check_keys<K: CacheKey, V: Send + Sync + 'static>(
        &self,
        driver: &CacheDriver<K, V>,
    ) -> Result<()> {
        let is_live = self.health.borrow().is_live();
        let Some(config) = self
            .config
            .as_ref()
            .filter(|_| is_live && driver.has_keys_to_check())
        else {
            return Ok(());
        };
        // One connection for all caches. If the types do not fit, they are read again: a table may have been altered.
        let mut known = self.key_types.lock().await;
        if driver.fits(&known) {
            return Ok(());
        }
        let watched = self.watched.iter().flatten();
        let tables: BTreeSet<_> = watched.chain(driver.tables()).collect();
        let tables: Vec<_> = tables.into_iter().collect();
        let read = match config.client().await {
            Ok(client) => KeyTypes::read(&client, &tables).await,
            Err(error) => Err(error),
        };
        let error = match read {
            Ok(types) => {
                *known = types;
                return driver.check_key_types(&known);
            }
            Err(error) => error,
        };
        // Not an error, for example if the connection was lost: events carry the types too.
        tracing::warn!(cache = driver.name(), error = %error.chain(), "cannot check the key types of the cache");
        Ok(())
    }

    /// Subscribes an actor.
    ///
    /// # Errors
    /// If the options are invalid, or the listener has stopped.
    pub async fn subscribe(&self, subscribe: Subscribe) -> Result<SubscriptionId> {
        self.listener
            .send(subscribe)
            .await
            .map_err(|_| Error::shut_down())?
    }

    /// Opens a subscription that the caller reads, without an actor and from any thread. For example, for a stream of
    /// server-sent events. The subscription ends when it is dropped. A shutdown of the herald does not wait for the reader:
    /// afterwards, [`recv`](Subscription::recv) returns the events that are still queued, then `None`.
    ///
    /// ```no_run
    /// # use pgherald_actors::Herald;
    /// use pgherald_core::{Filter, SubscriptionOptions};
    ///
    /// # async fn example(herald: &Herald) -> pgherald_core::Result<()> {
    /// let filter = Filter::new().table("public", "orders");
    /// let mut orders = herald.open(filter, SubscriptionOptions::new("orders")).await?;
    /// while let Some(delivery) = orders.recv().await {
    ///     if let Some(resync) = delivery.resync() {
    ///         println!("read the table again: {resync}");
    ///     }
    ///     for event in delivery.events().iter() {
    ///         println!("{event}");
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If the options are invalid, or the herald was shut down.
    pub async fn open(&self, filter: Filter, options: SubscriptionOptions) -> Result<Subscription> {
        self.listener
            .send(OpenSubscription { filter, options })
            .await
            .map_err(|_| Error::shut_down())?
    }

    /// Returns the listener's health, counts and subscriptions.
    ///
    /// # Errors
    /// If the listener has stopped.
    pub async fn status(&self) -> Result<ListenerStatus> {
        self.listener
            .send(GetStatus)
            .await
            .map_err(|_| Error::shut_down())
    }

    /// Closes the source, delivers the events in the queues, waits until the handlers have finished, and reports. Durable
    /// handlers begin no further attempt. All of this takes about `deadline` at most. Work that is unfinished then is dropped, or
    /// left to other consumers of a group, and reported as such.
    ///
    /// # Errors
    /// If the herald was shut down before.
    pub async fn shutdown(&self, deadline: Duration) -> Result<HeraldReport> {
        let began = Instant::now();
        let closing = self.listener.send(Shutdown { deadline });
        let closing = closing.map(Result::ok).boxed().shared();
        let registered = std::mem::take(&mut *self.registered());
        let handlers = registered.into_iter().map(|handler| {
            let closing = closing.clone();
            async move {
                // The queues of other handlers are delivered first. A durable handler has no queue at the listener.
                if !handler.is_durable {
                    closing.await;
                }
                let deadline = deadline.saturating_sub(began.elapsed());
                handler.drain.send(Drain { deadline }).await
            }
        });
        let reports = futures_util::future::join_all(handlers).await;
        let listener = closing.await;
        self.caches.stop();
        self.handlers.stop();
        Ok(HeraldReport {
            listener: listener.ok_or_else(Error::shut_down)?,
            handlers: reports.into_iter().flatten().collect(),
        })
    }

    /// Waits for SIGINT or SIGTERM (Ctrl-C on systems without signals), then [shuts down](Self::shutdown).
    ///
    /// # Errors
    /// If the herald was shut down before.
    pub async fn run_until_signal(&self, deadline: Duration) -> Result<HeraldReport> {
        interrupted().await;
        tracing::info!(?deadline, "shutting down");
        self.shutdown(deadline).await
    }
}

/// The report of a herald's shutdown.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HeraldReport {
    /// The listener and its subscriptions.
    pub listener: ShutdownReport,
    /// The handlers, in the order in which they were started.
    pub handlers: Vec<HandlerReport>,
}

impl HeraldReport {
    /// Returns whether the listener's report [is complete](ShutdownReport::is_complete) and no handler has dropped tasks. Failed
    /// tasks do not count; see the reports of the [handlers](Self::handlers).
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.listener.is_complete() && self.handlers.iter().all(|report| report.dropped == 0)
    }
}

/// One line for the listener, for each subscription and for each handler.
impl fmt::Display for HeraldReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.listener.fmt(f)?;
        self.handlers
            .iter()
            .try_for_each(|report| write!(f, "\n{report}"))
    }
}
