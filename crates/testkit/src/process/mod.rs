//! Supervision of server processes, for every kind of server.
//!
//! ```text
//! Supervised<P> ──▶ Running         the process; each start makes a new one
//!             └──▶ P: Program       how to run it; it owns the Workspace
//!                        └──▶ Workspace   directory and watchdog; they live as long as the Supervised
//! ```
//!
//! States: running (maybe frozen) and stopped. Port and data stay the same. All functions block, so handles call them by
//! [`blocking`]. `handle` implements the methods that all handles have.

mod account;
mod handle;
mod running;
mod signals;
mod supervised;
mod workspace;

use crate::Error;

pub(crate) use handle::control_server;
pub(crate) use signals::pid;
pub(crate) use supervised::{Program, Supervised};
#[cfg(feature = "nats")]
pub(crate) use supervised::{free_port, with_free_ports};
pub(crate) use workspace::{User, Workspace};

/// The address that all servers listen on.
pub(crate) const HOST: &str = "127.0.0.1";

/// Runs blocking code on a thread of tokio's that may block.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Error::during("a blocking operation did not finish")(error)),
    }
}
