//! What a proxy currently does to its connections.

use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Forward,
    Refuse,
    Stall,
    Delay(Duration),
    Deafen,
}

/// Watched by every connection. A closed watch means that the proxy is gone.
#[derive(Debug, Clone, Copy)]
pub(super) struct State {
    pub(super) mode: Mode,
    /// How often all connections were cut. A connection ends when this leaves the value it began with.
    pub(super) cuts: u64,
}
