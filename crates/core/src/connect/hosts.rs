//! Tries hosts and their addresses in turn, as libpq does.
//!
//! The `connect_timeout` of `tokio_postgres` limits only the TCP connection, so a host that accepts the connection and then
//! hangs would block the next one. So each address is tried separately, under a limit that includes everything up to the
//! first query.

use std::error::Error as StdError;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{Instant, timeout};
use tokio_postgres::config::{Host, LoadBalanceHosts, SslMode};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config};

use super::{ConnectConfig, Connection, passfile, session, tls};
use crate::error::{Error, ErrorKind, Result};

/// The default time limit for one address.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

type Cause = Box<dyn StdError + Send + Sync>;

/// A host of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    /// The host's name for TLS and the password file.
    host: Option<Host>,
    address: Option<IpAddr>,
    port: u16,
}

/// One address of a host. Connections are opened to endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    target: Target,
    address: Option<IpAddr>,
}

/// Why a connection to an endpoint failed.
struct Refusal {
    kind: ErrorKind,
    cause: Cause,
}

impl Refusal {
    fn no_answer(limit: Duration) -> Self {
        Self {
            kind: ErrorKind::Connect,
            cause: format!("no answer within {limit:?}").into(),
        }
    }

    fn of(cause: tokio_postgres::Error) -> Self {
        let credentials = [
            SqlState::INVALID_PASSWORD,
            SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
        ];
        let kind = match cause.code() {
            Some(code) if credentials.contains(code) => ErrorKind::Authentication,
            None if tls::is_tls_failure(&cause) => ErrorKind::Tls,
            _ => ErrorKind::Connect,
        };
        Self {
            kind,
            cause: cause.into(),
        }
    }

    fn not_a_primary(error: Error) -> Self {
        let kind = match error.kind() == ErrorKind::Replica {
            true => ErrorKind::Replica,
            false => ErrorKind::Connect,
        };
        Self {
            kind,
            cause: error.into(),
        }
    }

    fn of_setting(error: Error) -> Self {
        Self {
            kind: ErrorKind::Tls,
            cause: error.into(),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.cause)?;
        let mut cause = self.cause.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

/// Fails unless the numbers of hosts, addresses and ports match.
pub(super) fn check(config: &Config) -> Result<()> {
    let (hosts, addresses) = (config.get_hosts().len(), config.get_hostaddrs().len());
    let ports = config.get_ports().len();
    let targets = hosts.max(addresses);
    let message = if hosts > 0 && addresses > 0 && hosts != addresses {
        format!(
            "there are {hosts} hosts and {addresses} values of hostaddr; give one for each host"
        )
    } else if ports > 1 && ports != targets {
        format!("there are {targets} hosts and {ports} ports; give one port, or one for each host")
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorKind::Config, message))
}

impl ConnectConfig {
    /// Connects to the first usable endpoint, and returns that endpoint too.
    pub(super) async fn open_somewhere(&self) -> Result<(Client, Connection, Endpoint)> {
        if Handle::try_current().is_err() {
            return Err(Error::new(
                ErrorKind::Config,
                "connections need a tokio runtime; call this from a task of a runtime",
            ));
        }
        let mut budget = Budget::new(self);
        let mut tried = Vec::new();
        let targets = self.targets();
        for (index, target) in targets.iter().enumerate() {
            let others = targets.len() - index - 1;
            let limit = budget.limit(1 + others);
            let addresses = match timeout(limit, self.addresses(target)).await {
                Ok(Ok(addresses)) => addresses,
                Ok(Err(cause)) => {
                    let kind = ErrorKind::Connect;
                    tried.push((target.to_string(), Refusal { kind, cause }));
                    continue;
                }
                Err(_) => {
                    tried.push((target.to_string(), Refusal::no_answer(limit)));
                    continue;
                }
            };
            budget.count(addresses.len() + others);
            for (index, &address) in addresses.iter().enumerate() {
                let limit = budget.limit(addresses.len() - index + others);
                let endpoint = Endpoint {
                    target: target.clone(),
                    address,
                };
                match self.open_within(limit, &endpoint).await {
                    Ok((client, connection)) => return Ok((client, connection, endpoint)),
                    Err(refusal) => {
                        let is_last = refusal.kind == ErrorKind::Authentication;
                        tried.push((endpoint.name(addresses.len()), refusal));
                        if is_last {
                            return Err(self.failure(tried));
                        }
                    }
                }
            }
        }
        Err(self.failure(tried))
    }

