//! What tests of event-driven PostgreSQL programs need: a real server, tests of handlers, and a network that fails.
//!
//! - [`TestDatabase`] tests a durable handler in five lines: it runs SQL, has the handler handle the changes in its real
//!   transaction, and reports what was committed and what failed. [`Event::builder`](pgherald_core::Event::builder) makes
//!   events for handlers without a table.
//! - [`Postgres`] is a server of one's own, started in a second or two, gone without a trace afterwards
//!   however the test process ends. It can be stopped, killed and frozen. The binaries of an
//!   installed PostgreSQL are used; nothing is downloaded.
//! - [`Database`] is one for example programs: `DATABASE_URL` if set, else such a server.
//! - [`fake_source`] makes a source without any database, that says what a test tells it to, and
//!   [`Probe`] is an actor that remembers what it was sent: for tests of one's own actors.
//! - [`coherence`] checks a cache against a real database in which everything fails.
//! - [`FaultProxy`] stands between client and server, and cuts, stalls, delays, or loses notifications.
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
//! Unix only: servers are steered by signals.

mod binaries;
pub mod coherence;
mod database;
mod error;
mod fake;
mod handlers;
pub mod postgres;
mod probe;
pub mod proxy;
mod wait;

pub use binaries::Binaries;
pub use database::Database;
pub use error::Error;
pub use fake::{FakeFeed, FakeSource, fake_source};
pub use handlers::{FailedEvent, HandlerTest, Outcome, TestDatabase};
pub use postgres::Postgres;
pub use probe::{Probe, Seen, Sight};
pub use proxy::FaultProxy;
