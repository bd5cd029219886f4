//! Items that only the other crates of pgherald use: parts of hosts of handlers and caches, and the state that the command reads.
//! Not for other use: it changes without notice.

pub use crate::connect::resembles::resembles;

/// Errors that only hosts report.
pub use crate::error::host as errors;

/// Parts of sources and listeners.
pub mod events {
    pub use super::super::parts::{
        Attaches, ColumnTexts, Receive, Split, ToPayload, Watches, attached,
    };
    pub use crate::event::decode::Decoder;
    pub use crate::reconnect::{Reconnecting, within_limit};
    pub use crate::router::Router;
    pub use crate::router::subscription::SubscriptionObserver;
    pub use crate::source::forwarded::{Inbox, absorb, reason, undecodable};
}

/// Running handlers without a group.
pub mod handler {
    pub use crate::handler::contain::contain;
    pub use crate::handler::event_handler::run;
    pub use crate::handler::instance::{Instance, Instances};
    pub use crate::handler::schedule::{Lane, Schedule};
    pub use crate::panic::contained;
}

/// Types of key columns, for all caches of a host.
pub mod cache {
    pub use super::super::parts::{Drive, background};
    pub use crate::cache::key_check::KeyTypes;
}

/// Tests of handlers and of the statements of consumers, and the health of groups.
pub mod group {
    pub use super::super::parts::relay;
    pub use super::super::parts::{not_watched, wants};
    pub use crate::group::destination::{
        Batch, Destination, Identity, Last, LastMessage, Mark, Message, Outcome, SliceState, State,
        nearly_full as destination_nearly_full,
    };
    pub use crate::group::operations::nodes::{Node, nodes};
    pub use crate::group::operations::problems::{Problem, nearly_full, problems};
    pub use crate::group::rehearsal::rehearse;

    /// Trials of a handler in a transaction that is rolled back.
    pub mod trial {
        pub use crate::group::trial::{
            LONGEST_PAUSE, Tried, batches, plain, transactional, without_first_resync,
        };
    }
}

/// The messages of `/v1`.
pub mod message {
    pub use crate::message::{Content, Message, Received, Scope, VERSION, Within};
}

/// Reading the outbox without a source or a group.
pub mod outbox {
    pub use super::super::parts::{Located, Progresses};
    pub use crate::outbox::cursor::Cursor;
    pub use crate::outbox::position::{Live, Mark, Position, Progress};
    pub use crate::outbox::reader::{OutboxReader, Page};
    pub use crate::outbox::replay::{Beginning, Replay, Replayed, Replayer};
}

/// Recording metrics, and the names of all metrics.
pub mod telemetry {
    pub use crate::telemetry::failure_log::{FailedAttempt, FailureLog};
    pub use crate::telemetry::handler::{HandlerMetrics, attempt_span};
    pub use crate::telemetry::names::*;
    pub use crate::telemetry::record::{Level, dropped};
}

/// The state of installed triggers, in detail.
pub mod trigger {
    pub use super::super::parts::SpecParts;
    pub use crate::trigger::actual::{Actual, Requirement};
    pub use crate::trigger::inspect::{inspect, inspect_all};
    pub use crate::trigger::manifest::from_manifest;
    pub use crate::trigger::migration::Migration;
    pub use crate::trigger::plan::OLDEST_SERVER;
    pub use crate::trigger::spelled_key::SpelledKey;
    pub use crate::trigger::summary::TableChange;
    pub use crate::trigger::version::require_version;
    pub use crate::trigger::watched::{Watched, watched};
}
