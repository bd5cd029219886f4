//! Methods of public types that only the other crates of pgherald call.

use std::time::Instant;

use crate::cache::key_check::KeyTypes;
use crate::cache::{CacheDriver, CacheKey};
use crate::connect::ConnectConfig;
use crate::event::{Event, FromEvent};
use crate::group::destination::Destination;
use crate::group::{Consumer, ConsumerHandle, DurableOptions};
use crate::name::{ChannelName, TableName};
use crate::operation::OperationSet;
use crate::outbox::position::{Mark, Position, Progress};
use crate::router::subscription::SubscriptionObserver;
use crate::router::{Delivery, Subscription, SubscriptionOptions};
use crate::source::{NotifySourceBuilder, OutboxSourceBuilder};
use crate::trigger::TriggerSpec;
use crate::{Error, Result};

/// Makes a trait of methods, and implements it by the types' own methods of the same names, which have the documentation.
macro_rules! methods {
    (
        $(#[$doc:meta])*
        $name:ident for $({$($generics:tt)*})? $($of:ty),+ {
            $(fn $method:ident($this:ident: $receiver:ty $(, $argument:ident: $kind:ty)*) $(-> $output:ty)?;)+
        }
    ) => {
        $(#[$doc])*
        #[allow(missing_docs, clippy::needless_arbitrary_self_type, clippy::must_use_candidate)]
        pub trait $name: Sized {
            $(fn $method($this: $receiver $(, $argument: $kind)*) $(-> $output)?;)+
        }

        methods!(@each ($({$($generics)*})?) $name [$($of),+]
            $((fn $method($this: $receiver $(, $argument: $kind)*) $(-> $output)?))+);
    };
    (@each $generics:tt $name:ident [$first:ty $(, $more:ty)*] $($body:tt)+) => {
        methods!(@one $generics $name [$first] $($body)+);
        methods!(@each $generics $name [$($more),*] $($body)+);
    };
    (@each $generics:tt $name:ident [] $($body:tt)+) => {};
    (@one ($({$($generics:tt)*})?) $name:ident [$of:ty]
        $((fn $method:ident($this:ident: $receiver:ty $(, $argument:ident: $kind:ty)*) $(-> $output:ty)?))+
    ) => {
        #[allow(clippy::needless_arbitrary_self_type)]
        impl $(<$($generics)*>)? $name for $of {
            $(fn $method($this: $receiver $(, $argument: $kind)*) $(-> $output)? {
                <$of>::$method($this $(, $argument)*)
            })+
        }
    };
}

methods! {
    /// The parts of a specification.
    SpecParts for TriggerSpec {
        fn channel_name(self: &Self) -> &ChannelName;
        fn announced(self: &Self) -> OperationSet;
        fn key_names(self: &Self) -> Option<&[String]>;
        fn column_names(self: &Self) -> &[String];
        fn optional_column_names(self: &Self) -> &[String];
        fn has_every_column(self: &Self) -> bool;
        fn has_old_columns(self: &Self) -> bool;
        fn limit_of_values(self: &Self) -> Option<u32>;
        fn is_replicated(self: &Self) -> bool;
        fn watched_columns(self: &Self) -> &[String];
        fn for_table(self: Self, table: TableName) -> Self;
    }
}

methods! {
    /// Driving a cache without a task of its own, and checking it before. See also [`background`].
    Drive for {K: CacheKey, V: Send + Sync + 'static} CacheDriver<K, V> {
        fn apply(self: &mut Self, delivery: &Delivery, now: Instant);
        fn next_wake(self: &Self) -> Option<Instant>;
        fn wake(self: &mut Self, now: Instant);
        fn check_watched(self: &Self, watched: &[TableName]) -> Result<()>;
        fn set_recorded(self: &Self, recorded: &[TableName]);
        fn check_key_types(self: &Self, types: &KeyTypes) -> Result<()>;
        fn fits(self: &Self, types: &KeyTypes) -> bool;
        fn has_keys_to_check(self: &Self) -> bool;
    }
}

/// Returns the driver's work in the background.
pub fn background<K: CacheKey, V: Send + Sync + 'static>(
    driver: &mut CacheDriver<K, V>,
) -> impl Future<Output = ()> + Send + use<K, V> {
    driver.background()
}

methods! {
    /// The receiving side of a subscription whose receiver is an actor.
    Receive for Subscription {
        fn take_back(self: &mut Self);
        fn observer(self: &Self) -> SubscriptionObserver;
    }
}

methods! {
    /// The payload of an event, for clients without access to the database.
    ToPayload for Event {
        fn to_payload_of(self: &Self, keeps: Option<&dyn Fn(&str) -> bool>) -> serde_json::Result<String>;
        fn to_bare_payload(self: &Self) -> serde_json::Result<String>;
    }
}

methods! {
    /// The values of a column after and before the change, as text.
    ColumnTexts for Event {
        fn column_texts(self: &Self, name: &str) -> Option<Vec<Option<Box<str>>>>;
    }
}

methods! {
    /// The position after an event, for clients that continue from it.
    Located for Event {
        fn position(self: &Self) -> Option<Position>;
        fn mark(self: &Self) -> Option<Mark>;
    }
}

methods! {
    /// How far a source has emitted the outbox.
    Progresses for OutboxSourceBuilder {
        fn progress(self: &Self) -> Progress;
    }
}

methods! {
    /// A request for room for a value in each event.
    Attaches for SubscriptionOptions {
        fn attaching(self: Self) -> Self;
    }
}

/// Returns the value that `compute` returns, once for all subscriptions that have requested room for it.
pub fn attached<T: std::any::Any + Clone + Send + Sync>(
    event: &Event,
    compute: impl Fn() -> T,
) -> T {
    event.attached(compute)
}

/// Returns whether a handler of `E` with these options requires `table`.
#[must_use]
pub fn wants<E: FromEvent>(options: &DurableOptions, table: &TableName) -> bool {
    options.wants::<E>(table)
}

/// Creates a consumer of a relay.
///
/// # Errors
/// If the options are invalid.
pub fn relay<D: Destination>(
    config: ConnectConfig,
    options: DurableOptions,
    destination: D,
) -> Result<(ConsumerHandle, Consumer)> {
    Consumer::relay(config, options, destination)
}

/// Returns the error for a handler whose tables are not watched.
#[must_use]
pub fn not_watched(options: &DurableOptions) -> Error {
    options.not_watched()
}

methods! {
    /// The tables that a source watches.
    Watches for NotifySourceBuilder, OutboxSourceBuilder {
        fn watched(self: &Self) -> &[TriggerSpec];
    }
}

methods! {
    /// The parts of a source for tables of both modes.
    Split for NotifySourceBuilder {
        fn other_channels(self: &Self) -> &[ChannelName];
        fn adds_channels(self: &Self) -> bool;
        fn split_outbox(self: Self) -> (Self, OutboxSourceBuilder);
    }
}
