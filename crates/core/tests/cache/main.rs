//! The guarantees of caches, tested without a database: the tests publish the signals of the source.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may stop at once"
)]

mod abandoned_batches;
mod abandoned_loads;
mod bad_input;
mod blindness;
mod closing;
mod dependencies;
mod hard_cases;
mod kept_errors;
mod keys;
mod memory;
mod nesting;
mod overtaken_loads;
mod refresh;
mod single_flight;
mod statistics;
mod strategies;
mod support;
mod user_code;
mod write_tokens;
