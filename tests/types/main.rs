//! The types of columns: what a value of each is in Rust, when it is read from an event.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at once")]

mod altered;
mod keys;
mod pairs;
mod property;
mod rows;
mod spelled_keys;
mod support;
