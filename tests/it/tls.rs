//! `sslmode` and `sslrootcert`, with a server whose certificate has its own authority, and TLS configurations of the program.

use pgherald::rustls::pki_types::pem::PemObject;
use pgherald::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use pgherald::{ConnectConfig, ErrorKind, NotifySource, rustls, tokio_postgres};
use pgherald_testkit::Postgres;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use crate::support::{listen, live, source};

async fn encrypted(url: &str) -> Result<bool, pgherald::Error> {
    let config: ConnectConfig = url.parse()?;
    let sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    Ok(config
        .client()
        .await?
        .query_one(sql, &[])
        .await
        .unwrap()
        .get(0))
}

#[actix::test]
async fn each_sslmode_behaves_as_libpq_documents() {
    let server = Postgres::builder().tls().start().await.unwrap();
    let (ca, port) = (
        server.ca_certificate().unwrap().display().to_string(),
        server.port(),
    );
    let other = Postgres::builder().tls().start().await.unwrap();
    let other_ca = other.ca_certificate().unwrap().display().to_string();
    let url =
        |host: &str, tail: &str| format!("postgresql://postgres@{host}:{port}/postgres?{tail}");

    assert!(
        !encrypted(&url("localhost", "sslmode=disable"))
            .await
            .unwrap()
    );
    assert!(
        encrypted(&url("localhost", "sslmode=prefer"))
            .await
            .unwrap()
    );
    assert!(
        encrypted(&url("localhost", "sslmode=require"))
            .await
            .unwrap()
    );
    for mode in ["require", "verify-ca", "verify-full"] {
        let good = url("localhost", &format!("sslmode={mode}&sslrootcert={ca}"));
        assert!(encrypted(&good).await.unwrap(), "{mode}");
        let foreign = url(
            "localhost",
            &format!("sslmode={mode}&sslrootcert={other_ca}"),
        );
        let error = encrypted(&foreign).await.unwrap_err();
        assert!(
            error.is_connection() && error.chain().contains("certificate"),
            "{}",
            error.chain()
        );
    }
    // Another name of the same server, which its certificate does not cover.
    let other_name = |mode: &str| {
        format!(
            "host=db.example.org hostaddr=127.0.0.1 port={port} user=postgres sslmode={mode} sslrootcert={ca}"
        )
    };
    assert!(encrypted(&other_name("verify-ca")).await.unwrap());
    let error = encrypted(&other_name("verify-full")).await.unwrap_err();
    assert!(
        error.chain().contains("not valid for name"),
        "{}",
        error.chain()
    );

    let full = url(
        "localhost",
        &format!("sslmode=verify-full&sslrootcert={ca}"),
    );
    let (_listener, probe) = listen(source(&full)).await;
    live(&probe).await;
}

#[actix::test]
async fn a_server_without_tls_is_rejected_if_encryption_is_required() {
    let server = Postgres::shared().await.unwrap();
    let error = encrypted(&format!("{}?sslmode=require", server.url()))
        .await
        .unwrap_err();
    assert!(error.chain().contains("TLS"), "{}", error.chain());
    assert!(
        !encrypted(&format!("{}?sslmode=prefer", server.url()))
            .await
            .unwrap()
    );
}

#[actix::test]
async fn a_file_of_root_certificates_is_read_again_for_each_connection() {
    let server = Postgres::builder().tls().start().await.unwrap();
    let other = Postgres::builder().tls().start().await.unwrap();
    let file = server.data_dir().with_extension("roots.pem");
    let trust = |server: &Postgres| std::fs::copy(server.ca_certificate().unwrap(), &file).unwrap();
    trust(&other);
    let url = format!(
        "postgresql://postgres@localhost:{}/postgres?sslmode=verify-full&sslrootcert={}",
        server.port(),
        file.display()
    );
    let config: ConnectConfig = url.parse().unwrap();
    let error = config.client().await.unwrap_err();
    assert!(error.chain().contains("certificate"), "{}", error.chain());
    trust(&server);
    config.client().await.unwrap();
    std::fs::remove_file(&file).unwrap();
    let error = config.client().await.unwrap_err();
    assert!(
        error.is_retryable(),
        "the file may reappear: {}",
        error.chain()
    );
}

/// A user who needs a client certificate, on a server that trusts an authority made for it.
struct Certified {
    server: Postgres,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Certified {
    async fn start() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let authority = CertifiedIssuer::self_signed(params, key).unwrap();
        let server = Postgres::builder().tls().start().await.unwrap();
        let data = server.data_dir();
        std::fs::write(data.join("clients.crt"), authority.pem()).unwrap();
        let rules = std::fs::read_to_string(data.join("pg_hba.conf")).unwrap();
        let rules =
            format!("hostssl all certified all cert\nhost all certified all reject\n{rules}");
        std::fs::write(data.join("pg_hba.conf"), rules).unwrap();
        for sql in [
            "CREATE ROLE certified LOGIN",
            "ALTER SYSTEM SET ssl_ca_file = 'clients.crt'",
        ] {
            server.execute(sql).await.unwrap();
        }
        server.restart().await.unwrap();
        Self { server, authority }
    }

    /// A TLS configuration that trusts the server of `trusted`, and has the certificate of a user.
    fn tls(&self, trusted: &Postgres, user: &str) -> rustls::ClientConfig {
        let mut roots = rustls::RootCertStore::empty();
        let ca = CertificateDer::from_pem_file(trusted.ca_certificate().unwrap()).unwrap();
        roots.add(ca).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, user);
        let certificate = params.signed_by(&key, &self.authority).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![certificate.der().clone()], key)
            .unwrap()
    }

    fn config(&self) -> ConnectConfig {
        let mut config = tokio_postgres::Config::new();
        config
            .host("localhost")
            .port(self.server.port())
            .user("certified")
            .dbname("postgres");
        ConnectConfig::try_from(config).unwrap()
    }
}

#[actix::test]
async fn a_tls_config_of_the_program_brings_a_client_certificate() {
    let certified = Certified::start().await;
    let server = &certified.server;
    let config = || certified.config();

    let error = config().client().await.unwrap_err();
    assert!(error.is_connection(), "{}", error.chain());
    let with = |user: &str| config().tls_config(certified.tls(server, user));
    let client = with("certified").client().await.unwrap();
    let sql = "SELECT client_dn FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    let name: String = client.query_one(sql, &[]).await.unwrap().get(0);
    assert_eq!(name, "/CN=certified");
    // The certificate of another user.
    let error = with("postgres").client().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Authentication, "{}", error.chain());
    // A server that the program does not trust.
    let other = Postgres::builder().tls().start().await.unwrap();
    let config = config().tls_config(certified.tls(&other, "certified"));
    let error = config.client().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tls, "{}", error.chain());
    assert!(error.chain().contains("certificate"), "{}", error.chain());

    let source = NotifySource::builder(with("certified"));
    let (_listener, probe) = listen(source).await;
    live(&probe).await;
}

#[actix::test]
async fn a_tls_config_is_not_given_up_for_a_server_without_tls() {
    let certified = Certified::start().await;
    let plain = Postgres::shared().await.unwrap();
    let config: ConnectConfig = format!("{}?sslmode=prefer", plain.url()).parse().unwrap();
    let config = config.tls_config(certified.tls(&certified.server, "postgres"));
    let error = config.client().await.unwrap_err();
    assert!(error.chain().contains("TLS"), "{}", error.chain());
}
