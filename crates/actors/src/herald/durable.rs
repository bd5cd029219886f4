//! Starts durable handlers.

use std::time::Duration;

use actix::{Actor, Addr, Context, Handler};
use pgherald_core::__private::host::group::{not_watched, wants};
use pgherald_core::group::{BatchHandler, Consumer, ConsumerHandle, TransactionalHandler};
use pgherald_core::trigger::TriggerSpec;
use pgherald_core::{
    ConnectConfig, DurableOptions, Error, EventHandler, FromEvent, Health, Result,
};
use tokio::sync::watch;

use super::{Herald, live};
use crate::durable::DurableActor;
use crate::messages::Drain;

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
        self.start_durable_actor::<H::Event>(options, move |config, options| {
            Consumer::new(config, options, factory)
        })
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
        self.start_durable_actor::<H::Event>(options, move |config, options| {
            Consumer::transactional(config, options, factory)
        })
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
        self.start_durable_actor::<H::Event>(options, move |config, options| {
            Consumer::batches(config, options, factory)
        })
        .await
    }

    async fn start_durable_actor<E: FromEvent>(
        &self,
        options: DurableOptions,
        make: impl FnOnce(ConnectConfig, DurableOptions) -> Result<(ConsumerHandle, Consumer)>
        + Send
        + 'static,
    ) -> Result<Addr<DurableActor>> {
        let options = options.caches(self.subscribed.clone());
        let make = move |config, options| {
            let (handle, consumer) = make(config, options)?;
            let health = handle.health();
            Ok((DurableActor::new(handle, consumer), health))
        };
        self.start_consumer::<E, _>(options, make).await
    }

    /// Starts the actor of a consumer, and waits until the consumer is live. `make` receives the outbox's database, and the options
    /// with the triggers that the consumer's events require.
    #[doc(hidden)]
    pub async fn start_consumer<E, A>(
        &self,
        options: DurableOptions,
        make: impl FnOnce(ConnectConfig, DurableOptions) -> Result<(A, watch::Receiver<Health>)>
        + Send
        + 'static,
    ) -> Result<Addr<A>>
    where
        E: FromEvent,
        A: Actor<Context = Context<A>> + Handler<Drain>,
    {
        let consumer = format!("the consumer of group {:?}", options.group());
        if self.registered().is_none() {
            return Err(Error::shut_down());
        }
        let (config, options) = self.outbox_for::<E>(options)?;
        let start = || {
            let (actor, health) = make(config, options)?;
            Ok((actor.start(), health))
        };
        let (addr, health) = self.handlers.run(start).await??;
        let live = match self.live_within {
            Some(limit) => live::within(limit, health, &consumer).await,
            None => Ok(()),
        };
        let started = live.and_then(|()| self.register(addr.clone().recipient(), true));
        if let Err(error) = started {
            let deadline = Duration::ZERO;
            // If this fails, the actor has already stopped.
            let _ = addr.send(Drain { deadline }).await;
            return Err(error);
        }
        Ok(addr)
    }

    /// Returns the outbox's database, and `options` with the triggers that the events require.
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
                    .connections(outbox.connections.clone());
                Ok((outbox.config.clone(), options))
            }
        }
    }
}
