//! The actors of pgherald.

mod handler;
mod herald;
mod listener;
mod messages;

pub use handler::{HandlerActor, HandlerOptions, HandlerReport};
pub use herald::{Herald, HeraldBuilder, HeraldReport};
pub use listener::{
    ListenerActor, ListenerCounts, ListenerStatus, ShutdownReport, SubscriptionReport,
};
pub use messages::{
    Drain, Events, GetReport, GetStatus, HealthChanged, Shutdown, Subscribe, SubscribeHealth,
    Unsubscribe, WatchHealth,
};
