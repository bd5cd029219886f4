//! pgherald-core

mod backoff;
mod connect;
mod error;
mod event;
mod filter;
pub mod handler;
mod name;
mod operation;
mod panic;
mod router;
mod signal;
mod source;
pub mod trigger;

pub use backoff::Backoff;
pub use connect::ConnectConfig;
pub use error::{Error, Result};
pub use event::{
    Changed, Decoder, Deleted, Event, EventBuilder, FromEvent, Inserted, Key, KeyColumn, KeyPart,
    RowKey, Table, Truncated, Updated,
};
pub use filter::Filter;
pub use handler::{Attempt, EventHandler, HandlerError, HandlerResult, RetryPolicy};
pub use name::{ChannelName, MAX_IDENTIFIER_BYTES, TableName};
pub use operation::{Operation, OperationSet};
pub use router::{
    Delivery, Overflow, Router, Subscription, SubscriptionId, SubscriptionOptions,
    SubscriptionStats,
};
pub use signal::{Health, Resync, ResyncReason, Signal};
pub use source::{NotifySource, NotifySourceBuilder, Signals, Source, supervise};
