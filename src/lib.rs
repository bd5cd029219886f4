#![doc = include_str!("../README.md")]

pub use pgherald_actors::{
    Drain, Ephemeral, Events, GetReport, GetStatus, HandlerActor, HandlerReport, HealthChanged,
    Herald, HeraldBuilder, HeraldReport, ListenerActor, ListenerCounts, ListenerStatus, Shutdown,
    ShutdownReport, Subscribe, SubscribeHealth, SubscriptionReport, Unsubscribe, WatchHealth,
};
pub use pgherald_core::{
    Attempt, Backoff, Changed, ChannelName, ConnectConfig, Decoder, Deleted, Delivery, Error,
    Event, EventBuilder, EventHandler, Filter, FromEvent, HandlerError, HandlerResult, Health,
    Inserted, Key, KeyColumn, KeyPart, MAX_IDENTIFIER_BYTES, NotifySource, NotifySourceBuilder,
    Operation, OperationSet, Overflow, Result, Resync, ResyncReason, RetryPolicy, Router, RowKey,
    Signal, Signals, Source, Subscription, SubscriptionId, SubscriptionObserver,
    SubscriptionOptions, SubscriptionStats, Table, TableName, Truncated, Updated, handler,
    supervise, trigger,
};
