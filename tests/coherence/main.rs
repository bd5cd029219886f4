//! Caches stay coherent, and the checker finds those that do not.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may stop at once"
)]

mod broken;
mod early;
mod naive;
mod real;
mod sound;
mod support;