    /// Connects to an endpoint that was usable before.
    pub(super) async fn open_at(&self, endpoint: &Endpoint) -> Result<(Client, Connection)> {
        let limit = Budget::new(self).limit(1);
        let opened = self.open_within(limit, endpoint).await;
        opened.map_err(|refusal| self.failure(vec![(endpoint.name(1), refusal)]))
    }

    async fn open_within(
        &self,
        limit: Duration,
        endpoint: &Endpoint,
    ) -> Result<(Client, Connection), Refusal> {
        match timeout(limit, self.open_endpoint(endpoint)).await {
            Ok(opened) => opened,
            Err(_) => Err(Refusal::no_answer(limit)),
        }
    }

    async fn open_endpoint(&self, endpoint: &Endpoint) -> Result<(Client, Connection), Refusal> {
        let target = &endpoint.target;
        let name = target.host.as_ref().map(passfile::name);
        let name = name.unwrap_or_else(|| target.to_string());
        let password = self.password.look_up(&name, target.port, &self.config);
        let password = password.await.map_err(|cause| Refusal {
            kind: ErrorKind::Authentication,
            cause: Error::with_source(
                ErrorKind::Authentication,
                "the password provider failed",
                cause,
            )
            .into(),
        })?;
        let mut config = self.for_endpoint(endpoint);
        if let Some(password) = password {
            config.password(password);
        }
        let tls = self.tls.connector().map_err(Refusal::of_setting)?;
        let (client, mut connection) = match config.connect(tls.clone()).await.map_err(Refusal::of)
        {
            // The mode `prefer` allows a connection without TLS.
            Err(refusal)
                if refusal.kind == ErrorKind::Tls && config.get_ssl_mode() == SslMode::Prefer =>
            {
                tracing::warn!(error = %refusal, "no TLS with {target}, connecting without it");
                config.ssl_mode(SslMode::Disable);
                config.connect(tls).await.map_err(Refusal::of)
            }
            opened => opened,
        }?;
        if self.needs_primary {
            let checked = session::drive(&mut connection, session::refuse_replica(&client));
            checked.await.map_err(Refusal::not_a_primary)?;
        }
        Ok((client, connection))
    }

    /// Returns the hosts in the order of the attempts.
    fn targets(&self) -> Vec<Target> {
        let config = &self.config;
        let (hosts, addresses) = (config.get_hosts(), config.get_hostaddrs());
        let ports = config.get_ports();
        let mut targets: Vec<Target> = (0..hosts.len().max(addresses.len()))
            .map(|index| Target {
                host: hosts.get(index).cloned(),
                address: addresses.get(index).copied(),
                port: ports.get(index).or(ports.first()).copied().unwrap_or(5432),
            })
            .collect();
        self.balance(&mut targets);
        targets
    }

    /// Returns the addresses of a host in the order of the attempts. A Unix socket has none.
    async fn addresses(&self, target: &Target) -> Result<Vec<Option<IpAddr>>, Cause> {
        let name = match (&target.host, target.address) {
            (Some(Host::Tcp(name)), None) => name,
            (_, address) => return Ok(vec![address]),
        };
        let found = tokio::net::lookup_host((&**name, target.port)).await?;
        let mut addresses: Vec<_> = found.map(|address| Some(address.ip())).collect();
        if addresses.is_empty() {
            return Err("the host name has no address".into());
        }
        self.balance(&mut addresses);
        Ok(addresses)
    }

    fn balance<T>(&self, list: &mut [T]) {
        if self.config.get_load_balance_hosts() == LoadBalanceHosts::Random {
            fastrand::shuffle(list);
        }
    }

