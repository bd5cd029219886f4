//! Implements `sslmode` and `sslrootcert` with rustls.

use std::error::Error as StdError;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode as Negotiation};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::error::{Error, ErrorKind, Result};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SslMode {
    Disable,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

#[derive(Clone, Debug)]
enum RootCertificates {
    System,
    File(PathBuf),
}

/// The TLS part of a connection string.
#[derive(Debug, Default)]
pub(super) struct SslSettings {
    mode: Option<SslMode>,
    roots: Option<RootCertificates>,
}

impl SslSettings {
    /// Takes an option if it concerns TLS, and returns whether it does.
    pub(super) fn take(&mut self, key: &str, value: &str) -> Result<bool> {
        match key {
            "sslmode" => self.mode = Some(parse_mode(value)?),
            "sslrootcert" => {
                self.roots = Some(match value {
                    "system" => RootCertificates::System,
                    path => RootCertificates::File(path.into()),
                });
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The settings of a configuration whose certificates are not checked.
    pub(super) fn of_negotiation(negotiation: Negotiation) -> Self {
        let mode = match negotiation {
            Negotiation::Disable => SslMode::Disable,
            Negotiation::Require => SslMode::Require,
            _ => SslMode::Prefer,
        };
        Self {
            mode: Some(mode),
            roots: None,
        }
    }

    pub(super) fn has_mode(&self) -> bool {
        self.mode.is_some()
    }

    pub(super) fn has_roots(&self) -> bool {
        self.roots.is_some()
    }
}

fn parse_mode(word: &str) -> Result<SslMode> {
    Ok(match word {
        "disable" => SslMode::Disable,
        "prefer" => SslMode::Prefer,
        "require" => SslMode::Require,
        "verify-ca" => SslMode::VerifyCa,
        "verify-full" => SslMode::VerifyFull,
        _ => {
            let modes = "disable, prefer, require, verify-ca or verify-full";
            let message = format!("sslmode must be {modes}");
            return Err(Error::new(ErrorKind::Config, message));
        }
    })
}

/// Makes the TLS connectors of connections.
#[derive(Clone)]
pub(super) struct Tls {
    connector: MakeRustlsConnect,
    /// The mode and file for which a connector is made again; `None` if it stays the same.
    file: Option<(SslMode, RootCertificates)>,
}

impl Tls {
    /// Takes the program's own configuration.
    pub(super) fn given(config: ClientConfig) -> Self {
        Self {
            connector: MakeRustlsConnect::new(config),
            file: None,
        }
    }

    /// Returns the connector for a connection. Reads the file of root certificates again, because certificates are replaced
    /// while programs run.
    pub(super) fn connector(&self) -> Result<MakeRustlsConnect> {
        match &self.file {
            Some((mode, roots)) => connector(*mode, roots),
            None => Ok(self.connector.clone()),
        }
    }
}

/// Sets how `config` negotiates TLS, and makes the connectors for it.
pub(super) fn configure(
    config: &mut Config,
    ssl: &SslSettings,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Tls> {
    // The default file of root certificates, as in libpq.
    let in_home = env("HOME").map(|home| Path::new(&home).join(".postgresql/root.crt"));
    let in_home = in_home
        .filter(|path| path.exists())
        .map(RootCertificates::File);
    let mode = match (ssl.mode, &ssl.roots) {
        // Anyone can obtain a certificate of the system's authorities, so only the name identifies the server.
        (None | Some(SslMode::VerifyFull), Some(RootCertificates::System)) => SslMode::VerifyFull,
        (Some(_), Some(RootCertificates::System)) => {
            let message = "sslrootcert=system needs sslmode=verify-full";
            return Err(Error::new(ErrorKind::Config, message));
        }
        (Some(SslMode::Require), roots) if roots.is_some() || in_home.is_some() => {
            SslMode::VerifyCa
        }
        (mode, _) => mode.unwrap_or(SslMode::Prefer),
    };
    config.ssl_mode(match mode {
        _ if has_only_sockets(config) => Negotiation::Disable,
        SslMode::Disable => Negotiation::Disable,
        SslMode::Prefer => Negotiation::Prefer,
        SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => Negotiation::Require,
    });
    let roots = ssl
        .roots
        .clone()
        .or(in_home)
        .unwrap_or(RootCertificates::System);
    let connector = connector(mode, &roots)?;
    let is_read = matches!(mode, SslMode::VerifyCa | SslMode::VerifyFull)
        && matches!(roots, RootCertificates::File(_));
    let file = is_read.then_some((mode, roots));
    Ok(Tls { connector, file })
}

/// Returns whether no host is reached by TCP.
pub(super) fn has_only_sockets(config: &Config) -> bool {
    // A `hostaddr` is reached by TCP, even if the host is a socket directory.
    config.get_hostaddrs().is_empty()
        && config
            .get_hosts()
            .iter()
            .all(|host| !matches!(host, Host::Tcp(_)))
}

fn connector(mode: SslMode, roots: &RootCertificates) -> Result<MakeRustlsConnect> {
    let provider = Arc::new(ring::default_provider());
    let check = match mode {
        SslMode::Disable | SslMode::Prefer | SslMode::Require => Check::Nothing,
        SslMode::VerifyCa => Check::Chain(verifier(roots, &provider)?),
        SslMode::VerifyFull => Check::ChainAndName(verifier(roots, &provider)?),
    };
    let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|cause| Error::with_source(ErrorKind::Tls, "cannot set up TLS", cause))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(ByMode { check, provider }))
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(client))
}

/// Returns the configuration for a connection other than to PostgreSQL, whose server is checked against the system's root
/// certificates.
#[cfg(feature = "distributor")]
pub(crate) fn system_tls() -> Result<ClientConfig> {
    Ok(
        ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|cause| Error::with_source(ErrorKind::Tls, "cannot set up TLS", cause))?
            .with_root_certificates(roots_of_system()?)
            .with_no_client_auth(),
    )
}

fn verifier(
    roots: &RootCertificates,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>> {
    let roots = match roots {
        RootCertificates::File(path) => roots_in_file(path)?,
        RootCertificates::System => roots_of_system()?,
    };
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|cause| {
            Error::with_source(
                ErrorKind::Config,
                "the root certificates are unusable",
                cause,
            )
        })
}

fn roots_in_file(path: &Path) -> Result<RootCertStore> {
    let fail = |cause: Box<dyn StdError + Send + Sync>| {
        let message = format!("sslrootcert {} holds no usable certificate", path.display());
        Error::with_source(ErrorKind::Config, message, cause)
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|cause| fail(cause.into()))? {
        let certificate = certificate.map_err(|cause| fail(cause.into()))?;
        roots.add(certificate).map_err(|cause| fail(cause.into()))?;
    }
    if roots.is_empty() {
        return Err(fail(
            "the file has no PEM section of type CERTIFICATE".into(),
        ));
    }
    Ok(roots)
}

fn roots_of_system() -> Result<RootCertStore> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let message =
            "the system has no root certificates; give sslrootcert a file, or use tls_config()";
        return Err(match found.errors.into_iter().next() {
            Some(cause) => Error::with_source(ErrorKind::Config, message, cause),
            None => Error::new(ErrorKind::Config, message),
        });
    }
    Ok(roots)
}

