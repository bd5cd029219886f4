//! The promises of pgherald on a real PostgreSQL server: sources, subscriptions, caches and ephemeral handlers.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests may panic"
)]

mod bad_input;
mod caches;
mod caches_first;
mod channels;
mod credentials;
mod ddl;
mod drift;
mod encodings;
mod first_program;
mod forged;
mod half_open;
mod handler_faults;
mod hosts;
mod lost_changes;
mod no_silent_gap;
mod numbers;
mod pgbouncer;
mod plain_tokio;
mod pooler;
mod pooler_neighbour;
mod reconnect;
mod sessions;
mod shutdown;
mod subscriber_failure;
mod supervision;
mod support;
mod tls;
mod typed_handlers;
