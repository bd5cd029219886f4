//! Methods of public types that only the other crates of pgherald call. Each delegates to a method of the same name.

use std::time::Instant;

use crate::cache::key_check::KeyTypes;
use crate::cache::{CacheDriver, CacheKey};
use crate::event::FromEvent;
use crate::group::DurableOptions;
use crate::name::{ChannelName, TableName};
use crate::operation::OperationSet;
use crate::router::subscription::SubscriptionObserver;
use crate::router::{Delivery, Subscription};
use crate::source::{NotifySourceBuilder, OutboxSourceBuilder};
use crate::trigger::TriggerSpec;
use crate::{Error, Result};

/// The parts of a specification.
#[allow(
    missing_docs,
    reason = "the methods of the type have the documentation"
)]
pub trait SpecParts {
    fn channel_name(&self) -> &ChannelName;
    fn announced(&self) -> OperationSet;
    fn key_names(&self) -> Option<&[String]>;
    fn column_names(&self) -> &[String];
    fn optional_column_names(&self) -> &[String];
    fn has_every_column(&self) -> bool;
    fn has_old_columns(&self) -> bool;
    fn limit_of_values(&self) -> Option<u32>;
    fn is_replicated(&self) -> bool;
    fn watched_columns(&self) -> &[String];
    #[must_use]
    fn for_table(self, table: TableName) -> Self;
}

impl SpecParts for TriggerSpec {
    fn channel_name(&self) -> &ChannelName {
        self.channel_name()
    }

    fn announced(&self) -> OperationSet {
        self.announced()
    }

    fn key_names(&self) -> Option<&[String]> {
        self.key_names()
    }

    fn column_names(&self) -> &[String] {
        self.column_names()
    }

    fn optional_column_names(&self) -> &[String] {
        self.optional_column_names()
    }

    fn has_every_column(&self) -> bool {
        self.has_every_column()
    }

    fn has_old_columns(&self) -> bool {
        self.has_old_columns()
    }

    fn limit_of_values(&self) -> Option<u32> {
        self.limit_of_values()
    }

    fn is_replicated(&self) -> bool {
        self.is_replicated()
    }

    fn watched_columns(&self) -> &[String] {
        self.watched_columns()
    }

    fn for_table(self, table: TableName) -> Self {
        self.for_table(table)
    }
}

/// Driving a cache without a task of its own, and checking it before.
#[allow(
    missing_docs,
    reason = "the methods of the type have the documentation"
)]
pub trait Drive {
    fn apply(&mut self, delivery: &Delivery, now: Instant);
    fn next_wake(&self) -> Option<Instant>;
    fn wake(&mut self, now: Instant);
    fn background(&mut self) -> impl Future<Output = ()> + Send + use<Self>;
    fn check_watched(&self, watched: &[TableName]) -> Result<()>;
    fn set_recorded(&self, recorded: &[TableName]);
    fn check_key_types(&self, types: &KeyTypes) -> Result<()>;
    fn fits(&self, types: &KeyTypes) -> bool;
    fn has_keys_to_check(&self) -> bool;
}

impl<K: CacheKey, V: Send + Sync + 'static> Drive for CacheDriver<K, V> {
    fn apply(&mut self, delivery: &Delivery, now: Instant) {
        self.apply(delivery, now);
    }

    fn next_wake(&self) -> Option<Instant> {
        self.next_wake()
    }

    fn wake(&mut self, now: Instant) {
        self.wake(now);
    }

    fn background(&mut self) -> impl Future<Output = ()> + Send + use<K, V> {
        self.background()
    }

    fn check_watched(&self, watched: &[TableName]) -> Result<()> {
        self.check_watched(watched)
    }

    fn set_recorded(&self, recorded: &[TableName]) {
        self.set_recorded(recorded);
    }

    fn check_key_types(&self, types: &KeyTypes) -> Result<()> {
        self.check_key_types(types)
    }

    fn fits(&self, types: &KeyTypes) -> bool {
        self.fits(types)
    }

    fn has_keys_to_check(&self) -> bool {
        self.has_keys_to_check()
    }
}

/// The receiving side of a subscription whose receiver is an actor.
#[allow(
    missing_docs,
    reason = "the methods of the type have the documentation"
)]
pub trait Receive {
    fn take_back(&mut self);
    fn observer(&self) -> SubscriptionObserver;
}

impl Receive for Subscription {
    fn take_back(&mut self) {
        self.take_back();
    }

    fn observer(&self) -> SubscriptionObserver {
        self.observer()
    }
}

/// The tables of a handler.
#[allow(
    missing_docs,
    reason = "the methods of the type have the documentation"
)]
pub trait Wants {
    fn wants<E: FromEvent>(&self, table: &TableName) -> bool;
    fn not_watched(&self) -> Error;
}

impl Wants for DurableOptions {
    fn wants<E: FromEvent>(&self, table: &TableName) -> bool {
        self.wants::<E>(table)
    }

    fn not_watched(&self) -> Error {
        self.not_watched()
    }
}

/// The tables that a source watches.
#[allow(
    missing_docs,
    reason = "the methods of the type have the documentation"
)]
pub trait Watches {
    fn watched(&self) -> &[TriggerSpec];
}

impl Watches for NotifySourceBuilder {
    fn watched(&self) -> &[TriggerSpec] {
        self.watched()
    }
}

impl Watches for OutboxSourceBuilder {
    fn watched(&self) -> &[TriggerSpec] {
        self.watched()
    }
}

/// The parts of a source for tables of both modes.
#[allow(
    missing_docs,
    reason = "the methods of the type have the documentation"
)]
pub trait Split: Sized {
    fn other_channels(&self) -> &[ChannelName];
    fn split_outbox(self) -> (Self, OutboxSourceBuilder);
}

impl Split for NotifySourceBuilder {
    fn other_channels(&self) -> &[ChannelName] {
        self.other_channels()
    }

    fn split_outbox(self) -> (Self, OutboxSourceBuilder) {
        self.split_outbox()
    }
}
