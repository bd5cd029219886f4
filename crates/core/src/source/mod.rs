//! Sources of signals.
//!
//! A [`Source`] reconnects by itself, forever, and emits only [`Signal`]s, so nothing downstream depends on the kind of
//! source. [`NotifySource`] listens to NOTIFY, [`OutboxSource`] reads the outbox, and [`Joined`] combines two sources.
//! `DistributorSource` reads a distributor, on machines without access to the database.
//!
//! A source outside this crate implements [`Source`] under the contract of [`Signal`]. It is run by [`supervise`](supervise()),
//! by the actors' `ListenerActor`, or by `Herald::start_with_source`. `HeraldBuilder` and `pgherald watch` know only the two
//! kinds that read PostgreSQL.
//!
//! Shared modules: `options` (settings), `wire` (the connection), `listen`, `heartbeat`, `watcher` (checks the triggers), `drift`
//! (changes of triggers and tables), and `forwarded` (events that another process has read). `channels` adds channels to a
//! notify source while it runs. The crate's `reconnect` decides when to connect again.

mod channels;
#[cfg(feature = "distributor")]
mod distributor;
mod drift;
pub(crate) mod forwarded;
mod heartbeat;
mod joined;
mod listen;
mod notify;
mod options;
mod outbox;
mod supervise;
mod watcher;
mod wire;

use std::future::Future;

use crate::signal::Signal;

pub use channels::{Channels, Payloads, PayloadsEnded};
#[cfg(feature = "distributor")]
pub use distributor::{DistributorSource, DistributorSourceBuilder};
pub use joined::Joined;
pub use notify::{NotifySource, NotifySourceBuilder};
pub use outbox::{OutboxSource, OutboxSourceBuilder};
pub use supervise::{Signals, supervise};

/// A stream of [`Signal`]s that never ends.
///
/// The order and the guarantees of signals are a contract: see [`Signal`].
pub trait Source: Send + 'static {
    /// Waits for the next signal.
    ///
    /// Must be cancel safe: dropping the returned future must not lose a signal.
    fn next(&mut self) -> impl Future<Output = Signal> + Send;
}
