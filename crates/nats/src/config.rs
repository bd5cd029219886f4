//! The connection to NATS: servers, credentials and TLS.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_nats::{Client, ConnectErrorKind, ConnectOptions, ServerAddr};
use percent_encoding::percent_decode_str;
use pgherald_core::__private::host::errors;
use pgherald_core::{ErrorKind, Result};

/// The longest delay between two attempts to reconnect. Delays double up to it.
const LONGEST_PAUSE: Duration = Duration::from_secs(4);
/// The capacity of the client's queue of commands that are not yet written to the connection.
const QUEUED: usize = 4_096;

/// Configures the connection to NATS: servers, credentials and TLS.
///
/// `Debug` and `Display` show no secrets.
///
/// ```
/// use pgherald_nats::NatsConfig;
///
/// let config = NatsConfig::new("nats://a.example.org,nats://b.example.org:4223")?.credentials_file("/etc/shop/relay.creds");
/// assert_eq!(config.to_string(), "nats://a.example.org:4222, nats://b.example.org:4223");
/// # Ok::<(), pgherald_core::Error>(())
/// ```
#[derive(Clone)]
#[must_use = "a configuration does nothing by itself"]
pub struct NatsConfig {
    servers: Vec<ServerAddr>,
    login: Login,
    roots: Vec<PathBuf>,
    certificate: Option<(PathBuf, PathBuf)>,
    requires_tls: bool,
    tls_first: bool,
    only_these: bool,
    name: String,
    connect_timeout: Duration,
    request_timeout: Duration,
}

#[derive(Clone)]
enum Login {
    None,
    User(String, String),
    Token(String),
    Nkey(String),
    File(PathBuf),
}

impl NatsConfig {
    /// Makes a configuration for one or more servers of one cluster, from URLs separated by commas. The scheme is `nats` or `tls`.
    /// A URL may contain user and password, or a token. The credentials of the first URL that has some are used for all servers.
    ///
    /// # Errors
    /// If there is no URL, or one is invalid or has another scheme.
    pub fn new(servers: &str) -> Result<Self> {
        let mut all = Vec::new();
        for text in servers
            .split(',')
            .map(str::trim)
            .filter(|text| !text.is_empty())
        {
            all.push(server(text)?);
        }
        if all.is_empty() {
            let message =
                "no NATS server was given: use nats://HOST[:PORT], with commas between several"
                    .to_owned();
            return Err(errors::bad_nats(message));
        }
        Ok(Self {
            servers: all,
            login: Login::None,
            roots: Vec::new(),
            certificate: None,
            requires_tls: false,
            tls_first: false,
            only_these: false,
            name: "pgherald".to_owned(),
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(5),
        })
    }

    /// Logs in as a user.
    pub fn user(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.login = Login::User(user.into(), password.into());
        self
    }

