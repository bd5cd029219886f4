//! Events, sources, triggers, router, caches and handler scheduling of pgherald, without an actor runtime.
//!
//! Users of actix want the `pgherald` crate. This one is for plain tokio, and for whoever hosts handlers or
//! writes sources of their own.
//!
//! ```text
//!  PostgreSQL ──NOTIFY──► NotifySource ──Signal──► Router ──► Subscription ──► you
//!       ▲                                            ▲
//!       └── trigger: plan, apply, verify             └── Filter, SubscriptionOptions
//! ```
//!
//! - [`trigger`] installs what announces changes.
//! - [`NotifySource`] listens, reconnects, and says [`Signal`]s; [`supervise`] runs it for as long as you
//!   poll. [`OutboxSource`] does the same for changes that are recorded in the [`outbox`], and catches up on them after a
//!   reconnect.
//! - [`Router`] hands events to [`Subscription`]s: bounded queues that tell what they lost.
//! - [`Event`] is a committed change; [`Table`] ties a Rust type to a table, [`Inserted`] and its like are
//!   events of one.
//! - [`cache`] keeps query results that follow the events; [`telemetry`] names what it counts.
//! - [`handler`] has the pieces of which a host for [`EventHandler`]s is made.
//!
//! ```no_run
//! use futures_util::StreamExt;
//! use pgherald_core::{ConnectConfig, Filter, NotifySource, Router, SubscriptionOptions, supervise};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> pgherald_core::Result<()> {
//! let config: ConnectConfig = "postgresql://app@localhost/shop".parse()?;
//! let mut signals = supervise(NotifySource::builder(config).factory()?);
//! let mut router = Router::new();
//! let mut orders = router.subscribe(
//!     Filter::new().table("public", "orders"),
//!     SubscriptionOptions::new("orders"),
//! )?;
//! tokio::spawn(async move {
//!     while let Some(signal) = signals.next().await {
//!         router.publish(&signal);
//!     }
//! });
//! while let Some(delivery) = orders.recv().await {
//!     if let Some(resync) = delivery.resync() {
//!         println!("read everything again: {resync}");
//!     }
//!     for event in delivery.events().iter() {
//!         println!("{event}");
//!     }
//! }
//! # Ok(())
//! # }
//! ```

#[doc(hidden)]
pub mod __private;
mod backoff;
pub mod cache;
mod connect;
mod error;
mod event;
mod filter;
mod gate;
// Not inside: `tests/interleavings` compiles the gate with locks that work only there.
#[cfg(test)]
#[path = "gate/tests.rs"]
mod gate_tests;
pub mod group;
pub mod handler;
mod name;
mod operation;
pub mod outbox;
mod panic;
mod router;
mod signal;
mod source;
mod sync;
pub mod telemetry;
pub mod trigger;
mod types;

pub use backoff::Backoff;
pub use cache::{
    Affected, CacheBuilder, CacheDriver, CacheEvent, CacheHandle, CacheObserver, CacheStats,
    CachedFn, Debounced, Decision, Greedy, LoadError, LoadLimit, Refresh, Strategy, Timed,
    WhenNotLive, Windowed, WriteToken,
};
pub use connect::ConnectConfig;
pub use error::{Error, Result};
pub use event::{
    Changed, ColumnType, Decoder, Deleted, Event, EventBuilder, FromEvent, Inserted, Key,
    KeyColumn, KeyPart, RowKey, Table, Truncated, Updated,
};
pub use filter::Filter;
pub use group::Durable;
pub use handler::{
    Attempt, EventHandler, HandlerError, HandlerResult, IdempotencyKey, RetryPolicy,
};
pub use name::{ChannelName, MAX_IDENTIFIER_BYTES, TableName};
pub use operation::{Operation, OperationSet};
pub use router::{
    Delivery, Overflow, Router, Subscription, SubscriptionId, SubscriptionObserver,
    SubscriptionOptions, SubscriptionStats,
};
pub use signal::{Health, Resync, ResyncReason, Signal};
pub use source::{
    Joined, NotifySource, NotifySourceBuilder, OutboxSource, OutboxSourceBuilder, Signals, Source,
    supervise,
};
