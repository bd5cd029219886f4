//! Connection settings: libpq's URLs, key/value strings and `PG*` variables, with TLS by rustls.

mod conninfo;
mod environment;
mod foreign;
mod given;
mod hosts;
mod options;
mod passfile;
mod password;
mod pooler;
pub(crate) mod resembles;
mod session;
mod tls;
mod url;

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::str::FromStr;
use std::time::Duration;

use tokio_postgres::config::{Host, TargetSessionAttrs};
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use password::Password;
use pooler::Checked;
use tls::Tls;

use crate::error::{Error, ErrorKind, Result};

pub(crate) use password::provided;
pub(crate) use session::{NEVER_IDLE_TOO_LONG, refuse_replica};
#[cfg(feature = "distributor")]
pub(crate) use {password::Provider, tls::system_tls};

/// The half of a connection that must be driven for the client to work.
pub(crate) type Connection =
    tokio_postgres::Connection<Socket, <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>;

/// The default `application_name` of sessions.
const APPLICATION_NAME: &str = "pgherald";

/// How to connect to a database.
///
/// Parsed from a connection string of libpq: a URL (`postgresql://user:password@host:port/database?sslmode=…`) or a key/value
/// string (`host=… dbname=…`). Missing options come from the `PG*` variables (`PGHOST`, `PGHOSTADDR`, `PGPORT`, `PGUSER`,
/// `PGPASSWORD`, `PGPASSFILE`, `PGDATABASE`, `PGSSLMODE`, `PGSSLROOTCERT`, `PGAPPNAME`, `PGOPTIONS`, `PGCONNECT_TIMEOUT`,
/// `PGTARGETSESSIONATTRS`), then from `~/.pgpass`, then from defaults: the local socket directory or `localhost`, and the
/// name of the operating system's user.
///
/// A variable whose value is not UTF-8 is refused. So are variables that must not be ignored silently: `PGSERVICE` unless the
/// string has both host and database, `PGREQUIREAUTH`, `PGREQUIREPEER`, `PGSSLCRL`, `PGSSLCRLDIR`, `PGSSLCERTMODE=require`,
/// `PGCHANNELBINDING=require`, `PGGSSENCMODE=require`, `PGSSLMINPROTOCOLVERSION=TLSv1.3` and `PGSSLNEGOTIATION=direct`.
///
/// A URL is parsed as libpq parses it. If an option is given twice, the last one applies. A URL is refused if libpq might
/// read another host from it than was intended: percent-encode an `@`, `/` or `?` in a password, and an `@` in the path
/// (`%40`, `%2F`, `%3F`). No error about a connection string shows its password.
///
/// `sslmode` is one of
///
/// | mode | encrypted | certificate |
/// |---|---|---|
/// | `disable` | no | |
/// | `prefer` (default) | if possible | not checked |
/// | `require` | yes | not checked, unless `sslrootcert` or `~/.postgresql/root.crt` exists: then as `verify-ca` |
/// | `verify-ca` | yes | must be signed by a trusted root |
/// | `verify-full` | yes | must be signed by a trusted root and issued for the host |
///
/// `sslrootcert` is a PEM file, or the word `system` for the operating system's certificates. As in libpq, `system` makes
/// `verify-full` the default and refuses weaker modes. Without `sslrootcert`, the certificates in `~/.postgresql/root.crt`
/// are trusted if that file exists, otherwise the operating system's (where libpq would refuse). For client certificates, see
/// [`tls_config`](Self::tls_config). A Unix socket is never encrypted.
///
/// **Several hosts** are tried in turn, as in libpq, and so are the addresses of one name. `connect_timeout` limits each
/// address. The limit includes TLS, authentication, start-up and the check of `target_session_attrs`, so a host that accepts
/// the connection and then hangs does not use up the time of the next one. The default is 30 s. Sources and consumers limit
/// an attempt as a whole and divide that time among the hosts. The next host is tried after any failure except refused
/// credentials, which end the attempt. `load_balance_hosts=random` shuffles hosts and addresses. The error lists every host
/// with its own cause.
///
/// **Credentials** are looked up for each connection: the password file and the file of root certificates are read again for
/// each host. For tokens that expire, see [`password_provider`](Self::password_provider).
///
/// ```
/// use pgherald_core::ConnectConfig;
///
/// let config: ConnectConfig = "postgresql://app@db.example.org/shop?sslmode=verify-full".parse()?;
/// assert_eq!(config.to_string(), "app@db.example.org:5432/shop");
/// # Ok::<(), pgherald_core::Error>(())
/// ```
#[derive(Clone)]
pub struct ConnectConfig {
    config: Config,
    tls: Tls,
    password: Password,
    /// The time limit of an attempt as a whole. All hosts share it.
    total: Option<Duration>,
    /// Whether replicas are rejected.
    needs_primary: bool,
    /// The endpoints that were checked for a transaction pooler.
    checked: Checked,
}

