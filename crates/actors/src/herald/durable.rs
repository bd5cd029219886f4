//! Starts durable handlers.

use std::time::Duration;

use actix::{Actor, Addr};
use pgherald_core::__private::host::group::{not_watched, wants};
use pgherald_core::group::{BatchHandler, Consumer, ConsumerHandle, TransactionalHandler};
use pgherald_core::trigger::TriggerSpec;
use pgherald_core::{ConnectConfig, DurableOptions, EventHandler, FromEvent, Result};

use super::{Herald, live};
use crate::durable::DurableActor;

impl Herald {
    /// Starts a durable handler: a consumer of the group that `options` name. All durable handlers of
    /// this herald share two connections. See [`pgherald_core::group`] for its guarantees.
    ///
    /// When this returns, the consumer is live, so a new group receives each event that is committed from then on. After
    /// [`start_without_waiting`](crate::HeraldBuilder::start_without_waiting), this does not wait: a new group begins when its
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
    /// that its event type and filter include is watched. If its consumer is not live [in time](crate::HeraldBuilder::live_within):
    /// the error has the cause and a [hint](pgherald_core::Error::hint), and the consumer is stopped. If the herald was shut down.
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
        let Some(outbox) = &self.outbox else {
            return Err(not_watched(&options));
        };
        let required = outbox.watched.iter();
        let required = required.filter(|spec| wants::<E>(&options, spec.table()));
        let required: Vec<TriggerSpec> = required.cloned().collect();
        match required.is_empty() {
            true => Err(not_watched(&options)),
            false => {
                let options = options
                    .requires(required)
                    .caches(self.subscribed.clone())
                    .connections(outbox.connections.clone());
                Ok((outbox.config.clone(), options))
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
}
