//! The core of pgherald without an actor runtime: events, sources, triggers, router, caches and scheduling of handlers.
//!
//! Most programs use the `pgherald` crate, under actix or plain tokio. Use this crate to run consumers without actors, or to
//! write a source of your own.
//!
//! ```text
//!  PostgreSQL ──NOTIFY──► NotifySource ──Signal──► Listener ──► Subscription ──► your code
//!       ▲                                             ▲
//!       └── trigger: plan, apply, verify              └── Filter, SubscriptionOptions
//! ```
//!
//! - [`trigger`] installs the triggers that announce changes.
//! - [`NotifySource`] listens, reconnects, and emits [`Signal`]s. [`supervise`] runs it for as long as you poll.
//!   [`OutboxSource`] does the same for changes that are recorded in the [`outbox`], and catches up on them after a
//!   reconnect.
//! - `DistributorSource` (feature `distributor`) reads a distributor, on machines without access to the database.
//! - [`Listener`] measures signals and routes them to [`Subscription`]s: bounded queues that report what they lost. Its page
//!   has an example.
//! - [`Event`] is a committed change. [`Table`] ties a Rust type to a table; [`Inserted`], [`Updated`] and [`Deleted`] are
//!   events of such a table.
//! - [`cache`] keeps query results that follow the events. [`telemetry`] names all metrics.
//! - [`tokio_postgres`] and [`rustls`] are re-exported, because their types stand in signatures of this crate.
//! - [`group`] runs durable [`EventHandler`]s. [`handler`] describes tasks that were given up.

#![cfg_attr(docsrs, feature(doc_cfg))]

#[doc(hidden)]
pub mod __private;
mod backoff;
pub mod cache;
mod connect;
mod error;
mod event;
mod filter;
mod gate;
// This module is not inside `gate`: `tests/interleavings` compiles `gate` with locks that work only there.
#[cfg(test)]
#[path = "gate/tests.rs"]
mod gate_tests;
pub mod group;
pub mod handler;
mod listener;
mod message;
mod name;
mod operation;
pub mod outbox;
mod panic;
mod reconnect;
mod router;
mod signal;
mod source;
mod sync;
pub mod telemetry;
pub mod trigger;
mod types;

// Their types stand in signatures: `Client` and `Transaction`, and the `ClientConfig` of TLS. A program that uses them by these
// paths has the versions that pgherald has.
pub use {rustls, tokio_postgres};

pub use backoff::Backoff;
pub use cache::builder::CacheBuilder;
pub use cache::dependency::Affected;
pub use cache::driver::CacheDriver;
pub use cache::function::CachedFn;
pub use cache::handle::CacheHandle;
pub use cache::inner::WhenNotLive;
pub use cache::limit::LoadLimit;
pub use cache::load_error::LoadError;
pub use cache::loaded::Loaded;
pub use cache::observer::{CacheEvent, CacheObserver};
pub use cache::refresh::Refresh;
pub use cache::scope::CacheScope;
pub use cache::stats::CacheStats;
pub use cache::strategy::{Debounced, Decision, Greedy, Strategy, Timed, Windowed};
pub use cache::write_token::WriteToken;
pub use connect::ConnectConfig;
pub use error::{Error, ErrorKind, Result};
pub use event::{
    CaselessText, Changed, ColumnType, Deleted, Event, EventBuilder, FromEvent, Inserted, Key,
    KeyColumn, KeyPart, MacAddress, PaddedText, RowKey, Table, Truncated, Updated,
};
pub use filter::Filter;
pub use group::options::DurableOptions;
pub use handler::event_handler::{Attempt, EventHandler, HandlerResult, IdempotencyKey};
pub use handler::failure::HandlerError;
pub use handler::retry::RetryPolicy;
pub use listener::{Listener, ListenerCounts, ListenerStatus};
pub use name::{ChannelName, TableName};
pub use operation::{Operation, OperationSet};
pub use router::{
    Caches, Delivery, Overflow, Subscription, SubscriptionId, SubscriptionOptions,
    SubscriptionStats,
};
pub use signal::{Health, Resync, ResyncReason, Signal};
pub use source::{
    Channels, Joined, NotifySource, NotifySourceBuilder, OutboxSource, OutboxSourceBuilder,
    Payloads, PayloadsEnded, Signals, Source, supervise,
};
#[cfg(feature = "distributor")]
pub use source::{DistributorSource, DistributorSourceBuilder};
