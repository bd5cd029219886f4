//! Where the database is and how to reach it: libpq's URLs, key/value strings and `PG*` variables, with
//! TLS by rustls.

mod conninfo;
mod environment;
mod passfile;
mod tls;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use tokio_postgres::config::Host;
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::error::{Error, Kind, Result};

/// The connection half that must be driven for the client half to work.
pub(crate) type Connection =
    tokio_postgres::Connection<Socket, <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>;

/// What the server shows as `application_name` unless the connection string says otherwise.
const APPLICATION_NAME: &str = "pgherald";

/// How to connect to a database.
///
/// Parsed from what libpq understands: a URL (`postgresql://user:password@host:port/database?sslmode=…`)
/// or a key/value string (`host=… dbname=…`). What it leaves open comes from the `PG*` variables
/// (`PGHOST`, `PGPORT`, `PGUSER`, `PGPASSWORD`, `PGPASSFILE`, `PGDATABASE`, `PGSSLMODE`,
/// `PGSSLROOTCERT`, `PGAPPNAME`, `PGOPTIONS`, `PGCONNECT_TIMEOUT`, `PGTARGETSESSIONATTRS`), then from
/// `~/.pgpass`, then from defaults: the local socket directory or `localhost`, and the name of the
/// operating system's user.
///
/// `sslmode` is one of
///
/// | mode | encrypted | certificate |
/// |---|---|---|
/// | `disable` | no | |
/// | `prefer` (default) | if the server can | not checked |
/// | `require` | yes | not checked, unless `sslrootcert` is given: then as `verify-ca` |
/// | `verify-ca` | yes | signed by a trusted root |
/// | `verify-full` | yes | signed by a trusted root, and made out to the host |
///
/// `sslrootcert` is a PEM file or the word `system`. Without it, trusted are the certificates in
/// `~/.postgresql/root.crt` if that exists, else the operating system's. Client certificates are not
/// supported.
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
    tls: MakeRustlsConnect,
}

impl ConnectConfig {
    /// A configuration from the `PG*` variables and defaults alone.
    ///
    /// # Errors
    /// If a variable cannot be used or a root certificate cannot be read.
    pub fn from_env() -> Result<Self> {
        "".parse()
    }

    fn parse(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        let (mut config, mut ssl) = conninfo::parse(text)?;
        environment::fill(&mut config, &mut ssl, env)?;
        if config.get_application_name().is_none() {
            config.application_name(APPLICATION_NAME);
        }
        let tls = tls::configure(&mut config, &ssl, env)?;
        Ok(Self { config, tls })
    }

    /// Sets what the server shows as `application_name`.
    #[must_use]
    pub fn application_name(mut self, name: &str) -> Self {
        self.config.application_name(name);
        self
    }

    /// Tells the kernel to give up on a peer that does not acknowledge what was sent for this long.
    pub(crate) fn default_tcp_user_timeout(&mut self, timeout: Duration) {
        if self.config.get_tcp_user_timeout().is_none() {
            self.config.tcp_user_timeout(timeout);
        }
    }

    /// Connects, and drives the connection on the current tokio runtime for as long as the client lives.
    ///
    /// Meant for everything but listening, which is [`NotifySource`](crate::NotifySource)'s.
    ///
    /// # Errors
    /// If the server cannot be reached or refuses; see [`Error::is_authentication`].
    pub async fn client(&self) -> Result<Client> {
        let (client, connection) = self.open().await?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended");
            }
        });
        Ok(client)
    }

    /// Connects; the caller drives the connection.
    pub(crate) async fn open(&self) -> Result<(Client, Connection)> {
        self.config
            .connect(self.tls.clone())
            .await
            .map_err(|cause| self.refusal(cause))
    }

    fn refusal(&self, cause: tokio_postgres::Error) -> Error {
        let credentials = [
            SqlState::INVALID_PASSWORD,
            SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
        ];
        let kind = match cause.code() {
            Some(code) if credentials.contains(code) => Kind::Authentication,
            None if tls::is_tls_failure(&cause) => Kind::Tls,
            _ => Kind::Connect,
        };
        Error::with_source(kind, format!("cannot connect to {self}"), cause)
    }
}

impl FromStr for ConnectConfig {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
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
        f.debug_tuple("ConnectConfig").field(&self.config).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::ConnectConfig;

    fn parse(text: &str, env: &[(&str, &str)]) -> crate::Result<ConnectConfig> {
        ConnectConfig::parse(text, &|name| {
            env.iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn urls_key_value_strings_and_variables_mean_the_same() {
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
    fn what_the_string_says_wins_over_the_environment() {
        let env = [
            ("PGHOST", "other"),
            ("PGUSER", "other"),
            ("PGPASSWORD", "secret"),
        ];
        let config = parse("postgresql://u@h/d", &env).unwrap();
        assert_eq!(config.to_string(), "u@h:5432/d");
        assert_eq!(config.config.get_password(), Some(b"secret".as_slice()));
        assert!(!format!("{config:?}").contains("secret"));
    }

    #[test]
    fn bad_settings_are_named() {
        for (text, part) in [
            ("postgresql://h/d?sslmode=maybe", "sslmode"),
            (
                "postgresql://h/d?sslrootcert=/nowhere.pem&sslmode=verify-full",
                "/nowhere.pem",
            ),
            ("host=h colour=red", "colour"),
            ("host='h", "quote"),
            ("host", "="),
            ("postgresql://h:port/d", "port"),
        ] {
            let error = parse(text, &[]).expect_err(text);
            assert!(error.is_config(), "{error:?}");
            assert!(error.chain().contains(part), "{text}: {}", error.chain());
        }
        let error = parse("", &[("PGPORT", "many")]).unwrap_err();
        assert!(
            error.is_config() && error.chain().contains("PGPORT"),
            "{}",
            error.chain()
        );
    }
}
