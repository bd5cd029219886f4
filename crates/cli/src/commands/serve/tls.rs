//! TLS, with a certificate that is read again when it changes.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use pgherald_distributor::__private::FileState;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::failure::Failure;

/// How often the files are compared with what was read.
const INTERVAL: Duration = Duration::from_secs(5);

/// The certificate and its key, as they were last read.
#[derive(Debug)]
struct Certificate {
    files: Files,
    provider: Arc<CryptoProvider>,
    current: RwLock<Arc<CertifiedKey>>,
}

#[derive(Debug)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

/// Returns the settings of a server with this certificate. `None` without one.
pub(super) fn config(
    certificate: Option<&Path>,
    key: Option<&Path>,
) -> Result<Option<ServerConfig>, Failure> {
    let (Some(certificate), Some(key)) = (certificate, key) else {
        return Ok(None);
    };
    let files = Files {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
    };
    let provider = Arc::new(ring::default_provider());
    let state = files.state();
    let read = files.read(&provider).map_err(|problem| {
        Failure::usage(problem)
            .hint("--tls-cert is the chain of certificates in PEM, that of the server first; --tls-key its private key in PEM")
    })?;
    let current = RwLock::new(Arc::new(read));
    let certificate = Arc::new(Certificate {
        files,
        provider: Arc::clone(&provider),
        current,
    });
    let config =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| Failure::problem(format!("cannot use TLS: {error}")))?;
    let resolver = Arc::clone(&certificate);
    tokio::spawn(read_again(certificate, state));
    Ok(Some(
        config.with_no_client_auth().with_cert_resolver(resolver),
    ))
}

impl Files {
    fn state(&self) -> [FileState; 2] {
        [&self.certificate, &self.key].map(|path| FileState::of(path))
    }

    fn read(&self, provider: &CryptoProvider) -> Result<CertifiedKey, String> {
        let Self { certificate, key } = self;
        let chain = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect);
        let chain: Vec<_> =
            chain.map_err(|error| format!("cannot read {}: {error}", certificate.display()))?;
        if chain.is_empty() {
            return Err(format!("{} has no certificate", certificate.display()));
        }
        let read = PrivateKeyDer::from_pem_file(key);
        let read = read.map_err(|error| format!("cannot read {}: {error}", key.display()))?;
        CertifiedKey::from_der(chain, read, provider).map_err(|error| {
            format!(
                "cannot use the certificate in {} with the key in {}: {error}",
                certificate.display(),
                key.display()
            )
        })
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(&current))
    }
}

/// Reads the files again after each change. Files that cannot be used, for example while only one of them has been replaced, change
/// nothing.
async fn read_again(certificate: Arc<Certificate>, mut state: [FileState; 2]) {
    loop {
        tokio::time::sleep(INTERVAL).await;
        let now = certificate.files.state();
        if now == state {
            continue;
        }
        state = now;
        match certificate.files.read(&certificate.provider) {
            Ok(read) => {
                let current = certificate.current.write();
                *current.unwrap_or_else(PoisonError::into_inner) = Arc::new(read);
                tracing::info!("the certificate was read again");
            }
            Err(problem) => {
                tracing::error!(problem, "the earlier certificate stays in use");
            }
        }
    }
}