impl ConnectConfig {
    /// Returns a configuration from the `PG*` variables and defaults alone.
    ///
    /// # Errors
    /// If the value of a variable is invalid, or a root certificate cannot be read.
    pub fn from_env() -> Result<Self> {
        "".parse()
    }

    fn parse(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        let (mut config, mut ssl) = conninfo::parse(text)?;
        environment::fill(&mut config, &mut ssl, env)?;
        if config.get_application_name().is_none() {
            config.application_name(APPLICATION_NAME);
        }
        hosts::check(&config)?;
        let password = Password::find(&config, env);
        let tls = tls::configure(&mut config, &ssl, env)?;
        Ok(Self {
            config,
            tls,
            password,
            total: None,
            needs_primary: false,
            checked: Checked::default(),
        })
    }

    /// Sets the `application_name` of the sessions.
    #[must_use]
    pub fn application_name(mut self, name: &str) -> Self {
        self.config.application_name(name);
        self
    }

    /// Calls `provider` for the password of each connection, for tokens that expire, such as those of cloud providers or of a
    /// vault. The provider replaces every other password.
    ///
    /// Each connection that uses this configuration calls the provider once for each address that it tries: connections of
    /// sources, of consumers and their attempts, and of [`client`](Self::client). The call counts towards the time limit of
    /// the address. If the provider fails, the connection fails with [`ErrorKind::Authentication`], and sources and consumers
    /// retry later. The password is not logged. A provider that is called often should cache its token until shortly before
    /// it expires.
    ///
    /// ```
    /// use pgherald_core::ConnectConfig;
    ///
    /// # async fn fetch_token() -> Result<String, std::io::Error> { Ok(String::new()) }
    /// let config: ConnectConfig = "postgresql://app@db.example.org/shop?sslmode=verify-full".parse()?;
    /// let config = config.password_provider(|| async { fetch_token().await });
    /// # Ok::<(), pgherald_core::Error>(())
    /// ```
    #[must_use]
    pub fn password_provider<P, F, E>(mut self, provider: P) -> Self
    where
        P: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<String, E>> + Send + 'static,
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        self.password = Password::Provider(provided(provider));
        self
    }

    /// Adjusts the configuration for listening. The kernel drops the connection if the server does not acknowledge data for
    /// `silence`. Replicas are skipped if there are several hosts. All hosts share the time limit `connect`.
    pub(crate) fn for_listening(&mut self, role: &str, silence: Duration, connect: Duration) {
        self.total = Some(connect);
        // Operators distinguish sessions by name. A name that the program has chosen is kept.
        if self.config.get_application_name() == Some(APPLICATION_NAME) {
            self.config
                .application_name(format!("{APPLICATION_NAME} {role}"));
        }
        if self.config.get_tcp_user_timeout().is_none() {
            self.config.tcp_user_timeout(silence);
        }
        // Do not use `read-write`: it also skips a primary whose transactions are read-only by default.
        let attributes = self.config.get_target_session_attrs();
        self.needs_primary =
            self.config.get_hosts().len() > 1 && attributes == TargetSessionAttrs::Any;
    }

    /// Returns whether both lead to the same database of the same hosts.
    pub(crate) fn has_same_database(&self, other: &Self) -> bool {
        let (one, other) = (&self.config, &other.config);
        one.get_hosts() == other.get_hosts()
            && one.get_hostaddrs() == other.get_hostaddrs()
            && one.get_ports() == other.get_ports()
            && one.get_dbname() == other.get_dbname()
    }

    /// Returns the `application_name` of the sessions.
    pub(crate) fn name_of_session(&self) -> &str {
        self.config.get_application_name().unwrap_or_default()
    }

    /// Connects, and drives the connection on the current tokio runtime while the client exists.
    ///
    /// Use it for everything except LISTEN; [`NotifySource`](crate::NotifySource) listens. The session has the settings of
    /// its role and database.
    ///
    /// # Errors
    /// If the server cannot be reached or refuses the connection, see [`ErrorKind::Authentication`], or if there is no tokio
    /// runtime.
    pub async fn client(&self) -> Result<Client> {
        let (client, connection) = self.open().await?;
        drive(connection);
        Ok(client)
    }

    /// Opens a connection that may be idle without limit. Its other settings are those of its role and database, because user
    /// code runs on it.
    pub(crate) async fn lasting_client(&self) -> Result<Client> {
        let (client, mut connection) = self.open_unpooled().await?;
        session::drive(&mut connection, session::never_idle_too_long(&client)).await?;
        drive(connection);
        Ok(client)
    }

    /// Opens a connection for pgherald's statements, with the settings that they need.
    pub(crate) async fn session_client(&self) -> Result<Client> {
        let (client, mut connection) = self.open_unpooled().await?;
        session::drive(&mut connection, session::configure(&client)).await?;
        drive(connection);
        Ok(client)
    }

    /// Opens a connection that can listen, with the settings that pgherald's statements need. The caller drives it.
    ///
    /// Fails with [`ErrorKind::Pooler`] if a pooler gives the session another server process for each transaction, because the
    /// notifications of a LISTEN would reach other clients.
    pub(crate) async fn listening_session(&self) -> Result<(Client, Connection)> {
        self.checked.forget();
        let (client, mut connection) = self.open_unpooled().await?;
        session::drive(&mut connection, session::configure(&client)).await?;
        Ok((client, connection))
    }

    /// Opens a connection, which the caller drives. Fails with [`ErrorKind::Pooler`] behind a pooler in transaction
    /// mode.
    ///
    /// The check takes a second connection, so it runs once for each endpoint after each call of [`listening_session`].
    /// The other connections of a consumer need no check unless they lead to another host.
    ///
    /// [`listening_session`]: Self::listening_session
    async fn open_unpooled(&self) -> Result<(Client, Connection)> {
        let (client, mut connection, endpoint) = self.open_somewhere().await?;
        if !self.checked.has(&endpoint) {
            pooler::refuse(self, &endpoint, &client, &mut connection).await?;
        }
        Ok((client, connection))
    }

    /// Opens a connection, which the caller drives.
    pub(crate) async fn open(&self) -> Result<(Client, Connection)> {
        let (client, connection, _) = self.open_somewhere().await?;
        Ok((client, connection))
    }
}

