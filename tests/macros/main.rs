//! The code that `derive(Table)` and `#[cached]` generate.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests may panic"
)]

mod companion;
mod dependencies;
mod heralds;
mod keys;
mod methods;
mod options;
pub mod quiet; // public, so that lints treat it as an interface
mod support;
mod table;
mod values;
