//! Who may receive what.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use pgherald_core::TableName;
use pgherald_core::trigger::{self, TriggerSpec};
use pgherald_distributor::{Access, Rights, TokenLine};
use pgherald_testkit::Postgres;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

use crate::support::{Scene, soon};

/// A key pair of these tests alone.
const SIGNING_KEY: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIFF5CRFCKYf5TpM3o8+Q+3PlAGZy+KGBTNAaRDrevChA
-----END PRIVATE KEY-----";
const PUBLIC_KEY: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAJd51uxEyofS/6oaGK4+wF+XinD40EN9Cj2qbBJrk8Nw=
-----END PUBLIC KEY-----";
const SECRET: &str = "a secret of the tests that has more than 32 bytes";

/// A file that is removed at the end of the test.
pub(crate) struct File(PathBuf);

impl File {
    pub(crate) fn new(name: &str, content: &str) -> Self {
        let name = format!("pgherald_{name}_{}", std::process::id());
        let file = Self(std::env::temp_dir().join(name));
        file.write(content);
        file
    }

    pub(crate) fn write(&self, content: &str) {
        // As operators should: a reader never sees half a file.
        let new = self.0.with_extension("new");
        std::fs::write(&new, content).unwrap();
        std::fs::rename(&new, &self.0).unwrap();
    }

