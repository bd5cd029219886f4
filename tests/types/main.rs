//! The types of columns: the Rust values that each of them is read as.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests may panic")]

mod altered;
mod keys;
mod pairs;
mod property;
mod rows;
mod spelled_keys;
mod support;