    /// Logs in with a token.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.login = Login::Token(token.into());
        self
    }

    /// Logs in with the seed of an nkey, such as `SUAM…`.
    pub fn nkey(mut self, seed: impl Into<String>) -> Self {
        self.login = Login::Nkey(seed.into());
        self
    }

    /// Logs in with a credentials file, such as `nsc` writes. A [`NatsSource`](crate::NatsSource) reads it for each session. A
    /// relay reads it when it connects, and again when it has been without a connection for more than 5 s.
    pub fn credentials_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.login = Login::File(path.into());
        self
    }

    /// Trusts the certificates in this PEM file, instead of those of the system. Call it again for further files.
    pub fn root_certificates(mut self, path: impl Into<PathBuf>) -> Self {
        self.roots.push(path.into());
        self
    }

    /// Presents this certificate, with its key, to servers that ask for one. Both are PEM files.
    pub fn client_certificate(
        mut self,
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Self {
        self.certificate = Some((certificate.into(), key.into()));
        self
    }

    /// Refuses servers without TLS. By default, TLS is used only if the server requires it, or the scheme of its URL is `tls`.
    pub fn require_tls(mut self) -> Self {
        self.requires_tls = true;
        self
    }

    /// Begins the TLS handshake before the server has sent its INFO message, for servers with the option `handshake_first`.
    pub fn tls_first(mut self) -> Self {
        self.tls_first = true;
        self
    }

    /// Connects only to the given servers, not to further servers of the cluster that they advertise. Use it if this program
    /// cannot reach those.
    pub fn only_these_servers(mut self) -> Self {
        self.only_these = true;
        self
    }

    /// Sets the name that the server shows for the connection. Default: `pgherald`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets how long one attempt to connect may take; zero is refused. Default: 5 s.
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = limit;
        self
    }

    /// Sets how long to wait for the response to a request; zero is refused. Default: 5 s. If a batch is not acknowledged in time,
    /// the relay reads from the stream whether the server has stored it.
    pub fn request_timeout(mut self, limit: Duration) -> Self {
        self.request_timeout = limit;
        self
    }

    /// Returns how long to wait for the response to a request.
    pub(crate) fn request_limit(&self) -> Duration {
        self.request_timeout
    }

    /// Returns the number of servers.
    pub(crate) fn servers(&self) -> usize {
        self.servers.len()
    }

    /// Returns how long connecting may take, with attempts at all servers.
    pub(crate) fn connect_limit(&self) -> Duration {
        // The library limits each attempt, but not all of them together.
        let servers = u32::try_from(self.servers.len()).unwrap_or(u32::MAX);
        self.connect_timeout
            .saturating_mul(servers.saturating_add(1))
    }

    /// Fails if a setting is out of its range.
    pub(crate) fn check(&self) -> Result<()> {
        for (setting, value) in [
            ("connect_timeout", self.connect_timeout),
            ("request_timeout", self.request_timeout),
        ] {
            if value.is_zero() {
                let message =
                    format!("{setting} of the connection to NATS is 0; it must be longer");
                return Err(errors::bad_nats(message));
            }
        }
        Ok(())
    }

    /// Connects. The client reconnects by itself from then on.
    ///
    /// # Errors
    /// If no server can be reached, the server refuses the credentials, or a file cannot be read: these errors are retryable. If a
    /// timeout is zero.
    pub async fn connect(&self) -> Result<Client> {
        self.connect_with(|options| options).await
    }

    /// Like [`connect`](Self::connect), but `adapt` changes the options of the connection.
    pub(crate) async fn connect_with(
        &self,
        adapt: impl FnOnce(ConnectOptions) -> ConnectOptions,
    ) -> Result<Client> {
        self.check()?;
        let mut options = adapt(ConnectOptions::new())
            .name(&self.name)
            .connection_timeout(self.connect_timeout)
            .request_timeout(Some(self.request_timeout))
            .client_capacity(QUEUED)
            .require_tls(self.requires_tls)
            .reconnect_delay_callback(pause);
        let of_url = self.servers.iter().find_map(of_url);
        let login = match &self.login {
            Login::None => of_url.as_ref().unwrap_or(&Login::None),
            login => login,
        };
        options = match login {
            Login::None => options,
            Login::User(user, password) => {
                options.user_and_password(user.clone(), password.clone())
            }
            Login::Token(token) => options.token(token.clone()),
            Login::Nkey(seed) => options.nkey(seed.clone()),
            Login::File(path) => {
                let read = options.credentials_file(path).await;
                read.map_err(|cause| unreadable(path, cause))?
            }
        };
        for path in &self.roots {
            options = options.add_root_certificates(path.clone());
        }
        if let Some((certificate, key)) = &self.certificate {
            options = options.add_client_certificate(certificate.clone(), key.clone());
        }
        if self.tls_first {
            options = options.tls_first();
        }
        if self.only_these {
            options = options.ignore_discovered_servers();
        }
        let connecting = options.connect(self.servers.clone());
        let limit = self.connect_limit();
        match tokio::time::timeout(limit, connecting).await {
            Ok(Ok(client)) => Ok(client),
            Ok(Err(cause)) => Err(self.refused(cause)),
            Err(_) => {
                let message = format!("no NATS server at {self} answered within {limit:?}");
                Err(errors::nats(ErrorKind::Connect, message, None))
            }
        }
    }

    fn refused(&self, cause: async_nats::ConnectError) -> pgherald_core::Error {
        let (kind, what) = match cause.kind() {
            // The library reports a failed handshake as an error of the connection.
            _ if is_of_certificates(&cause) => (
                ErrorKind::Tls,
                "cannot be used with TLS: trust its certificate, or present one that it trusts",
            ),
            ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => (
                ErrorKind::Authentication,
                "refused the credentials: correct the user, token, nkey or credentials file",
            ),
            ConnectErrorKind::Tls => (
                ErrorKind::Tls,
                "cannot be used with TLS: check the certificates, and whether the server has TLS",
            ),
            ConnectErrorKind::ServerParse => {
                (ErrorKind::Config, "has no usable address: correct it")
            }
            _ => (
                ErrorKind::Connect,
                "cannot be reached: check that it runs, and its host and port",
            ),
        };
        let message = format!("the NATS server at {self} {what}");
        errors::nats(kind, message, Some(cause.into()))
    }
}

