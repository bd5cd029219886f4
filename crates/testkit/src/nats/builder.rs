//! Configures a server or a cluster.

use std::fmt;

use super::config::{Access, Options};
use super::program::Nats;
use super::{NatsCluster, NatsServer};
use crate::Error;
use crate::process::blocking;

/// Configures and starts a [`NatsServer`] or a [`NatsCluster`]. Made by [`NatsServer::builder`].
///
/// ```no_run
/// # async fn example() -> Result<(), pgherald_testkit::Error> {
/// use pgherald_testkit::nats::NatsServer;
///
/// let server = NatsServer::builder().token("secret").max_payload(64 * 1024).start().await?;
/// assert!(server.url().starts_with("nats://secret@127.0.0.1:"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
#[must_use = "a builder does nothing until it is started"]
pub struct NatsBuilder {
    options: Options,
}

impl NatsBuilder {
    /// Requires this token of each client. By default, the server requires nothing.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.options.access = Access::Token(token.into());
        self
    }

    /// Requires this user and password of each client. By default, the server requires nothing.
    pub fn password(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.options.access = Access::Password {
            user: user.into(),
            password: password.into(),
        };
        self
    }

    /// Requires TLS. The certificate is for `localhost` and `127.0.0.1`, and is signed by
    /// [`NatsServer::ca_certificate`]. Requires the feature `tls`.
    #[cfg(feature = "tls")]
    pub fn tls(mut self) -> Self {
        self.options.tls = true;
        self
    }

    /// Sets the largest size of a message, in bytes. The server's default is 1 MiB.
    pub fn max_payload(mut self, bytes: usize) -> Self {
        self.options.max_payload = Some(bytes);
        self
    }

    /// Starts the server without JetStream, so without streams.
    pub fn without_jetstream(mut self) -> Self {
        self.options.without_jetstream = true;
        self
    }

    /// Sets the server's JetStream domain. If a leaf node and its hub both have streams, each of them needs a domain of its own.
    pub fn domain(mut self, name: impl Into<String>) -> Self {
        self.options.domain = Some(name.into());
        self
    }

    /// Adds lines to the server's configuration file, such as accounts or users with an nkey. They are not checked here.
    pub fn config(mut self, lines: &str) -> Self {
        self.options.lines.push_str(lines);
        self.options.lines.push('\n');
        self
    }

    /// Starts one server. Returns when it accepts connections.
    ///
    /// # Errors
    ///
    /// [`Error::is_binaries_missing`] if no `nats-server` is found, or only one that is too old. If the server does not start:
    /// the error includes the end of its log.
    pub async fn start(self) -> Result<NatsServer, Error> {
        blocking(move || Nats::start(&self.options, None).map(NatsServer::new)).await
    }

    /// Starts three servers that form a cluster. Returns when all of them are healthy.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start), and if the cluster does not become healthy within 60 s.
    pub async fn start_cluster(self) -> Result<NatsCluster, Error> {
        NatsCluster::with_options(self.options).await
    }
}

// The options have passwords.
impl fmt::Debug for NatsBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsBuilder").finish_non_exhaustive()
    }
}
