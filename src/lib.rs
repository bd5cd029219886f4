#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(not(doctest), doc = include_str!("guide/links.md"))]
#![doc = include_str!("../README.md")]

#[cfg_attr(not(doctest), doc = include_str!("guide/links.md"))]
#[doc = include_str!("../docs/README.md")]
pub mod guide;
#[cfg(feature = "prometheus")]
pub mod prometheus;

// Their types stand in signatures. By these paths, a program gets the versions that pgherald uses.
pub use pgherald_actors::actix;
pub use pgherald_core::{rustls, tokio_postgres};

pub use pgherald_actors::{
    CacheActor, Drain, DurableActor, EphemeralOptions, Events, GetReport, GetStatus, HandlerActor,
    HandlerReport, HealthChanged, Herald, HeraldBuilder, HeraldReport, ListenerActor, Shutdown,
    ShutdownReport, Subscribe, SubscribeHealth, SubscriptionReport, Unsubscribe, WatchHealth,
};
pub use pgherald_core::{
    Affected, Attempt, Backoff, CacheBuilder, CacheDriver, CacheEvent, CacheHandle, CacheObserver,
    CacheScope, CacheStats, CachedFn, Caches, CaselessText, Changed, ChannelName, Channels,
    ColumnType, ConnectConfig, Debounced, Decision, Deleted, Delivery, DurableOptions, Error,
    ErrorKind, Event, EventBuilder, EventHandler, Filter, FromEvent, Greedy, HandlerError,
    HandlerResult, Health, IdempotencyKey, Inserted, Key, KeyColumn, KeyPart, Listener,
    ListenerCounts, ListenerStatus, LoadError, LoadLimit, Loaded, MacAddress, NotifySource,
    NotifySourceBuilder, Operation, OperationSet, OutboxSource, OutboxSourceBuilder, Overflow,
    PaddedText, Payloads, PayloadsEnded, Refresh, Result, Resync, ResyncReason, RetryPolicy,
    RowKey, Signal, Signals, Source, Strategy, Subscription, SubscriptionId, SubscriptionOptions,
    SubscriptionStats, Table, TableName, Timed, Truncated, Updated, WhenNotLive, Windowed,
    WriteToken, cache, group, handler, outbox, supervise, telemetry, trigger,
};
#[cfg(feature = "distributor")]
pub use pgherald_core::{DistributorSource, DistributorSourceBuilder};
pub use pgherald_macros::{Table, cached};
#[cfg(feature = "nats")]
pub use pgherald_nats as nats;

#[doc(hidden)]
pub use pgherald_core::__private;
