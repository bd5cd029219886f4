//! An actor that records its messages.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Addr, Context, Handler, Recipient};
use pgherald_actors::{Events, HealthChanged};
use pgherald_core::{Event, Health, Resync};
use tokio::sync::watch;

use crate::Error;

/// Records the events, resyncs and health changes that it receives, and lets a test wait for them.
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

/// What a [`Probe`] has received so far, in order.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    log: Vec<Sight>,
    health: Vec<Health>,
}

/// A resync or a batch that a [`Probe`] has received.
#[derive(Clone, Debug)]
pub enum Sight {
    /// A resync: events may be missing here.
    Resync(Resync),
    /// A batch of events.
    Events(Arc<[Event]>),
}

impl Seen {
    /// Returns the events and resyncs, in the order in which they arrived.
    #[must_use]
    pub fn log(&self) -> &[Sight] {
        &self.log
    }

    /// Returns the events.
    pub fn events(&self) -> impl Iterator<Item = &Event> {
        self.log.iter().flat_map(|sight| match sight {
            Sight::Events(events) => &events[..],
            Sight::Resync(_) => &[],
        })
    }

    /// Returns the resyncs.
    pub fn resyncs(&self) -> impl Iterator<Item = &Resync> {
        self.log.iter().filter_map(|sight| match sight {
            Sight::Resync(resync) => Some(resync),
            Sight::Events(_) => None,
        })
    }

    /// Returns the health changes.
    #[must_use]
    pub fn health(&self) -> &[Health] {
        &self.health
    }
}

impl Probe {
    /// Starts a probe on the current arbiter.
    #[must_use]
    pub fn start() -> Self {
        let (sender, seen) = watch::channel(Seen::default());
        Self {
            addr: ProbeActor { seen: sender }.start(),
            seen,
        }
    }

    /// Returns the recipient of events, for [`Subscribe`](pgherald_actors::Subscribe).
    #[must_use]
    pub fn events(&self) -> Recipient<Events> {
        self.addr.clone().recipient()
    }

    /// Returns the recipient of health changes, for [`SubscribeHealth`](pgherald_actors::SubscribeHealth).
    #[must_use]
    pub fn health(&self) -> Recipient<HealthChanged> {
        self.addr.clone().recipient()
    }

    /// Returns what the probe has received so far.
    #[must_use]
    pub fn seen(&self) -> Seen {
        self.seen.borrow().clone()
    }

    /// Waits until `condition` holds for what the probe has received, and returns it.
    ///
    /// # Errors
    /// If the condition does not hold within `deadline`. The error includes `what` and what was received.
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
                    "{what} did not arrive within {deadline:?}; received: {seen:?}"
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
