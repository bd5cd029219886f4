//! Configures a server.

use crate::Error;
use crate::postgres::Postgres;
use crate::postgres::server::{Options, Server};
use crate::process::blocking;

/// Configures and starts a [`Postgres`]. Made by [`Postgres::builder`].
#[derive(Debug, Clone, Default)]
#[must_use = "a builder does nothing until it is started"]
pub struct Builder {
    options: Options,
}

impl Builder {
    /// Sets a server setting, as in `postgresql.conf`. It overrides the test kit's default, and earlier values of the same
    /// setting. `port` cannot be set.
    pub fn setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.options.settings.push((name.into(), value.into()));
        self
    }

    /// Requires this password for each connection (SCRAM-SHA-256). By default, no password is required.
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.options.password = Some(password.into());
        self
    }

    /// Accepts TLS connections besides plain ones. The certificate is for `localhost` and `127.0.0.1`, and is signed by
    /// [`Postgres::ca_certificate`]. Requires the feature `tls`.
    #[cfg(feature = "tls")]
    pub fn tls(mut self) -> Self {
        self.options.tls = true;
        self
    }

    /// Starts the server. Returns when it accepts connections.
    ///
    /// # Errors
    ///
    /// If no binaries are found, or a setting is invalid. If the server does not start: the error includes the end of its log.
    pub async fn start(self) -> Result<Postgres, Error> {
        blocking(|| self.start_blocking()).await
    }

    /// Like [`start`](Self::start), for code without a runtime: benches, `main` functions.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn start_blocking(self) -> Result<Postgres, Error> {
        Server::start(self.options).map(Postgres::new)
    }
}
