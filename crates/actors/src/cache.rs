//! The actor that applies events to a cache.
//!
//! Owner: the actor owns the cache's [`CacheDriver`], which decides everything, and gives it what it has not: the
//! events of a subscription, the time, and a place to run background loads. Readers do not come here: they use
//! the [`CacheHandle`](pgherald_core::CacheHandle), which is safe whatever becomes of the actor. When it stops, for
//! whatever reason, reads go past the cache.

use std::fmt;
use std::time::Instant;

use actix::{Actor, AsyncContext, Context, Handler, Message};
use pgherald_core::{CacheDriver, cache::CacheKey};
use tokio::task::JoinHandle;

use crate::messages::{Events, Subscribe};

/// Applies events to a cache; its strategy, timers, flushes and background loads run here.
///
/// [`Herald::cache`](crate::Herald::cache) does all of this:
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
    /// Boxed, so that the actor may be moved whatever the keys are.
    driver: Box<CacheDriver<K, V>>,
    background: Option<Companion>,
    alarm: Option<(Instant, Companion)>,
}

/// A task that ends with the actor. Not one of its context's: those would keep the actor alive when nobody is left that
/// could send it anything.
struct Companion(JoinHandle<()>);

impl Companion {
    fn start(task: impl Future<Output = ()> + 'static) -> Self {
        Self(actix_rt::spawn(task))
    }
}

impl Drop for Companion {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The driver wants to be woken.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Wake;

impl<K: CacheKey, V: Send + Sync + 'static> CacheActor<K, V> {
    /// Starts an actor for `driver` on the current arbiter. Returns the message that subscribes it to a listener, which
    /// is what keeps it alive.
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

    /// Sees to it that the driver is woken in time.
    fn set_alarm(&mut self, ctx: &Context<Self>) {
        let wanted = self.driver.next_wake();
        if self.alarm.as_ref().map(|(at, _)| *at) == wanted {
            return;
        }
        self.alarm = wanted.map(|at| {
            let actor = ctx.address().downgrade();
            let ring = async move {
                tokio::time::sleep_until(at.into()).await;
                if let Some(actor) = actor.upgrade() {
                    // If it has stopped meanwhile, there is nothing to wake.
                    let _ = actor.send(Wake).await;
                }
            };
            (at, Companion::start(ring))
        });
    }
}

/// The time by tokio's clock, which tests can hold.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl<K: CacheKey, V: Send + Sync + 'static> Actor for CacheActor<K, V> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if self.background.is_none() {
            self.background = Some(Companion::start(self.driver.background()));
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
