//! What a server is started with.

use crate::Error;
use crate::postgres::server::Server;
use crate::postgres::{Postgres, blocking};

/// Options of a [`Postgres`] to be started. Made by [`Postgres::builder`].
#[derive(Debug, Clone, Default)]
#[must_use = "a builder does nothing until it is started"]
pub struct Builder {
    pub(super) settings: Vec<(String, String)>,
    pub(super) password: Option<String>,
    pub(super) tls: bool,
}

impl Builder {
    /// A server setting, as in `postgresql.conf`. Wins over the defaults of the test kit; of two values
    /// for one setting the later wins. `port` cannot be set.
    pub fn setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// Requires this password of every connection (SCRAM-SHA-256). Without it, none is asked for.
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// Accepts TLS, next to plain connections, with a certificate for `localhost` and `127.0.0.1`
    /// signed by [`Postgres::ca_certificate`].
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Starts the server; returns once it accepts connections.
    ///
    /// # Errors
    ///
    /// No binaries found, an impossible setting, or a server that does not come up: the error carries
    /// the end of its log.
    pub async fn start(self) -> Result<Postgres, Error> {
        blocking(|| self.start_blocking()).await
    }

    /// [`start`](Self::start) for code without a runtime: benches, `main` functions.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn start_blocking(self) -> Result<Postgres, Error> {
        Server::start(self).map(Postgres::new)
    }
}