/// Returns whether a connection attempt failed in the TLS handshake.
pub(super) fn is_tls_failure(error: &tokio_postgres::Error) -> bool {
    let cause = error.source();
    let by_rustls = cause
        .and_then(|cause| cause.downcast_ref::<io::Error>())
        .and_then(io::Error::get_ref)
        .is_some_and(|inner| inner.is::<rustls::Error>());
    // The error "server does not support TLS" has no type of its own.
    by_rustls || cause.is_some_and(|cause| cause.to_string().contains("TLS"))
}

#[derive(Debug)]
enum Check {
    Nothing,
    Chain(Arc<WebPkiServerVerifier>),
    ChainAndName(Arc<WebPkiServerVerifier>),
}

/// Checks the server's certificate as the mode requires.
#[derive(Debug)]
struct ByMode {
    check: Check,
    provider: Arc<CryptoProvider>,
}

impl ByMode {
    /// Verifies a signature, unless the mode does not check the certificate.
    fn unless_unchecked(
        &self,
        verify: impl FnOnce(
            &WebPkiSupportedAlgorithms,
        ) -> Result<HandshakeSignatureValid, rustls::Error>,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        match self.check {
            Check::Nothing => Ok(HandshakeSignatureValid::assertion()),
            Check::Chain(_) | Check::ChainAndName(_) => {
                verify(&self.provider.signature_verification_algorithms)
            }
        }
    }
}

impl ServerCertVerifier for ByMode {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verify = |verifier: &WebPkiServerVerifier| {
            verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
        };
        match &self.check {
            Check::Nothing => Ok(ServerCertVerified::assertion()),
            Check::ChainAndName(verifier) => verify(verifier),
            // The chain is checked before the name, so an error about the name means that the chain is valid.
            Check::Chain(verifier) => match verify(verifier) {
                Err(rustls::Error::InvalidCertificate(
                    CertificateError::NotValidForName
                    | CertificateError::NotValidForNameContext { .. },
                )) => Ok(ServerCertVerified::assertion()),
                result => result,
            },
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.unless_unchecked(|algorithms| verify_tls12_signature(message, cert, dss, algorithms))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.unless_unchecked(|algorithms| verify_tls13_signature(message, cert, dss, algorithms))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
