//! The handle of one server.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::NatsBuilder;
use super::program::Nats;
use crate::Error;
use crate::process::{HOST, Supervised, control_server};

/// A private NATS server with JetStream, with its files in a temporary directory and a port on 127.0.0.1.
///
/// When this value is dropped, the server ends and its files are removed. The same happens when the test process ends in
/// any other way, including SIGKILL.
///
/// ```no_run
/// # async fn example() -> Result<(), pgherald_testkit::Error> {
/// use pgherald_testkit::FaultProxy;
/// use pgherald_testkit::nats::NatsServer;
///
/// let server = NatsServer::start().await?;
/// let proxy = FaultProxy::start((server.host(), server.port())).await?;
/// let url = proxy.url(&server.url()); // the program under test connects to this one
///
/// proxy.stall(); // a partition
/// proxy.resume();
/// server.kill().await?;
/// server.start_again().await?; // same port, same streams
/// # Ok(())
/// # }
/// ```
///
/// The data survives a [`kill`](Self::kill). The methods that change the server's state wait until they have taken effect.
/// Dropping their future does not cancel them.
pub struct NatsServer {
    server: Arc<Supervised<Nats>>,
}

impl NatsServer {
    pub(super) fn new(server: Supervised<Nats>) -> Self {
        Self {
            server: Arc::new(server),
        }
    }

    /// Starts a server with default options: JetStream, no TLS, and no credentials.
    ///
    /// # Errors
    ///
    /// As [`NatsBuilder::start`].
    pub async fn start() -> Result<Self, Error> {
        Self::builder().start().await
    }

    /// Returns a builder, which sets the server's options.
    pub fn builder() -> NatsBuilder {
        NatsBuilder::default()
    }

    /// Returns the server's URL, with the credentials that the builder has set. Its scheme is `tls` if TLS is required,
    /// otherwise `nats`.
    pub fn url(&self) -> String {
        let prefix = &self.server.program().url_prefix;
        format!("{prefix}{HOST}:{}", self.port())
    }

    /// Returns the path of the authority's certificate, a PEM file, if the server was built with `NatsBuilder::tls`.
    pub fn ca_certificate(&self) -> Option<&Path> {
        self.server.program().files.authority.as_deref()
    }

    /// Returns whether the server runs and reports that it is healthy: in a cluster, it knows the leader, and its replicas of
    /// streams are current. A paused server is not healthy.
    pub async fn is_healthy(&self) -> bool {
        self.with_server(|server| Ok(server.is_running() && server.program().is_healthy()))
            .await
            .unwrap_or(false)
    }

    control_server!(Nats);
}

impl fmt::Debug for NatsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsServer")
            .field("port", &self.port())
            .field("log_file", &self.log_file())
            .finish_non_exhaustive()
    }
}
