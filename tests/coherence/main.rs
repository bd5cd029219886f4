//! The coherence checker finds every broken cache, and no violation in pgherald's caches.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests may panic"
)]

mod broken;
mod cached;
mod early;
mod naive;
mod real;
mod settings;
mod sound;
