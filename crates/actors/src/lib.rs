//! The actors of pgherald.
//!
//! - [`ListenerActor`] runs a source and sends [`Events`] to its subscribers.
//! - [`HandlerActor`] runs an [`EventHandler`](pgherald_core::EventHandler) on events.
//! - [`CacheActor`] applies events to a cache.
//! - [`DurableActor`] runs a durable handler, which reads the outbox by itself, not through the listener.
//! - [`Herald`] starts these actors, and shuts them down in the right order.
//!
//! | message | to | answer |
//! |---|---|---|
//! | [`Subscribe`] | listener | the subscription's id |
//! | [`Unsubscribe`] | listener | whether the subscription existed |
//! | [`Events`] | subscriber | none; the reply means that the events were handled |
//! | [`SubscribeHealth`] | listener | none; the listener then sends [`HealthChanged`] |
//! | [`WatchHealth`] | listener | a `watch` receiver |
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
mod report;

// `Addr`, `Recipient` and `Message` stand in signatures.
pub use actix;

pub use cache::CacheActor;
pub use durable::DurableActor;
pub use handler::{EphemeralOptions, HandlerActor};
pub use herald::{Herald, HeraldBuilder};
pub use listener::ListenerActor;
pub use messages::{
    Drain, Events, GetReport, GetStatus, HealthChanged, Shutdown, Subscribe, SubscribeHealth,
    Unsubscribe, WatchHealth,
};
pub use report::{HandlerReport, HeraldReport, ShutdownReport, SubscriptionReport};
