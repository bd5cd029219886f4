//! An actor that remembers what it was sent.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Addr, Context, Handler, Recipient};
use pgherald_actors::{Events, HealthChanged};
use pgherald_core::{Event, Health, Resync};
use tokio::sync::watch;

use crate::Error;

/// Remembers the events, resyncs and health changes it was sent, and lets a test wait for them.
///
/// ```
/// use std::time::Duration;
/// use actix::Actor;
/// use pgherald_actors::{ListenerActor, Subscribe};
/// use pgherald_core::{Event, Filter, Operation};
/// use pgherald_testkit::{Probe, fake_source};
///
/// # #[actix::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (source, feed) = fake_source();
/// let listener = ListenerActor::new(source).start();
/// let probe = Probe::start();
/// listener.send(Subscribe::to("probe", Filter::new(), probe.events())).await??;
///
/// feed.live().await;
/// feed.events([Event::builder("public", "users", Operation::Insert).key(7).build()]).await;
///
/// let seen = probe.wait_for("an event", Duration::from_secs(5), |seen| {
///     seen.events().count() == 1
/// }).await?;
/// assert_eq!(seen.resyncs().count(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Probe {
    addr: Addr<ProbeActor>,
    seen: watch::Receiver<Seen>,
}

/// What a [`Probe`] has seen so far, in order.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    log: Vec<Sight>,
    health: Vec<Health>,
}

/// One thing that a [`Probe`] has seen.
#[derive(Clone, Debug)]
pub enum Sight {
    /// Something is missing here.
    Resync(Resync),
    /// A batch of events.
    Events(Arc<[Event]>),
}

impl Seen {
    /// Events and resyncs, in the order in which they came.
    #[must_use]
    pub fn log(&self) -> &[Sight] {
        &self.log
    }

    /// The events alone.
    pub fn events(&self) -> impl Iterator<Item = &Event> {
        self.log.iter().flat_map(|sight| match sight {
            Sight::Events(events) => &events[..],
            Sight::Resync(_) => &[],
        })
    }

    /// The resyncs alone.
    pub fn resyncs(&self) -> impl Iterator<Item = &Resync> {
        self.log.iter().filter_map(|sight| match sight {
            Sight::Resync(resync) => Some(resync),
            Sight::Events(_) => None,
        })
    }

    /// The health changes.
    #[must_use]
    pub fn health(&self) -> &[Health] {
        &self.health
    }
}

impl Probe {
    /// Starts one on the current arbiter.
    #[must_use]
    pub fn start() -> Self {
        let (sender, seen) = watch::channel(Seen::default());
        Self {
            addr: ProbeActor { seen: sender }.start(),
            seen,
        }
    }

    /// Where it takes events: for [`Subscribe`](pgherald_actors::Subscribe).
    #[must_use]
    pub fn events(&self) -> Recipient<Events> {
        self.addr.clone().recipient()
    }

    /// Where it takes health changes: for [`SubscribeHealth`](pgherald_actors::SubscribeHealth).
    #[must_use]
    pub fn health(&self) -> Recipient<HealthChanged> {
        self.addr.clone().recipient()
    }

    /// What it has seen so far.
    #[must_use]
    pub fn seen(&self) -> Seen {
        self.seen.borrow().clone()
    }

    /// Waits until what it has seen fulfils `condition`, and returns that.
    ///
    /// # Errors
    /// If it does not within `deadline`; the error names `what` was waited for and what was seen instead.
    pub async fn wait_for(
        &self,
        what: &str,
        deadline: Duration,
        condition: impl FnMut(&Seen) -> bool,
    ) -> Result<Seen, Error> {
        let mut seen = self.seen.clone();
        let fulfilled = tokio::time::timeout(deadline, seen.wait_for(condition)).await;
        match fulfilled {
            Ok(Ok(seen)) => Ok(seen.clone()),
            _ => {
                let seen = self.seen();
                Err(Error::new(format!(
                    "{what} did not come within {deadline:?}, but {seen:?}"
                )))
            }
        }
    }
}

#[derive(Debug)]
struct ProbeActor {
    seen: watch::Sender<Seen>,
}

impl Actor for ProbeActor {
    type Context = Context<Self>;
}

impl Handler<Events> for ProbeActor {
    type Result = ();

    fn handle(&mut self, events: Events, _: &mut Self::Context) {
        self.seen.send_modify(|seen| {
            seen.log.extend(events.resync().cloned().map(Sight::Resync));
            if !events.events().is_empty() {
                seen.log.push(Sight::Events(Arc::clone(events.events())));
            }
        });
    }
}

impl Handler<HealthChanged> for ProbeActor {
    type Result = ();

    fn handle(&mut self, HealthChanged(health): HealthChanged, _: &mut Self::Context) {
        self.seen.send_modify(|seen| seen.health.push(health));
    }
}
