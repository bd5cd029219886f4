//! Starts a listener, caches and handlers, and shuts them down in the right order.

mod builder;
mod caches;
mod durable;
mod interrupt;
mod live;
mod place;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use actix::{Actor, Addr, Recipient};
use futures_util::FutureExt;
use pgherald_core::__private::host::cache::KeyTypes;
use pgherald_core::__private::host::errors;
use pgherald_core::__private::host::outbox::Progress;
use pgherald_core::group::Connections;
use pgherald_core::trigger::TriggerSpec;
use pgherald_core::{
    Caches, ConnectConfig, Error, EventHandler, Filter, Health, ListenerStatus, Result, Source,
    Subscription, SubscriptionId, SubscriptionOptions, TableName,
};
use tokio::sync::watch;
use tokio::time::Instant;

pub use builder::HeraldBuilder;
use interrupt::interrupted;
use place::Place;

use crate::handler::{EphemeralOptions, HandlerActor};
use crate::listener::ListenerActor;
use crate::messages::{Drain, GetStatus, OpenSubscription, Shutdown, Subscribe};
use crate::report::HeraldReport;

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
    /// The handlers that a shutdown drains. `None` after a shutdown.
    registered: Mutex<Option<Vec<Registered>>>,
    /// How long to wait until each consumer is live; `None` for not at all.
    live_within: Option<Duration>,
    /// The watched tables; `None` if events of other tables may arrive too.
    watched: Option<Vec<TableName>>,
    /// The database; `None` if the program made the listener.
    config: Option<ConnectConfig>,
    /// The types of the tables' columns, as they were read for the caches that were started so far.
    key_types: tokio::sync::Mutex<KeyTypes>,
    /// The outbox's database, and the triggers of the tables in outbox mode; `None` if there is no such table.
    outbox: Option<Outbox>,
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

/// The outbox that durable handlers read.
#[derive(Debug)]
struct Outbox {
    config: ConnectConfig,
    /// Shared by all durable handlers, and driven on the thread of the caches.
    connections: Connections,
    watched: Vec<TriggerSpec>,
    /// How far the listener's source has emitted it.
    progress: Progress,
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

    /// Starts a herald on a source that [`builder`](Self::builder) does not know, such as a `DistributorSource` on a machine without
    /// access to the database. The listener and the caches run on a thread of their own.
    ///
    /// `tables` are those whose changes the source emits. A cache on another table is then refused, because it would never be
    /// invalidated. Without any, all caches are accepted.
    ///
    /// ```no_run
    /// # async fn example() -> pgherald_core::Result<()> {
    /// use pgherald_actors::Herald;
    /// use pgherald_core::{DistributorSource, TableName};
    ///
    /// let users = TableName::new("public", "users")?;
    /// let source = DistributorSource::builder("https://events.example.com").tables([users.clone()]);
    /// let herald = Herald::start_with_source([users], source.factory()?).await?;
    /// herald.live().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// This does not wait until the source is [live](Self::live). Nothing can be recorded for durable handlers, so
    /// [`start_durable`](Self::start_durable) fails. Key types of caches are checked by their first event.
    ///
    /// # Errors
    /// If neither an actix system nor a tokio runtime runs on this thread, or a thread cannot be started.
    pub async fn start_with_source<S: Source>(
        tables: impl IntoIterator<Item = TableName>,
        build: impl Fn() -> S + Send + 'static,
    ) -> Result<Self> {
        let handlers = match Place::current() {
            Some(here) => here,
            None => Place::new("handlers")?,
        };
        let caches = Place::new("caches")?;
        let tables: Vec<TableName> = tables.into_iter().collect();
        let start = move || Started::new(ListenerActor::new(build));
        let started = caches.run(start).await?;
        Ok(Self {
            watched: (!tables.is_empty()).then_some(tables),
            ..Self::of(started, caches, handlers)
        })
    }

    fn of(started: Started, caches: Place, handlers: Place) -> Self {
        Self {
            listener: started.listener,
            health: started.health,
            subscribed: started.caches,
            caches,
            handlers,
            registered: Mutex::new(Some(Vec::new())),
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

    /// Returns the tables that the program watches. `None` if it also listens to channels of other programs, or made the listener
    /// itself: the tables of their events are not known.
    ///
    /// Subscriptions may receive events of further tables, whose triggers notify the same channel.
    #[must_use]
    pub fn watched(&self) -> Option<&[TableName]> {
        self.watched.as_deref()
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
        self.register(addr.clone().recipient(), false)?;
        Ok(addr)
    }

    /// Registers a handler that a shutdown drains.
    ///
    /// # Errors
    /// If the herald was shut down.
    fn register(&self, drain: Recipient<Drain>, is_durable: bool) -> Result<()> {
        let registered = Registered { drain, is_durable };
        match &mut *self.registered() {
            Some(all) => all.push(registered),
            None => return Err(Error::shut_down()),
        }
        Ok(())
    }

    /// Returns the registered handlers; `None` after a shutdown.
    fn registered(&self) -> std::sync::MutexGuard<'_, Option<Vec<Registered>>> {
        // The list is valid even if a panic has poisoned the lock.
        self.registered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
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

    /// Returns how to continue from a position in the outbox: its database, how far the listener has emitted it, and the tables
    /// that are recorded in it. `None` if there is no such table, or if events of other tables may arrive too.
    #[doc(hidden)]
    pub fn recorded(
        &self,
    ) -> Option<(&ConnectConfig, &Progress, impl Iterator<Item = &TableName>)> {
        let outbox = self.outbox.as_ref().filter(|_| self.watched.is_some())?;
        let tables = outbox.watched.iter().map(TriggerSpec::table);
        Some((&outbox.config, &outbox.progress, tables))
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
        let registered = self.registered().take().unwrap_or_default();
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
