//! The actors of pgherald.
//!
//! [`ListenerActor`] runs a source and sends [`Events`] to whoever [`Subscribe`]s; [`HandlerActor`] runs an
//! [`EventHandler`](pgherald_core::EventHandler) on them, [`CacheActor`] applies them to a cache; [`DurableActor`] runs a
//! handler that reads the outbox by itself; [`Herald`] starts them and shuts them down in the right order.
//!
//! | message | to | answer |
//! |---|---|---|
//! | [`Subscribe`], [`Unsubscribe`] | listener | the subscription's id; whether there was one |
//! | [`Events`] | subscriber | when it has handled them |
//! | [`SubscribeHealth`], [`WatchHealth`] | listener | from then on [`HealthChanged`]; a `watch` receiver |
//! | [`GetStatus`] | listener | [`ListenerStatus`](pgherald_core::ListenerStatus) |
//! | [`GetReport`] | handler, durable or not | [`HandlerReport`] |
//! | [`Shutdown`] | listener | [`ShutdownReport`], when the queues are empty |
//! | [`Drain`] | handler, durable or not | [`HandlerReport`], when its tasks are finished |

mod cache;
mod durable;
mod handler;
mod herald;
mod listener;
mod messages;

pub use cache::CacheActor;
pub use durable::DurableActor;
pub use handler::{Ephemeral, HandlerActor, HandlerReport};
pub use herald::{Herald, HeraldBuilder, HeraldReport};
pub use listener::{ListenerActor, ShutdownReport, SubscriptionReport};
pub use messages::{
    Drain, Events, GetReport, GetStatus, HealthChanged, Shutdown, Subscribe, SubscribeHealth,
    Unsubscribe, WatchHealth,
};