    pub(crate) fn path(&self) -> &PathBuf {
        &self.0
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A scene with this access.
pub(crate) async fn scene(access: Access) -> Scene {
    let server = Postgres::shared().await.unwrap();
    let database = server.create_database().await.unwrap();
    Scene::with(database, |builder| {
        builder
            .access(access)
            .origins(["https://app.example"])
            .metrics(|| "metrics\n".to_owned())
    })
    .await
}

pub(crate) fn rights(json: &str) -> Rights {
    serde_json::from_str(json).unwrap()
}

/// A token and its line.
pub(crate) fn token(name: &str, json: &str) -> (String, String) {
    let (token, line) = TokenLine::generate(name, rights(json), None).unwrap();
    (token, line.to_json())
}

pub(crate) fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_secs()
}

/// A token with these claims, signed with the key of the tests.
pub(crate) fn signed(claims: &Value) -> String {
    let key = EncodingKey::from_ed_pem(SIGNING_KEY.as_bytes()).unwrap();
    encode(&Header::new(Algorithm::EdDSA), claims, &key).unwrap()
}

/// A scene that accepts signed tokens of both algorithms.
pub(crate) async fn signed_scene(name: &str) -> (Scene, [File; 2]) {
    let public = File::new(&format!("{name}_public"), PUBLIC_KEY);
    let secret = File::new(&format!("{name}_secret"), SECRET);
    let access = Access::new().key(public.path()).unwrap();
    let access = access.key(secret.path()).unwrap();
    (scene(access).await, [public, secret])
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

pub(crate) fn header(token: &str) -> String {
    format!("authorization: Bearer {token}\r\n")
}

/// The code of the refusal of a request with this token.
pub(crate) async fn code(scene: &Scene, path: &str, headers: &str) -> String {
    let (status, body) = scene.get_with(path, headers).await;
    let body: Value = serde_json::from_str(&body).unwrap_or_else(|_| panic!("{path}: {body}"));
    format!("{status} {}", body["error"]["code"].as_str().unwrap())
}

const TENANT_A: &str = r#"{"tables":[{"table":"public.users","operations":["insert","delete"],"columns":["note"],"rows":{"tenant":["a"]}}],"channels":["c1"]}"#;

#[actix_web::test]
async fn a_client_receives_only_what_its_token_permits() {
    let (token_a, line_a) = token("a", TENANT_A);
    let (all, line_all) = token("all", r#"{"tables":["*"]}"#);
    let file = File::new("permits", &format!("{line_a}\n{line_all}\n"));
    let scene = scene(Access::new().tokens(file.path()).unwrap()).await;
    let ws = |token: &str| vec![("authorization", bearer(token))];
    let connect = async |token: &str, path: &str| {
        let headers = ws(token);
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (*name, &**value))
            .collect();
        let mut socket = scene.try_ws_with(path, &headers).await.unwrap();
        socket.live().await;
        socket
    };
    let mut a = connect(&token_a, "/v1/ws").await;
    let mut everything = connect(&all, "/v1/ws").await;

    // Its triggers notify the same channel, and the herald does not watch it.
    scene
        .sql("CREATE TABLE hidden (id bigint PRIMARY KEY)")
        .await;
    let hidden = TriggerSpec::new(TableName::new("public", "hidden").unwrap());
    trigger::install(&scene.client, &[hidden]).await.unwrap();
    scene.sql("INSERT INTO hidden VALUES (1)").await;
    scene.sql("INSERT INTO secrets VALUES (1, 'a')").await;
    scene.insert(1, "b", "of b").await;
    scene.insert(2, "a", "of a").await;
    scene.sql("UPDATE users SET note = 'x' WHERE id = 2").await;
    scene.sql("DELETE FROM users").await;
    scene.sql("TRUNCATE users").await;
    scene.sql("INSERT INTO secrets VALUES (2, 'a')").await;
    scene.insert(3, "a", "the last").await;

    let mut notes = Vec::new();
    loop {
        let message: Value = serde_json::from_str(&a.message().await).unwrap();
        let event = &message["event"];
        assert_eq!(event["table"], "users", "{message}");
        assert!(!message.to_string().contains("tenant"), "{message}");
        notes.push(format!(
            "{} {} {}",
            event["operation"].as_str().unwrap(),
            event["keys"][0],
            event["columns"][0]["note"]
        ));
        if message.to_string().contains("the last") {
            break;
        }
    }
    // TRUNCATE is not among the operations.
    assert_eq!(
        notes,
        [
            r#"insert 2 "of a""#,
            r#"delete 2 "x""#,
            r#"insert 3 "the last""#
        ]
    );
    let mut events = 0;
    while !everything.message().await.contains("the last") {
        events += 1;
    }
    assert_eq!(events, 8);
    scene.end().await;
}

#[actix_web::test]
async fn an_event_without_the_required_column_is_a_resync_of_its_table() {
    let json = r#"{"tables":[{"table":"public.users","rows":{"tenant":["a"]}}]}"#;
    let (token, line) = token("a", json);
    let file = File::new("resync", &line);
    let scene = scene(Access::new().tokens(file.path()).unwrap()).await;
    let mut events = scene.sse_with("/v1/events", &header(&token)).await;
    while events.message().await != r#"{"type":"live"}"# {}
    scene.sql("TRUNCATE secrets").await;
    scene.insert(1, "b", "of b").await;
    scene.sql("TRUNCATE users").await;
    scene.insert(1, "a", "of a").await;
    assert_eq!(
        events.message().await,
        r#"{"type":"resync","reasons":["rows_unknown"],"lost":0,"scope":{"tables":["public.users"]}}"#
    );
    assert!(events.message().await.contains("of a"));
    scene.end().await;
}

#[actix_web::test]
async fn a_filter_for_what_a_token_does_not_permit_is_refused() {
    let (token, line) = token("a", TENANT_A);
    let file = File::new("filters", &line);
    let scene = scene(Access::new().tokens(file.path()).unwrap()).await;
    let header = header(&token);
    for query in [
        "column.tenant=b",
        "column.tenant=a&column.tenant=b",
        "column.salary=1",
        "table=secrets",
        "table=public.secrets",
        "table=other.users",
        "operation=update",
        "operation=truncate",
    ] {
        let path = format!("/v1/events?{query}");
        assert_eq!(
            code(&scene, &path, &header).await,
            "403 forbidden",
            "{query}"
        );
    }
    // Nothing shows that the key is that of another tenant, and nothing is sent.
    let mut events = scene
        .sse_with("/v1/events?table=users&key=7", &header)
        .await;
    while events.message().await != r#"{"type":"live"}"# {}
    scene.insert(7, "b", "of b").await;
    scene.sql("DELETE FROM users WHERE id = 7").await;
    scene.insert(7, "a", "of a").await;
    assert!(events.message().await.contains("of a"));
    let authorization = bearer(&token);
    let authorization = [("authorization", &*authorization)];
    assert_eq!(scene.refused_ws("/pgpubsub/c2", &authorization).await, 403);
    assert_eq!(scene.refused_ws("/pgpubsub/d", &authorization).await, 403);
    assert_eq!(scene.refused_ws("/pgpubsub/c1", &[]).await, 401);
    let mut channel = scene
        .try_ws_with("/pgpubsub/c1", &authorization)
        .await
        .unwrap();
    scene.notify("c1", "hello").await;
    assert_eq!(channel.next().await, Ok("hello".to_owned()));
    assert_eq!(
        scene.channels.len(),
        1,
        "refused channels are not listened to"
    );
    scene.end().await;
}

#[actix_web::test]
async fn a_line_that_is_removed_from_the_file_closes_the_streams_of_its_token() {
    let (gone, line_gone) = token("gone", r#"{"tables":["*"],"channels":["*"]}"#);
    let (stays, line_stays) = token("stays", r#"{"tables":["*"]}"#);
    let file = File::new("removed", &format!("{line_gone}\n{line_stays}"));
    let scene = scene(Access::new().tokens(file.path()).unwrap()).await;
    let authorization = bearer(&gone);
    let authorization = [("authorization", &*authorization)];
    let mut ws = scene.try_ws_with("/v1/ws", &authorization).await.unwrap();
    let mut channel = scene
        .try_ws_with("/pgpubsub/c", &authorization)
        .await
        .unwrap();
    let mut sse = scene.sse_with("/v1/events", &header(&gone)).await;
    let mut other = scene.sse_with("/v1/events", &header(&stays)).await;

    // A file that cannot be used changes nothing.
    file.write("{");
    file.write(&line_stays);
    while ws.next().await != Err(4401) {}
    assert_eq!(channel.next().await, Err(4401));
    let closing = r#"{"type":"closing","reason":"expired","retry_ms":0}"#;
    while sse.message().await != closing {}
    assert_eq!(sse.block().await, None);
    assert_eq!(
        code(&scene, "/v1/events", &header(&gone)).await,
        "401 bad_token"
    );
    scene.insert(1, "a", "goes on").await;
    while !other.message().await.contains("goes on") {}
    scene.end().await;
}

#[actix_web::test]
async fn signed_tokens_are_accepted_until_they_expire() {
    let (scene, _keys) = signed_scene("accepted").await;
    let claims = json!({"sub": "x", "exp": now() + 60, "nbf": now() - 1, "aud": "pgherald", "pgherald": {"tables": ["*"]}});
    let secret = EncodingKey::from_secret(SECRET.as_bytes()).unwrap();
    let hs256 = encode(&Header::new(Algorithm::HS256), &claims, &secret).unwrap();
    for token in [signed(&claims), hs256] {
        let mut events = scene.sse_with("/v1/events", &header(&token)).await;
        assert!(events.message().await.contains("hello"));
    }
    // Within the leeway of 30 s, which ends in 2 s.
    let claims = json!({"exp": now() - 28, "pgherald": {"tables": ["*"]}});
    let token = bearer(&signed(&claims));
    let headers = [("authorization", &*token)];
    let mut ws = scene.try_ws_with("/v1/ws", &headers).await.unwrap();
    while ws.next().await != Err(4401) {}
    assert_eq!(scene.refused_ws("/v1/ws", &headers).await, 401);
    scene.end().await;
}

#[actix_web::test]
async fn a_ticket_opens_one_stream_with_the_rights_of_its_token() {
    let (token, line) = token("a", TENANT_A);
    let file = File::new("ticket", &line);
    let scene = scene(Access::new().tokens(file.path()).unwrap()).await;
    let ticket = async || {
        let (status, head, mut body) = scene.send("POST", "/v1/ticket", &header(&token)).await;
        assert_eq!(status, 200, "{head}");
        assert!(head.contains("cache-control: no-store"), "{head}");
        let mut text = String::new();
        soon("a ticket", body.read_to_string(&mut text))
            .await
            .unwrap();
        let body: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(body["expires_ms"], 30_000);
        body["ticket"].as_str().unwrap().to_owned()
    };
    let one = ticket().await;
    let mut ws = scene.ws(&format!("/v1/ws?ticket={one}")).await;
    ws.live().await;
    scene.insert(1, "b", "of b").await;
    scene.insert(2, "a", "of a").await;
    assert!(ws.message().await.contains("of a"));
    let again = format!("/v1/events?ticket={one}");
    assert_eq!(code(&scene, &again, "").await, "401 bad_ticket");
    let two = ticket().await;
    let forbidden = format!("/v1/events?table=secrets&ticket={two}");
    assert_eq!(code(&scene, &forbidden, "").await, "403 forbidden");
    let three = ticket().await;
    let (status, ..) = scene
        .send("POST", &format!("/v1/ticket?ticket={three}"), "")
        .await;
    assert_eq!(status, 401, "a ticket makes no other one");
    let both = format!("/v1/events?ticket={three}");
    assert_eq!(code(&scene, &both, &header(&token)).await, "401 bad_token");
    let mut events = scene.sse(&format!("/v1/events?ticket={three}")).await;
    assert!(events.message().await.contains("hello"));
    scene.end().await;
}

#[actix_web::test]
async fn pages_of_other_origins_must_be_allowed() {
    let (token, line) = token("a", r#"{"tables":["*"]}"#);
    let file = File::new("origins", &line);
    let scene = scene(Access::new().tokens(file.path()).unwrap()).await;
    let authorization = header(&token);
    let with = |origin: &str| format!("{authorization}origin: {origin}\r\n");
    let evil = with("https://evil.example");
    assert_eq!(code(&scene, "/v1/events", &evil).await, "403 bad_origin");
    let bearer = bearer(&token);
    let headers = [
        ("authorization", &*bearer),
        ("origin", "https://evil.example"),
    ];
    assert_eq!(scene.refused_ws("/v1/ws", &headers).await, 403);
    assert_eq!(scene.refused_ws("/pgpubsub/c", &headers).await, 403);

    let (status, head, _) = scene
        .request("/v1/events", &with("https://app.example"))
        .await;
    assert_eq!(status, 200);
    assert!(
        head.contains("access-control-allow-origin: https://app.example\r\n"),
        "{head}"
    );
    assert!(head.contains("vary: origin\r\n"), "{head}");
    // The refusal of a token can be read by the page as well.
    let without_token = "origin: https://app.example\r\n";
    let (status, head, _) = scene.request("/v1/events", without_token).await;
    assert_eq!(status, 401);
    assert!(
        head.contains("access-control-allow-origin: https://app.example\r\n"),
        "{head}"
    );
    assert!(head.contains("www-authenticate: bearer\r\n"), "{head}");
    let own = with("http://localhost");
    let (status, head, _) = scene.request("/v1/events", &own).await;
    assert_eq!(status, 200);
    assert!(!head.contains("access-control"), "{head}");

    let preflight = |origin: &str| {
        format!(
            "origin: {origin}\r\naccess-control-request-method: GET\r\naccess-control-request-headers: authorization\r\n"
        )
    };
    let (status, head, _) = scene
        .send("OPTIONS", "/v1/events", &preflight("https://app.example"))
        .await;
    assert_eq!(status, 204, "{head}");
    assert!(
        head.contains("access-control-allow-headers: authorization,"),
        "{head}"
    );
    let (status, head, _) = scene
        .send("OPTIONS", "/v1/events", &preflight("https://evil.example"))
        .await;
    assert_eq!(status, 403, "{head}");
    assert!(!head.contains("access-control-allow"), "{head}");
    scene.end().await;
}

#[actix_web::test]
async fn without_access_only_names_of_this_machine_are_answered() {
    let scene = Scene::new(pgherald_distributor::Limits::default()).await;
    assert_eq!(
        scene
            .refused_ws(
                "/v1/ws",
                &[("host", "evil.example"), ("origin", "http://evil.example")]
            )
            .await,
        403
    );
    assert!(
        scene
            .try_ws_with("/v1/ws", &[("origin", "http://localhost")])
            .await
            .is_ok()
    );
    assert_eq!(
        scene
            .refused_ws("/v1/ws", &[("origin", "http://localhost:1")])
            .await,
        403
    );
    for header in ["Forwarded", "Via", "X-Forwarded-For", "X-Real-IP"] {
        let forwarded = [(header, "203.0.113.7")];
        assert_eq!(
            scene.refused_ws("/v1/ws", &forwarded).await,
            401,
            "{header}"
        );
    }
    scene.end().await;
}

#[actix_web::test]
async fn probes_need_no_token_and_metrics_need_the_right_to_observe() {
    let (observer, line) = token("observer", r#"{"observe":true}"#);
    let (other, other_line) = token("other", r#"{"tables":["*"]}"#);
    let file = File::new("probes", &format!("{line}\n{other_line}"));
    let scene = scene(Access::new().tokens(file.path()).unwrap()).await;
    assert_eq!(scene.get("/healthz").await, (200, String::new()));
    assert_eq!(scene.get("/up").await, (200, String::new()));
    assert_eq!(
        scene.get("/readyz").await,
        (200, r#"{"live":true}"#.to_owned())
    );
    assert_eq!(code(&scene, "/metrics", "").await, "401 unauthorized");
    assert_eq!(
        code(&scene, "/metrics", &header(&other)).await,
        "403 forbidden"
    );
    let (status, body) = scene.get_with("/metrics", &header(&observer)).await;
    assert_eq!((status, &*body), (200, "metrics\n"));
    assert_eq!(
        code(&scene, "/v1/events", &header(&observer)).await,
        "403 forbidden"
    );
    scene.distributor.shutdown(std::time::Duration::ZERO).await;
    assert_eq!(
        scene.get("/readyz").await,
        (503, r#"{"live":false}"#.to_owned())
    );
    scene.end().await;
}
