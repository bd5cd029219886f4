//! Where signals come from.
//!
//! A [`Source`] reconnects by itself, forever, and speaks [`Signal`]s only, so nothing downstream knows
//! which kind it is. [`NotifySource`] listens to NOTIFY, [`OutboxSource`] reads what was recorded in the outbox, and [`Joined`] is
//! two of them as one.
//!
//! What they share: `terms` (settings), `attempts` (when to try again), `wire` (the connection), `listen`, `heartbeat`,
//! and `drift` (what becomes of the triggers meanwhile).

mod attempts;
mod drift;
mod heartbeat;
mod joined;
mod listen;
mod notify;
mod outbox;
mod supervise;
mod terms;
mod watcher;
mod wire;

use std::future::Future;

use crate::signal::Signal;

pub use joined::Joined;
pub use notify::{NotifySource, NotifySourceBuilder};
pub use outbox::{OutboxSource, OutboxSourceBuilder};
pub use supervise::{Signals, supervise};

/// A stream of [`Signal`]s that never ends.
///
/// The order of signals, and what each of them promises, is a contract: see [`Signal`].
pub trait Source: Send + 'static {
    /// Waits for the next signal.
    ///
    /// Must be cancel safe: a call that is dropped has lost nothing.
    fn next(&mut self) -> impl Future<Output = Signal> + Send;
}
