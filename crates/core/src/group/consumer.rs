//! A node of a group: reads the outbox, runs the handler, acknowledges, and shares the work with the group's other nodes.

use std::fmt;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;

use super::batch::{BatchHandler, Batches};
use super::connections::{CONNECT, Connections};
use super::destination::Destination;
use super::engine::{Attempts, Engine, Relays, Work};
use super::handle::{ConsumerHandle, Shared};
use super::options::DurableOptions;
use super::plain::Plain;
use super::runner::Runner;
use super::transactional::{Transactional, TransactionalHandler};
use crate::connect::ConnectConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::filter::Filter;
use crate::handler::EventHandler;

/// A node of a group: reads the outbox and runs a handler, together with the other consumers of the group.
///
/// A consumer does nothing until it is [run](Self::run). It runs on the thread that created it, so handlers need not be `Send`.
/// The actors' `Herald` creates and runs consumers.
///
/// ```no_run
/// use std::time::Duration;
/// use pgherald_core::group::Consumer;
/// use pgherald_core::{Attempt, ConnectConfig, DurableOptions, Event, EventHandler, HandlerResult};
///
/// struct Print;
/// impl EventHandler for Print {
///     type Event = Event;
///     async fn handle(&self, event: Event, _: Attempt) -> HandlerResult {
///         println!("{event}");
///         Ok(())
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> pgherald_core::Result<()> {
/// let config: ConnectConfig = "postgresql://app@localhost/shop".parse()?;
/// let (handle, consumer) = Consumer::new(config, DurableOptions::new("print"), || Print)?;
/// let local = tokio::task::LocalSet::new();
/// local.spawn_local(consumer.run());
/// local.run_until(tokio::time::sleep(Duration::from_secs(60))).await;
/// println!("{}", local.run_until(handle.drain(Duration::from_secs(10))).await);
/// # Ok(())
/// # }
/// ```
pub struct Consumer {
    running: LocalBoxFuture<'static, ()>,
}

impl Consumer {
    /// Creates a consumer that handles events one by one.
    ///
    /// `factory` creates the handler when it is first needed, and again after each panic.
    ///
    /// # Errors
    /// If the options are invalid, or the shared [connections](DurableOptions::connections) lead to another database. If the
    /// group has another number of slices than the options, the running consumer reports that in its
    /// [health](ConsumerHandle::health).
    pub fn new<H: EventHandler>(
        config: ConnectConfig,
        options: DurableOptions,
        factory: impl Fn() -> H + 'static,
    ) -> Result<(ConsumerHandle, Self)> {
        Self::of(config, options, |_, options| Plain::new(options, factory))
    }

    /// Creates a consumer that handles events one by one, each in the transaction that acknowledges it.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub fn transactional<H: TransactionalHandler>(
        config: ConnectConfig,
        options: DurableOptions,
        factory: impl Fn() -> H + 'static,
    ) -> Result<(ConsumerHandle, Self)> {
        Self::of(config, options, |config, options| {
            Transactional::new(config, options, factory)
        })
    }

    /// Creates a consumer that handles events in batches.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub fn batches<H: BatchHandler>(
        config: ConnectConfig,
        options: DurableOptions,
        factory: impl Fn() -> H + 'static,
    ) -> Result<(ConsumerHandle, Self)> {
        Self::of(config, options, |_, options| Batches::new(options, factory))
    }

    /// Creates a consumer of a relay: it stores events at a destination. It has connections of its own.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub(crate) fn relay<D: Destination>(
        config: ConnectConfig,
        mut options: DurableOptions,
        destination: D,
    ) -> Result<(ConsumerHandle, Self)> {
        options.destination = Some(destination.name().into());
        // Reads that are shared may end at a time that this consumer does not know.
        options.connections = None;
        Self::with(config, options, |_, options, shared| {
            let filter = options.filter.clone();
            (filter, Relays::new(destination, options, shared))
        })
    }

    fn of<R: Runner>(
        config: ConnectConfig,
        options: DurableOptions,
        runner: impl FnOnce(ConnectConfig, Arc<DurableOptions>) -> R,
    ) -> Result<(ConsumerHandle, Self)> {
        Self::with(config, options, |config, options, shared| {
            let filter = R::narrow(options.filter.clone());
            let runner = runner(config, Arc::clone(&options));
            (filter, Attempts::new(runner, options, shared))
        })
    }

    fn with<W: Work>(
        config: ConnectConfig,
        options: DurableOptions,
        work: impl FnOnce(ConnectConfig, Arc<DurableOptions>, Arc<Shared>) -> (Filter, W),
    ) -> Result<(ConsumerHandle, Self)> {
        let options = Arc::new(options.checked()?);
        if let Some(connections) = &options.connections
            && !connections.lead_to(&config)
        {
            let group = &options.group;
            let message = format!(
                "group {group:?}: its connections lead to another server or database than its own configuration: \
                 make both of the same ConnectConfig"
            );
            return Err(Error::new(ErrorKind::Config, message));
        }
        let mut config = config;
        let role = format!("consumer {}", options.group);
        config.for_listening(&role, options.lease, CONNECT);
        let own = || Connections::of_one(config.clone());
        let connections = options.connections.clone().unwrap_or_else(own);
        let shared = Shared::new(&options.group);
        let work = work(config.clone(), Arc::clone(&options), Arc::clone(&shared));
        let engine = Engine::new(connections, options, work, Arc::clone(&shared));
        let end = MarkEnd(Arc::clone(&shared));
        let running = async move {
            let _end = end;
            engine.run().await;
        };
        let consumer = Self {
            running: running.boxed_local(),
        };
        Ok((ConsumerHandle::new(shared), consumer))
    }

    /// Runs until the consumer is [drained](ConsumerHandle::drain). It reconnects by itself, and never gives up. If the future
    /// is dropped earlier, other consumers take over its slices when its lease has expired.
    pub async fn run(self) {
        self.running.await;
    }
}

/// Marks the consumer as ended when it is dropped, whether it ran to its end, was dropped while it ran, or never ran.
struct MarkEnd(Arc<Shared>);

impl Drop for MarkEnd {
    fn drop(&mut self) {
        self.0.has_ended.send_replace(true);
    }
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Consumer;
    use crate::handler::{Attempt, EventHandler, HandlerResult};
    use crate::{DurableOptions, Event};

    struct Idle;

    impl EventHandler for Idle {
        type Event = Event;

        async fn handle(&self, _: Event, _: Attempt) -> HandlerResult {
            Ok(())
        }
    }

    #[tokio::test]
    async fn draining_a_dropped_consumer_returns() {
        let config = "postgresql://app@localhost/shop".parse().unwrap();
        let (handle, consumer) =
            Consumer::new(config, DurableOptions::new("idle"), || Idle).unwrap();
        drop(consumer);
        let report = handle.drain(Duration::from_secs(1)).await;
        assert_eq!(report.group, "idle");
    }
}
