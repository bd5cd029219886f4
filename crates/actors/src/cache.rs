//! The actor that applies events to a cache.
//!
//! Owner: the actor owns the cache's [`CacheDriver`], which makes all decisions. The actor supplies the driver with
//! the events of a subscription and the time, and runs its background loads. Readers do not use the actor: they use
//! the [`CacheHandle`](pgherald_core::CacheHandle). When the actor stops, for any reason, reads bypass the cache.

use std::fmt;
use std::time::Instant;

use actix::{Actor, AsyncContext, Context, Handler, Message};
use pgherald_core::__private::host::cache::{Drive, background};
use pgherald_core::{CacheDriver, cache::CacheKey};
use tokio::task::JoinHandle;

use crate::messages::{Events, Subscribe};

/// Applies events to a cache, and runs the cache's strategy, timers, flushes and background loads.
///
/// [`Herald::start_cache`](crate::Herald::start_cache) starts this actor and subscribes it. Without a herald:
///
/// ```no_run
/// use actix::Actor;
/// use pgherald_actors::{CacheActor, ListenerActor};
/// use pgherald_core::{CacheBuilder, ConnectConfig, NotifySource, TableName};
///
/// # #[actix::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let config: ConnectConfig = std::env::var("DATABASE_URL")?.parse()?;
/// let listener = ListenerActor::new(NotifySource::builder(config).factory()?).start();
/// let (users, driver) = CacheBuilder::<i64, String>::new("users")
///     .table(TableName::new("public", "users")?)
///     .build()?;
/// listener.send(CacheActor::run(driver)).await??;
/// assert!(users.get(&7).is_none());
/// # Ok(())
/// # }
/// ```
pub struct CacheActor<K: CacheKey, V: Send + Sync + 'static> {
    /// Boxed, so that the actor is `Unpin` for all keys.
    driver: Box<CacheDriver<K, V>>,
    background: Option<OwnedTask>,
    alarm: Option<(Instant, OwnedTask)>,
}

/// A task that is aborted when the actor ends. A task of the actor's context would keep the actor alive after its last
/// address was dropped.
struct OwnedTask(JoinHandle<()>);

impl OwnedTask {
    fn start(task: impl Future<Output = ()> + 'static) -> Self {
        Self(actix_rt::spawn(task))
    }
}

impl Drop for OwnedTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Wakes the driver at the time that it asked for.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Wake;

impl<K: CacheKey, V: Send + Sync + 'static> CacheActor<K, V> {
    /// Starts an actor for `driver` on the current arbiter. Returns the message that subscribes the actor to a listener.
    /// The subscription keeps the actor alive.
    pub fn run(driver: CacheDriver<K, V>) -> Subscribe {
        let (name, filter) = (driver.name().to_owned(), driver.filter());
        let options = driver.subscription();
        let actor = Self {
            driver: Box::new(driver),
            background: None,
            alarm: None,
        };
        Subscribe::to(name, filter, actor.start().recipient()).options(options)
    }

    /// Schedules the driver's next wake-up.
    fn set_alarm(&mut self, ctx: &Context<Self>) {
        let next = self.driver.next_wake();
        if self.alarm.as_ref().map(|(at, _)| *at) == next {
            return;
        }
        self.alarm = next.map(|at| {
            let actor = ctx.address().downgrade();
            let ring = async move {
                tokio::time::sleep_until(at.into()).await;
                if let Some(actor) = actor.upgrade() {
                    // Fails if the actor has stopped: there is nothing to wake.
                    let _ = actor.send(Wake).await;
                }
            };
            (at, OwnedTask::start(ring))
        });
    }
}

/// Returns the time of tokio's clock, which tests can pause.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl<K: CacheKey, V: Send + Sync + 'static> Actor for CacheActor<K, V> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if self.background.is_none() {
            self.background = Some(OwnedTask::start(background(&mut self.driver)));
        }
        self.set_alarm(ctx);
    }
}

impl<K: CacheKey, V: Send + Sync + 'static> Handler<Events> for CacheActor<K, V> {
    type Result = ();

    fn handle(&mut self, events: Events, ctx: &mut Self::Context) {
        self.driver.apply(&events, now());
        self.set_alarm(ctx);
    }
}

impl<K: CacheKey, V: Send + Sync + 'static> Handler<Wake> for CacheActor<K, V> {
    type Result = ();

    fn handle(&mut self, _: Wake, ctx: &mut Self::Context) {
        self.driver.wake(now());
        self.alarm = None;
        self.set_alarm(ctx);
    }
}

impl<K: CacheKey, V: Send + Sync + 'static> fmt::Debug for CacheActor<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheActor")
            .field("driver", &self.driver)
            .finish_non_exhaustive()
    }
}
