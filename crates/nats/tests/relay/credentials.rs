//! Servers that require the credentials of a credentials file, or a client certificate.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use pgherald_core::ErrorKind;
use pgherald_nats::{NatsConfig, RelayOptions, StreamOptions};
use pgherald_testkit::nats::NatsServer;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
};
use serde_json::{Value, json};

use crate::bad_input::{accepted, refusal};
use crate::support::{STREAM, Scene, local, nats, options};

/// A folder that is removed when this is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("pgherald-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Signs claims as `nsc` does: <https://docs.nats.io/running-a-nats-service/nats_admin/security/jwt>.
fn token(issuer: &KeyPair, subject: &KeyPair, name: &str, claims: &Value) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let claims = json!({
        "jti": name,
        "iat": now.unwrap().as_secs(),
        "iss": issuer.public_key(),
        "name": name,
        "sub": subject.public_key(),
        "nats": claims,
    });
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = json!({"typ": "JWT", "alg": "ed25519-nkey"});
    let signed = format!("{}.{}", part(&header), part(&claims));
    let signature = issuer.sign(signed.as_bytes()).unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn credentials(token: &str, user: &KeyPair) -> String {
    let mut text = String::new();
    for (name, value) in [
        ("NATS USER JWT", token),
        ("USER NKEY SEED", &user.seed().unwrap()),
    ] {
        writeln!(
            text,
            "-----BEGIN {name}-----\n{value}\n------END {name}------\n"
        )
        .unwrap();
    }
    text
}

#[tokio::test]
async fn relay_logs_in_with_a_credentials_file() {
    local(async {
        let operator = KeyPair::new_operator();
        let (system, account) = (KeyPair::new_account(), KeyPair::new_account());
        let (user, stranger) = (KeyPair::new_user(), KeyPair::new_user());
        let of_operator = json!({"type": "operator", "version": 2});
        let limits = json!({
            "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1,
            "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1,
        });
        let of_account = json!({"type": "account", "version": 2, "limits": limits});
        let of_user = json!({"type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1});
        let config = format!(
            "operator: {}\nresolver: MEMORY\nsystem_account: {}\nresolver_preload: {{ {}: {}, {}: {} }}",
            token(&operator, &operator, "operator", &of_operator),
            system.public_key(),
            system.public_key(),
            token(&operator, &system, "system", &json!({"type": "account", "version": 2})),
            account.public_key(),
            token(&operator, &account, "shop", &of_account)
        );
        let server = NatsServer::builder().config(&config).start().await.unwrap();
        let url = server.url();
        let folder = Folder::new("credentials");
        let right = token(&account, &user, "relay", &of_user);
        let right = folder.write("relay.creds", &credentials(&right, &user));
        // Signed by a key that the server does not trust.
        let forged = token(&stranger, &stranger, "relay", &of_user);
        let forged = folder.write("forged.creds", &credentials(&forged, &stranger));

        let create = || RelayOptions::new("fleet", STREAM).create(StreamOptions::new());
        for config in [nats(&url), nats(&url).credentials_file(forged)] {
            let error = refusal(config, create()).await;
            assert_eq!(error.kind(), ErrorKind::Authentication, "{error:?}");
        }
        let no_credentials = folder.write("empty.creds", "nothing\n");
        let error = refusal(nats(&url).credentials_file(no_credentials), create()).await;
        assert!(error.to_string().contains("empty.creds"), "{error:?}");

        let scene = Scene::with(server).await;
        let config = nats(&url).credentials_file(right);
        let relay = scene.relay_at(config, options("fleet"));
        scene.write(1..=20).await;
        relay
            .until("stored events", |handle| handle.report().events == 20)
            .await;
    })
    .await;
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params
}

#[tokio::test]
async fn relay_presents_its_client_certificate() {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = || {
        let key = rcgen::KeyPair::generate().unwrap();
        CertifiedIssuer::self_signed(params.clone(), key).unwrap()
    };
    let (trusted, other) = (authority(), authority());
    let folder = Folder::new("certificates");
    let signed = |name: &str, authority: &CertifiedIssuer<'_, rcgen::KeyPair>| {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = named(name).signed_by(&key, authority).unwrap();
        (
            folder.write(&format!("{name}.crt"), &certificate.pem()),
            folder.write(&format!("{name}.key"), &key.serialize_pem()),
        )
    };
    let roots = folder.write("ca.crt", &trusted.pem());
    let (certificate, key) = signed("server", &trusted);
    let config = format!(
        "tls {{ cert_file: {certificate:?}, key_file: {key:?}, ca_file: {roots:?}, verify: true }}"
    );
    let server = NatsServer::builder().config(&config).start().await.unwrap();
    let at = || nats(&server.url()).require_tls();
    let create = || RelayOptions::new("fleet", STREAM).create(StreamOptions::new());

    // The server's certificate is not trusted.
    let error = refusal(at(), create()).await;
    assert_eq!(error.kind(), ErrorKind::Tls, "{error:?}");
    // The server receives no certificate, or one that it does not trust.
    let (certificate, key) = signed("stranger", &other);
    let strange = |config: NatsConfig| config.client_certificate(certificate, key);
    for config in [
        at().root_certificates(&roots),
        strange(at().root_certificates(&roots)),
    ] {
        let error = refusal(config, create()).await;
        assert!(
            matches!(error.kind(), ErrorKind::Tls | ErrorKind::Connect),
            "{error:?}"
        );
    }
    let (certificate, key) = signed("relay", &trusted);
    let config = at().root_certificates(&roots);
    accepted(config.client_certificate(certificate, key), create()).await;
}