    /// Returns the configuration for a single endpoint, without the password.
    fn for_endpoint(&self, endpoint: &Endpoint) -> Config {
        let all = &self.config;
        let mut config = Config::new();
        config
            .port(endpoint.target.port)
            .ssl_mode(all.get_ssl_mode())
            .ssl_negotiation(all.get_ssl_negotiation())
            .keepalives(all.get_keepalives())
            .keepalives_idle(all.get_keepalives_idle())
            .target_session_attrs(all.get_target_session_attrs())
            .channel_binding(all.get_channel_binding());
        match &endpoint.target.host {
            Some(Host::Tcp(name)) => {
                config.host(name);
            }
            #[cfg(unix)]
            Some(Host::Unix(path)) => {
                config.host_path(path);
            }
            None => {}
        }
        if let Some(address) = endpoint.address {
            config.hostaddr(address);
        }
        if let Some(user) = all.get_user() {
            config.user(user);
        }
        if let Some(name) = all.get_dbname() {
            config.dbname(name);
        }
        if let Some(options) = all.get_options() {
            config.options(options);
        }
        if let Some(name) = all.get_application_name() {
            config.application_name(name);
        }
        if let Some(limit) = all.get_tcp_user_timeout() {
            config.tcp_user_timeout(*limit);
        }
        if let Some(interval) = all.get_keepalives_interval() {
            config.keepalives_interval(interval);
        }
        if let Some(retries) = all.get_keepalives_retries() {
            config.keepalives_retries(retries);
        }
        config
    }

    /// Returns the error of all attempts. The last attempt determines its kind.
    fn failure(&self, mut tried: Vec<(String, Refusal)>) -> Error {
        let message = format!("cannot connect to {self}");
        match tried.pop() {
            None => Error::new(ErrorKind::Config, format!("{message}: no host is given")),
            Some((_, Refusal { kind, cause })) if tried.is_empty() => {
                Error::with_source(kind, message, cause)
            }
            Some((name, Refusal { kind, cause })) => {
                let mut names = String::new();
                for (name, refusal) in tried {
                    names.push_str(&format!("{name}: {refusal}; "));
                }
                names.push_str(&name);
                Error::with_source(kind, message, Tried { names, last: cause })
            }
        }
    }
}

/// Lists every endpoint with its cause. The cause of the last one is the source of the error.
#[derive(Debug)]
struct Tried {
    names: String,
    last: Cause,
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names)
    }
}

impl StdError for Tried {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&*self.last)
    }
}

/// Divides the time limit among endpoints.
struct Budget {
    each: Duration,
    /// The deadline that all endpoints share.
    end: Option<Instant>,
    /// Whether several endpoints share the time. Then the last one must leave some time for the statements after the
    /// connection.
    is_shared: bool,
}

impl Budget {
    fn new(config: &ConnectConfig) -> Self {
        let each = config.config.get_connect_timeout().copied();
        Self {
            each: each.unwrap_or(config.total.unwrap_or(CONNECT_TIMEOUT)),
            end: config.total.map(|total| Instant::now() + total),
            is_shared: false,
        }
    }

    /// Records how many endpoints share the remaining time.
    fn count(&mut self, endpoints: usize) {
        self.is_shared |= endpoints > 1;
    }

    /// Returns the time for one endpoint when `left` endpoints remain.
    fn limit(&self, left: usize) -> Duration {
        let Some(end) = self.end else {
            return self.each;
        };
        let shares = left + usize::from(self.is_shared);
        let shares = u32::try_from(shares).unwrap_or(u32::MAX).max(1);
        let share = end.saturating_duration_since(Instant::now()) / shares;
        self.each.min(share)
    }
}

impl Endpoint {
    /// Returns the host, with the address if it has several.
    fn name(&self, addresses: usize) -> String {
        match self.address {
            Some(address) if addresses > 1 => format!("{} ({address})", self.target),
            _ => self.target.to_string(),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.host, self.address) {
            (Some(Host::Tcp(name)), _) => write!(f, "{name}:{}", self.port),
            #[cfg(unix)]
            (Some(Host::Unix(path)), None) => write!(f, "{}:{}", path.display(), self.port),
            (_, Some(address)) => write!(f, "{address}:{}", self.port),
            #[cfg(unix)]
            (None, None) => write!(f, ":{}", self.port),
        }
    }
}
