//! A node of a group: reads, has events handled, acknowledges, and shares the work with the others.

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;

use super::batch::{BatchHandler, Batches};
use super::engine::{CONNECT, Engine};
use super::handle::{ConsumerHandle, Shared};
use super::options::Durable;
use super::plain::Plain;
use super::runner::Runner;
use super::transactional::{Transactional, TransactionalHandler};
use crate::connect::ConnectConfig;
use crate::error::Result;
use crate::handler::EventHandler;

/// A node of a group: reads the outbox, and has a handler do its work, together with the other consumers of the group.
///
/// It does nothing until it is [run](Self::run), on the thread on which it was made: handlers need not be `Send`. The
/// actors' `Herald` does all of this.
///
/// ```no_run
/// use std::time::Duration;
/// use pgherald_core::group::Consumer;
/// use pgherald_core::{Attempt, ConnectConfig, Durable, Event, EventHandler, HandlerResult};
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
/// let (handle, consumer) = Consumer::new(config, Durable::new("print"), || Print)?;
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
    /// A consumer whose events are handled one by one.
    ///
    /// `factory` makes the handler's value: when it is first needed, and again after each panic.
    ///
    /// # Errors
    /// If the terms cannot be used. That the group has another number of slices is found when it runs, and told by its
    /// [health](ConsumerHandle::health).
    pub fn new<H: EventHandler>(
        config: ConnectConfig,
        terms: Durable,
        factory: impl Fn() -> H + 'static,
    ) -> Result<(ConsumerHandle, Self)> {
        Self::of(config, terms, |_, terms| Plain::new(terms, factory))
    }

    /// A consumer whose events are handled one by one, each in the transaction that notes that it was.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub fn transactional<H: TransactionalHandler>(
        config: ConnectConfig,
        terms: Durable,
        factory: impl Fn() -> H + 'static,
    ) -> Result<(ConsumerHandle, Self)> {
        Self::of(config, terms, |config, terms| {
            Transactional::new(config, terms, factory)
        })
    }

    /// A consumer whose events are handled many at a time.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub fn batches<H: BatchHandler>(
        config: ConnectConfig,
        terms: Durable,
        factory: impl Fn() -> H + 'static,
    ) -> Result<(ConsumerHandle, Self)> {
        Self::of(config, terms, |_, terms| Batches::new(terms, factory))
    }

    fn of<R: Runner>(
        config: ConnectConfig,
        terms: Durable,
        runner: impl FnOnce(ConnectConfig, Rc<Durable>) -> R,
    ) -> Result<(ConsumerHandle, Self)> {
        let terms = Rc::new(terms.checked()?);
        let mut config = config;
        let role = format!("consumer {}", terms.group);
        config.for_listening(&role, terms.lease, CONNECT);
        let shared = Shared::new(&terms.group);
        let runner = runner(config.clone(), Rc::clone(&terms));
        let engine = Engine::new(config, terms, runner, Arc::clone(&shared));
        let consumer = Self {
            running: engine.run().boxed_local(),
        };
        Ok((ConsumerHandle::new(shared), consumer))
    }

    /// Runs until it is [drained](ConsumerHandle::drain). It reconnects by itself, and never gives up. If it is dropped
    /// before, others take over when its lease is over.
    pub async fn run(self) {
        self.running.await;
    }
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").finish_non_exhaustive()
    }
}