fn server(text: &str) -> Result<ServerAddr> {
    // The text may contain a password, so no message shows it.
    let refuse = |what: &str| {
        Err(errors::bad_nats(format!(
            "the address of a NATS server {what}: use nats://HOST[:PORT] or tls://HOST[:PORT]"
        )))
    };
    match text.parse::<ServerAddr>() {
        Ok(address) if address.host().is_empty() => refuse("has no host"),
        Ok(address) if matches!(address.scheme(), "nats" | "tls") => Ok(address),
        Ok(address) => refuse(&format!("has the scheme {}", address.scheme())),
        Err(_) => refuse("is not a valid URL"),
    }
}

/// Returns the credentials in a URL. The client library ignores them.
fn of_url(address: &ServerAddr) -> Option<Login> {
    let decoded = |text| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let user = decoded(address.username()?);
    Some(match address.password() {
        Some(password) => Login::User(user, decoded(password)),
        None => Login::Token(user),
    })
}

fn is_of_certificates(cause: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(cause), |cause| cause.source())
        .any(|cause| cause.to_string().contains("certificate"))
}

fn unreadable(path: &Path, cause: std::io::Error) -> pgherald_core::Error {
    let message = format!("cannot read the credentials file {}", path.display());
    errors::nats(ErrorKind::Authentication, message, Some(cause.into()))
}

/// Returns the delay before an attempt to reconnect.
fn pause(attempts: usize) -> Duration {
    let doubled = u32::try_from(attempts).map_or(u32::MAX, |n| 2_u32.saturating_pow(n.min(16)));
    (Duration::from_millis(20) * doubled).min(LONGEST_PAUSE)
}

impl fmt::Display for NatsConfig {
    /// Lists the servers, without credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, server) in self.servers.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(
                f,
                "{separator}{}://{}:{}",
                server.scheme(),
                server.host(),
                server.port()
            )?;
        }
        Ok(())
    }
}

impl fmt::Debug for NatsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let login = match &self.login {
            Login::None => "none",
            Login::User(..) => "user",
            Login::Token(_) => "token",
            Login::Nkey(_) => "nkey",
            Login::File(_) => "credentials file",
        };
        f.debug_struct("NatsConfig")
            .field("servers", &self.to_string())
            .field("login", &login)
            .field("requires_tls", &self.requires_tls)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{LONGEST_PAUSE, NatsConfig, pause};

    #[test]
    fn secrets_are_neither_in_debug_nor_in_display_nor_in_errors() {
        let config = NatsConfig::new("nats://bob:s3cret@a:1, tls://s3cret@b").unwrap();
        assert_eq!(config.to_string(), "nats://a:1, tls://b:4222");
        for config in [
            config.clone(),
            config.clone().user("bob", "s3cret"),
            config.clone().token("s3cret"),
            config.nkey("s3cret"),
        ] {
            let shown = format!("{config:?} {config}");
            assert!(!shown.contains("s3cret"), "{shown}");
        }
        for bad in [
            "",
            " , ",
            "nats://",
            "nats://:4222",
            "nats://bob:s3cret@",
            "http://bob:s3cret@a",
            "nats://bob:s3cret@a:port",
        ] {
            let error = NatsConfig::new(bad).expect_err(bad);
            assert!(
                error.is_config() && !format!("{error:?}").contains("s3cret"),
                "{error:?}"
            );
        }
    }

    #[test]
    fn zero_timeouts_are_refused() {
        let config = NatsConfig::new("localhost").unwrap();
        assert!(config.check().is_ok());
        assert!(
            config
                .clone()
                .connect_timeout(Duration::ZERO)
                .check()
                .is_err()
        );
        assert!(config.request_timeout(Duration::ZERO).check().is_err());
    }

    #[test]
    fn pauses_between_attempts_are_bounded() {
        assert!(pause(0) > Duration::ZERO && pause(1) > pause(0));
        assert_eq!(pause(usize::MAX), LONGEST_PAUSE);
    }
}
