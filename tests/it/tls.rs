//! `sslmode` and `sslrootcert`, with a server whose certificate has its own authority.

use pgherald::ConnectConfig;
use pgherald_testkit::Postgres;

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
