//! The types of columns: what a value of each is in Rust, when it is read from an event.

mod altered;
mod pairs;
mod property;
mod support;