/// Drives a connection on the current runtime.
pub(crate) fn drive(connection: Connection) {
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection ended");
        }
    });
}

impl FromStr for ConnectConfig {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        for (name, value) in std::env::vars_os() {
            if let Some(name) = name.to_str().filter(|name| name.starts_with("PG"))
                && value.to_str().is_none()
            {
                let message = format!("the value of {name} is not UTF-8");
                return Err(Error::new(ErrorKind::Config, message));
            }
        }
        Self::parse(text, &|name| std::env::var(name).ok())
    }
}

/// `user@host:port/database`, without the password.
impl fmt::Display for ConnectConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = self.config.get_user() {
            write!(f, "{user}@")?;
        }
        let ports = self.config.get_ports();
        for (index, host) in self.config.get_hosts().iter().enumerate() {
            let separator = if index > 0 { "," } else { "" };
            let port = ports.get(index).or(ports.last()).copied().unwrap_or(5432);
            match host {
                Host::Tcp(name) => write!(f, "{separator}{name}:{port}")?,
                #[cfg(unix)]
                Host::Unix(path) => write!(f, "{separator}{}:{port}", path.display())?,
            }
        }
        match self.config.get_dbname().or(self.config.get_user()) {
            Some(name) => write!(f, "/{name}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for ConnectConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ConnectConfig")
            .field(&self.config)
            .field(&self.password)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use tokio_postgres::config::SslMode;

    use super::ConnectConfig;

    fn parse(text: &str, env: &[(&str, &str)]) -> crate::Result<ConnectConfig> {
        ConnectConfig::parse(text, &|name| {
            env.iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn urls_pairs_and_variables_give_the_same_configuration() {
        let env = [
            ("PGHOST", "h"),
            ("PGPORT", "5433"),
            ("PGUSER", "u"),
            ("PGDATABASE", "d"),
        ];
        for (text, env) in [
            ("postgresql://u@h:5433/d?sslmode=disable", &[][..]),
            ("postgres://u@h:5433/d", &[]),
            (
                "host=h port=5433 user=u dbname='d' sslmode = 'require'",
                &[],
            ),
            ("", &env),
        ] {
            assert_eq!(
                parse(text, env).unwrap().to_string(),
                "u@h:5433/d",
                "{text}"
            );
        }
    }

    #[test]
    fn the_connection_string_overrides_the_environment() {
        let env = [
            ("PGHOST", "other"),
            ("PGUSER", "other"),
            ("PGPASSWORD", "secret"),
        ];
        let config = parse("postgresql://u@h/d", &env).unwrap();
        assert_eq!(config.to_string(), "u@h:5432/d");
        assert!(
            matches!(&config.password, super::Password::Fixed(password) if password == b"secret")
        );
        assert!(!format!("{config:?}").contains("secret"));
    }

    #[test]
    fn values_that_libpq_ignores_are_ignored() {
        let env = [
            ("PGCONNECT_TIMEOUT", "0"),
            ("PGPASSFILE", "/nowhere"),
            ("PGSSLMODE", "allow"),
        ];
        let config = parse("postgresql://u@h/d?sslmode=disable", &env).unwrap();
        assert_eq!(config.config.get_connect_timeout(), None);
        let config = parse("postgresql://u@h/d", &[("PGPORT", "5433")]).unwrap();
        assert_eq!(config.to_string(), "u@h:5433/d");
        let config = parse("postgresql://u@/d", &[("PGHOSTADDR", "127.0.0.1")]).unwrap();
        assert_eq!(config.to_string(), "u@127.0.0.1:5432/d");
        let mixed = parse("host=/tmp hostaddr=127.0.0.1 user=u sslmode=require", &[]).unwrap();
        assert_eq!(mixed.config.get_ssl_mode(), SslMode::Require);
        let config = parse("host=/tmp user=u sslmode=require", &[]).unwrap();
        assert_eq!(config.config.get_ssl_mode(), SslMode::Disable);
    }

    #[test]
    fn system_certificates_require_verify_full() {
        let weak = parse("postgresql://h/d?sslrootcert=system&sslmode=require", &[]);
        assert!(weak.unwrap_err().to_string().contains("verify-full"));
    }

    #[test]
    fn variables_that_must_not_be_ignored_are_refused() {
        for (text, name, value) in [
            ("", "PGSERVICE", "shop"),
            ("host=h", "PGSERVICE", "shop"),
            ("postgresql://h/d", "PGREQUIREAUTH", "scram-sha-256"),
            ("postgresql://h/d", "PGCHANNELBINDING", "require"),
            ("postgresql://h/d", "PGSSLMINPROTOCOLVERSION", "TLSv1.3"),
            ("postgresql://h/d", "PGREQUIREPEER", "postgres"),
            ("postgresql://h/d", "PGSSLCERTMODE", "require"),
        ] {
            let error = parse(text, &[(name, value)]).expect_err(name);
            assert!(error.is_config() && error.to_string().contains(name));
        }
        let variables = [("PGSERVICE", "shop"), ("PGHOSTADDR", "127.0.0.1")];
        let error = parse("dbname=d", &variables).unwrap_err().to_string();
        assert!(error.contains("unset it"), "{error}");
        for (name, value) in [
            ("PGSERVICE", "shop"),
            ("PGREQUIREAUTH", ""),
            ("PGCHANNELBINDING", "prefer"),
            ("PGSSLCERTMODE", "allow"),
        ] {
            parse("postgresql://u@h/d", &[(name, value)]).expect(name);
        }
        let by_address = "hostaddr=127.0.0.1 dbname=d";
        parse(by_address, &[("PGSERVICE", "shop")]).expect(by_address);
    }

    #[test]
    fn options_of_other_drivers_are_ignored_translated_or_refused_by_name() {
        let text = "postgresql://u@h/d?statement-cache-capacity=0&ssl-mode=require&connection_limit=5\
                    &options[search_path]=a%20b&options[work_mem]=8MB&application_name=shop";
        let config = parse(text, &[]).unwrap().config;
        assert_eq!(config.get_ssl_mode(), SslMode::Require);
        assert_eq!(
            config.get_options(),
            Some("-c search_path=a\\ b -c work_mem=8MB")
        );
        assert_eq!(config.get_application_name(), Some("shop"));
        for (option, way_out) in [
            ("schema=public", "search_path"),
            ("pgbouncer=true", "the server itself"),
            ("ssl=true", "sslmode=require"),
            ("sslidentity=c.p12", "tls_config"),
        ] {
            let error = parse(&format!("postgresql://h/d?{option}"), &[]).unwrap_err();
            let (name, _) = option.split_once('=').unwrap();
            let shown = error.chain();
            assert!(error.is_config() && shown.contains(name), "{shown}");
            assert!(shown.contains(way_out), "{shown}");
        }
    }

    #[test]
    fn bad_settings_are_named() {
        for (text, part) in [
            ("postgresql://h/d?sslmode=maybe", "sslmode"),
            (
                "postgresql://h/d?sslrootcert=/nowhere.pem&sslmode=verify-full",
                "/nowhere.pem",
            ),
            ("host=h colour=red", "unknown option"),
            ("host='h", "quote"),
            ("host", "="),
            ("postgresql://h:port/d", "port"),
            ("postgresql://u:secret@w0rd@h/d", "%40"),
        ] {
            let error = parse(text, &[]).expect_err(text);
            assert!(error.is_config(), "{error:?}");
            assert!(error.chain().contains(part), "{text}: {}", error.chain());
            assert!(!error.chain().contains("w0rd"), "{}", error.chain());
        }
        for (variable, value) in [
            ("PGHOST", "h,u:w0rd@h"),
            ("PGDATABASE", "postgresql://u:w0rd@h/d"),
            ("PGDATABASE", "host=h password = w0rd"),
            ("PGHOST", "postgres://u:w0rd"),
            ("PGHOST", "u:w0rd/h"),
            ("PGSERVICE", "w0rd"),
            ("PGDATABASE", "u:w0rd@h"),
            ("PGUSER", "u:w0rd@h"),
            ("PGHOSTADDR", "u:w0rd@h"),
            ("PGPORT", "w0rd"),
            ("PGTARGETSESSIONATTRS", "w0rd"),
        ] {
            let shown = parse("", &[(variable, value)]).unwrap_err().chain();
            assert!(
                shown.contains(variable) && !shown.contains("w0rd"),
                "{shown}"
            );
        }
        let error = parse("", &[("PGPORT", "many")]).unwrap_err();
        assert!(
            error.is_config() && error.chain().contains("PGPORT"),
            "{}",
            error.chain()
        );
    }
}
