//! The current fault of a proxy.

use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Forward,
    Refuse,
    Stall,
    Delay(Duration),
    Deafen,
}

/// What the proxy lets through now. Each connection watches it. The watch closes when the proxy is dropped.
#[derive(Debug, Clone, Copy)]
pub(super) struct Passage {
    pub(super) mode: Mode,
    /// The number of cuts so far. A connection ends when this number changes.
    pub(super) cuts: u64,
}
