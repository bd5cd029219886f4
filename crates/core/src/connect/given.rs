//! Takes configurations of `tokio_postgres` and rustls that the program has made.

use tokio_postgres::Config;
use tokio_postgres::config::SslMode as Negotiation;

use super::pooler::Checked;
use super::tls::{self, SslSettings, Tls};
use super::{APPLICATION_NAME, ConnectConfig, Password, hosts};
use crate::error::{Error, ErrorKind, Result};

/// Takes the configuration as it is: neither `PG*` variables nor the password file add anything.
///
/// `ssl_mode` only decides whether connections are encrypted: certificates are not checked. Use
/// [`tls_config`](ConnectConfig::tls_config) to have them checked.
///
/// ```
/// use pgherald_core::ConnectConfig;
///
/// let mut config = tokio_postgres::Config::new();
/// config.host("db.example.org").user("app").dbname("shop");
/// let config = ConnectConfig::try_from(config)?;
/// assert_eq!(config.to_string(), "app@db.example.org:5432/shop");
/// # Ok::<(), pgherald_core::Error>(())
/// ```
///
/// # Errors
/// If there is no host, or the numbers of hosts, addresses and ports do not match.
impl TryFrom<Config> for ConnectConfig {
    type Error = Error;

    fn try_from(mut config: Config) -> Result<Self> {
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(Error::new(ErrorKind::Config, "no host is given"));
        }
        hosts::check(&config)?;
        if config.get_application_name().is_none() {
            config.application_name(APPLICATION_NAME);
        }
        let ssl = SslSettings::of_negotiation(config.get_ssl_mode());
        let nothing = |_: &str| None;
        Ok(Self {
            password: Password::find(&config, &nothing),
            tls: tls::configure(&mut config, &ssl, &nothing)?,
            config,
            total: None,
            needs_primary: false,
            checked: Checked::default(),
        })
    }
}

impl ConnectConfig {
    /// Uses a TLS configuration of your own: for client certificates, roots in memory, or another crypto provider.
    ///
    /// It replaces `sslmode` and `sslrootcert`: connections are encrypted or fail, and the server's certificate is checked as
    /// `tls` says. The name to check is that of the host. A Unix socket is never encrypted.
    ///
    /// ```no_run
    /// use pgherald_core::ConnectConfig;
    /// use rustls::pki_types::pem::PemObject;
    /// use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut roots = rustls::RootCertStore::empty();
    /// roots.add(CertificateDer::from_pem_file("ca.crt")?)?;
    /// let tls = rustls::ClientConfig::builder()
    ///     .with_root_certificates(roots)
    ///     .with_client_auth_cert(
    ///         vec![CertificateDer::from_pem_file("app.crt")?],
    ///         PrivateKeyDer::from_pem_file("app.key")?,
    ///     )?;
    /// let config: ConnectConfig = "postgresql://app@db.example.org/shop".parse()?;
    /// let config = config.tls_config(tls);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn tls_config(mut self, tls: rustls::ClientConfig) -> Self {
        if !tls::has_only_sockets(&self.config) {
            self.config.ssl_mode(Negotiation::Require);
        }
        self.tls = Tls::given(tls);
        self
    }

    /// Returns the configuration for `tokio_postgres`, for a pool of the program for example. It has everything except TLS,
    /// and of passwords only one that the connection string or `PGPASSWORD` gives.
    #[must_use]
    pub fn postgres_config(&self) -> &Config {
        &self.config
    }
}

#[cfg(test)]
mod tests {
    use tokio_postgres::Config;
    use tokio_postgres::config::SslMode;

    use crate::{ConnectConfig, ErrorKind};

    #[test]
    fn a_config_of_tokio_postgres_is_taken_as_it_is_and_returned() {
        let given: Config =
            "host=a,b port=1,2 user=u password=p dbname=d sslmode=require connect_timeout=3"
                .parse()
                .unwrap();
        let config = ConnectConfig::try_from(given.clone()).unwrap();
        assert_eq!(config.to_string(), "u@a:1,b:2/d");
        let mut with_name = given;
        with_name.application_name("pgherald");
        assert_eq!(*config.postgres_config(), with_name);
    }

    #[test]
    fn a_config_without_a_host_or_with_too_many_ports_is_refused() {
        let error = ConnectConfig::try_from(Config::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        let ports: Config = "host=a port=1,2".parse().unwrap();
        let error = ConnectConfig::try_from(ports).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
    }

    #[test]
    fn a_tls_config_makes_tls_mandatory_except_on_a_socket() {
        let mode = |url: &str| {
            let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
            let tls = rustls::ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(rustls::RootCertStore::empty())
                .with_no_client_auth();
            let config: ConnectConfig = url.parse().unwrap();
            config.tls_config(tls).postgres_config().get_ssl_mode()
        };
        assert_eq!(mode("host=a sslmode=disable"), SslMode::Require);
        assert_eq!(mode("host=/run/postgresql"), SslMode::Disable);
    }
}
