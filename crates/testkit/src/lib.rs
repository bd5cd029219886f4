//! Tools for tests of event-driven PostgreSQL programs: a real server, tests of handlers, and a network that fails.
//!
//! - [`TestDatabase`] tests a durable handler in five lines: it runs SQL, lets the handler handle the changes in its real
//!   transaction, and reports which events were handled and which failed. [`Event::builder`](pgherald_core::Event::builder)
//!   makes events for tests without a table.
//! - [`Postgres`] is a private server that starts in a second or two. It can be stopped, killed and frozen, and leaves
//!   nothing behind, however the test process ends. It needs an installed PostgreSQL; nothing is downloaded.
//! - `nats::NatsServer` and `nats::NatsCluster`, with the feature `nats`, are private NATS servers with the same faults. They
//!   need the program `nats-server`.
//! - [`Database`] is for example programs: the database of `DATABASE_URL` if set, otherwise a private server.
//! - [`fake_source`] makes a source without a database, which emits the signals that a test sends, and [`Probe`] is an
//!   actor that records its messages. Both are for tests of actors.
//! - [`coherence`] checks a cache against a real database while faults are injected.
//! - [`FaultProxy`] is a TCP proxy between client and server that resets, stalls or delays connections, or drops
//!   notifications.
//!
//! ```no_run
//! use pgherald_testkit::{FaultProxy, Postgres};
//!
//! # async fn example() -> Result<(), pgherald_testkit::Error> {
//! // A network that fails; for a test of a handler, see `TestDatabase`.
//! let server = Postgres::shared().await?;
//! let database = server.create_database().await?;
//! let proxy = FaultProxy::start((server.host(), server.port())).await?;
//! let url = proxy.url(&database);
//! // ... run the program under test against `url` ...
//! proxy.cut();
//! // ... and see that it comes back.
//! # Ok(())
//! # }
//! ```
//!
//! The page *Testing* of pgherald's guide shows a test of each kind.
//!
//! Unix only, because the test kit controls servers by signals.

mod binaries;
pub mod coherence;
mod database;
mod error;
mod fake;
mod handlers;
#[cfg(feature = "nats")]
pub mod nats;
pub mod postgres;
mod probe;
mod process;
pub mod proxy;
#[cfg(feature = "tls")]
mod tls;
mod wait;

pub use binaries::Binaries;
pub use database::Database;
pub use error::Error;
pub use fake::{FakeFeed, FakeSource, fake_source};
pub use handlers::{FailedEvent, HandlerTest, Outcome, TestDatabase};
pub use postgres::Postgres;
pub use probe::{Probe, Seen, Sight};
pub use proxy::FaultProxy;
