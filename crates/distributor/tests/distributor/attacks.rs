//! Attacks: each is refused and counted, and disturbs no other client.

use std::io::Read;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use futures_util::{StreamExt, stream};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use pgherald_distributor::{Access, Limits};
use pgherald_testkit::Postgres;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::access::{File, code, header, now, signed, signed_scene, token};
use crate::support::{Events, Scene, soon};

/// A client that must receive everything, whatever others do.
struct Bystander {
    events: Events,
    sent: i64,
}

impl Bystander {
    async fn new(scene: &Scene, headers: &str) -> Self {
        let mut events = scene.sse_with("/v1/events", headers).await;
        while events.message().await != r#"{"type":"live"}"# {}
        Self { events, sent: 0 }
    }

    /// Checks that the next change arrives, and nothing else.
    async fn is_undisturbed(&mut self, scene: &Scene) {
        self.sent += 1;
        scene.insert(self.sent, "a", "bystander").await;
        let message = self.events.message().await;
        assert!(
            message.contains(&format!(r#""keys":[{}]"#, self.sent)),
            "{message}"
        );
    }
}

/// The resident memory of this process in KiB.
fn memory() -> usize {
    let mut status = String::new();
    let mut file = std::fs::File::open("/proc/self/status").unwrap();
    file.read_to_string(&mut status).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn part(json: &serde_json::Value) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(json.to_string())
}

#[actix_web::test]
async fn forged_and_malformed_tokens_are_refused_by_name() {
    let (scene, [_public, secret]) = signed_scene("forged").await;
    let good = json!({"exp": now() + 60, "pgherald": {"tables": ["*"]}});
    let mut bystander = Bystander::new(&scene, &header(&signed(&good))).await;
    let with = |change: serde_json::Value| {
        let mut claims = good.clone();
        for (name, value) in change.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims
    };
    let hmac = |key: &[u8], algorithm| {
        let key = EncodingKey::from_secret(key).unwrap();
        encode(&Header::new(algorithm), &good, &key).unwrap()
    };
    let secret = std::fs::read(secret.path()).unwrap();
    let none = format!(
        "{}.{}.",
        part(&json!({"alg": "none", "typ": "JWT"})),
        part(&good)
    );
    let none_signed = format!("{none}{}", signed(&good).rsplit('.').next().unwrap());
    let valid = signed(&good);
    let (signing_input, signature) = valid.rsplit_once('.').unwrap();
    let (head, _) = signing_input.split_once('.').unwrap();
    let other_claims = part(&with(json!({"exp": now() + 600})));
    let mut without_exp = good.clone();
    without_exp.as_object_mut().unwrap().remove("exp");
    let public = "MCowBQYDK2VwAyEAJd51uxEyofS/6oaGK4+wF+XinD40EN9Cj2qbBJrk8Nw=";
    for (what, token, expected) in [
        ("no algorithm", none, "401 bad_token"),
        (
            "no algorithm, with a signature",
            none_signed,
            "401 bad_token",
        ),
        (
            "another secret",
            hmac(&[7; 32], Algorithm::HS256),
            "401 bad_signature",
        ),
        (
            "the public key as a secret",
            hmac(public.as_bytes(), Algorithm::HS256),
            "401 bad_signature",
        ),
        (
            "another algorithm",
            hmac(&secret, Algorithm::HS512),
            "401 bad_signature",
        ),
        (
            "no signature",
            format!("{signing_input}."),
            "401 bad_signature",
        ),
        (
            "half a signature",
            format!("{signing_input}.{}", &signature[..40]),
            "401 bad_signature",
        ),
        (
            "other claims",
            format!("{head}.{other_claims}.{signature}"),
            "401 bad_signature",
        ),
        (
            "expired",
            signed(&with(json!({"exp": now() - 60}))),
            "401 expired_token",
        ),
        (
            "not yet valid",
            signed(&with(json!({"nbf": now() + 120}))),
            "401 bad_token",
        ),
        ("no end", signed(&without_exp), "401 bad_token"),
        (
            "an end that is no number",
            signed(&with(json!({"exp": "never"}))),
            "401 bad_token",
        ),
        (
            "an end that is no time",
            signed(&with(json!({"exp": 1e300}))),
            "401 bad_token",
        ),
        (
            "another audience",
            signed(&with(json!({"aud": "billing"}))),
            "401 bad_token",
        ),
        (
            "no rights",
            signed(&json!({"exp": now() + 60})),
            "401 bad_token",
        ),
        (
            "a misspelled restriction",
            signed(&with(
                json!({"pgherald": {"tables": [{"table": "*", "row": {}}]}}),
            )),
            "401 bad_token",
        ),
        (
            "a bad pattern",
            signed(&with(json!({"pgherald": {"tables": ["users"]}}))),
            "401 bad_token",
        ),
        ("no token at all", "..".to_owned(), "401 bad_signature"),
        ("too many parts", format!("{valid}.x"), "401 bad_token"),
        (
            "too long",
            format!("{valid}{}", "A".repeat(10_000)),
            "401 bad_token",
        ),
        ("garbage", "%00%ff".to_owned(), "401 bad_token"),
    ] {
        let actual = code(&scene, "/v1/events", &header(&token)).await;
        let is_malformed = expected.ends_with("signature") && actual == "401 bad_token";
        assert!(actual == expected || is_malformed, "{what}: {actual}");
    }
    for (what, headers) in [
        (
            "another scheme",
            format!("authorization: Basic {valid}\r\n"),
        ),
        ("no token", "authorization: Bearer \r\n".to_owned()),
        (
            "two tokens",
            format!("{}{}", header(&valid), header(&valid)),
        ),
        ("two words", format!("authorization: Bearer {valid} x\r\n")),
    ] {
        assert_eq!(
            code(&scene, "/v1/events", &headers).await,
            "401 bad_token",
            "{what}"
        );
    }
    // A token in the address is no token.
    for parameter in ["token", "access_token", "authorization"] {
        let path = format!("/v1/events?{parameter}={valid}");
        assert_eq!(code(&scene, &path, "").await, "401 unauthorized");
    }
    bystander.is_undisturbed(&scene).await;
    scene.end().await;
}

#[actix_web::test]
async fn a_body_or_compressed_frames_cost_no_memory() {
    let scene = Scene::new(Limits::default()).await;
    let mut bystander = Bystander::new(&scene, "").await;
    // The extension is offered and not negotiated, so frames are never decompressed.
    let upgrade = "upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        sec-websocket-extensions: permessage-deflate; client_max_window_bits\r\n";
    let upgrade_request =
        format!("GET /v1/ws HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\n{upgrade}\r\n");
    let mut stream = TcpStream::connect(("127.0.0.1", scene.port)).await.unwrap();
    stream.write_all(upgrade_request.as_bytes()).await.unwrap();
    let mut head = [0; 512];
    let read = soon("an upgrade", stream.read(&mut head)).await.unwrap();
    let head = String::from_utf8_lossy(&head[..read]).to_lowercase();
    assert!(head.starts_with("http/1.1 101"), "{head}");
    assert!(!head.contains("sec-websocket-extensions"), "{head}");
    // A compressed frame: FIN, RSV1, text; masked with zeros.
    let bomb = [&[0xc1, 0x82, 0, 0, 0, 0][..], b"xx"].concat();
    stream.write_all(&bomb).await.unwrap();
    let mut rest = Vec::new();
    while !rest
        .windows(4)
        .any(|frame| frame[0] == 0x88 && frame[2..] == 1002_u16.to_be_bytes())
    {
        let read = tokio::time::timeout(Duration::from_secs(8), stream.read_buf(&mut rest)).await;
        assert!(
            matches!(read, Ok(Ok(1..))),
            "{read:?} {:?}",
            String::from_utf8_lossy(&rest)
        );
    }
    bystander.is_undisturbed(&scene).await;

    // The body of a GET is not collected.
    let before = memory();
    let mut stream = TcpStream::connect(("127.0.0.1", scene.port)).await.unwrap();
    let request = "GET /v1/events?tables=x HTTP/1.1\r\nhost: localhost\r\ncontent-encoding: gzip\r\ncontent-length: 1000000000\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let block = vec![b'x'; 1 << 20];
    for _ in 0..64 {
        // The server may have closed the connection.
        if stream.write_all(&block).await.is_err() {
            break;
        }
    }
    drop(stream);
    bystander.is_undisturbed(&scene).await;
    let grown = memory().saturating_sub(before);
    assert!(grown < 32 << 10, "{grown} KiB");
    scene.end().await;
}

#[actix_web::test]
async fn slow_and_half_open_clients_lose_their_place() {
    let limits = Limits {
        heartbeat: Duration::from_millis(50),
        idle: Duration::from_secs(1),
        ..Limits::default()
    };
    let scene = Scene::new(limits).await;
    let mut bystander = Bystander::new(&scene, "").await;
    // Heads that never end: the server waits for 5 s at most.
    let mut slow = Vec::new();
    for _ in 0..50 {
        let mut stream = TcpStream::connect(("127.0.0.1", scene.port)).await.unwrap();
        stream
            .write_all(b"GET /v1/ws HTTP/1.1\r\nhost: loc")
            .await
            .unwrap();
        slow.push(stream);
    }
    // Sockets whose clients vanish without a word: pings find that out.
    let mut half_open = Vec::new();
    for _ in 0..50 {
        half_open.push(scene.ws("/v1/ws").await);
    }
    scene.clients(51).await;
    bystander.is_undisturbed(&scene).await;
    // The clients neither read nor answer, and keep their sockets.
    scene.clients(1).await;
    drop(half_open);
    bystander.is_undisturbed(&scene).await;
    for mut stream in slow {
        let mut answer = Vec::new();
        soon("the end of a slow head", stream.read_to_end(&mut answer))
            .await
            .unwrap();
        bystander.is_undisturbed(&scene).await;
    }
    scene.end().await;
}

#[actix_web::test]
async fn ten_thousand_connects_and_drops_leave_nothing_behind() {
    let limits = Limits {
        clients_per_address: 200,
        ..Limits::default()
    };
    let scene = Scene::new(limits).await;
    let mut bystander = Bystander::new(&scene, "").await;
    let upgrade = "GET /v1/ws HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
        sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let requests = [
        "",
        "GET",
        "\0\0\0\0",
        upgrade,
        "GET /v1/events HTTP/1.1\r\nhost: localhost\r\n\r\n",
    ];
    let storm = async |connects: usize| {
        let clients = stream::iter(0..connects).for_each_concurrent(100, async |place| {
            let mut stream = TcpStream::connect(("127.0.0.1", scene.port)).await.unwrap();
            // The server may answer garbage by closing.
            let _ = stream
                .write_all(requests[place % requests.len()].as_bytes())
                .await;
        });
        clients.await;
        scene.clients(1).await;
    };
    storm(1_000).await;
    let before = memory();
    for _ in 0..9 {
        storm(1_000).await;
        bystander.is_undisturbed(&scene).await;
    }
    let grown = memory().saturating_sub(before);
    assert!(grown < 32 << 10, "{grown} KiB");
    scene.end().await;
}

#[actix_web::test]
async fn names_and_headers_cannot_be_injected() {
    let scene = Scene::new(Limits::default()).await;
    let mut bystander = Bystander::new(&scene, "").await;
    // The quotes are part of the name. Nothing else is executed.
    let hostile = r#"c"; DROP TABLE users; --"#;
    let path = format!(
        "/pgpubsub/{}",
        hostile.replace('"', "%22").replace(' ', "%20")
    );
    let mut socket = scene.ws(&path).await;
    scene.notify(hostile, "hello").await;
    assert_eq!(socket.next().await, Ok("hello".to_owned()));
    bystander.is_undisturbed(&scene).await;
    for (path, status) in [
        ("/pgpubsub/c%00", 400),
        ("/pgpubsub/c%0d%0ax-injected:%201", 101),
        ("/pgpubsub/c/../../up", 404),
    ] {
        match status {
            101 => drop(scene.ws(path).await),
            _ => assert_eq!(scene.refused_ws(path, &[]).await, status, "{path}"),
        }
    }
    for query in [
        "table=users%00",
        "table=users%27%3B%20DROP%20TABLE%20users",
        "key=1%20OR%201=1&table=users",
        "column.tenant%00=a&column.=b",
        "%0d%0ax-injected:1=1",
        "ticket=1&ticket=2&x=1",
    ] {
        let (status, head, _) = scene.request(&format!("/v1/events?{query}"), "").await;
        assert!(status == 400 || status == 200, "{query}: {status}");
        assert!(!head.contains("x-injected"), "{head}");
    }
    let origin = "origin: http://localhost\r\norigin: https://evil.example\r\n";
    assert_eq!(code(&scene, "/v1/events", origin).await, "403 bad_origin");
    bystander.is_undisturbed(&scene).await;
    scene.end().await;
}

#[actix_web::test]
async fn a_tenant_learns_nothing_of_the_rows_of_another() {
    let (token, line) = token(
        "a",
        r#"{"tables":[{"table":"public.users","rows":{"tenant":["a"]}}]}"#,
    );
    let file = File::new("tenant", &line);
    let access = Access::new().tokens(file.path()).unwrap();
    let server = Postgres::shared().await.unwrap();
    let scene = Scene::with(server.create_database().await.unwrap(), |builder| {
        let limits = Limits {
            buffer: 4,
            ..Limits::default()
        };
        builder.access(access).limits(limits)
    })
    .await;
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", &*bearer)];
    let mut own = scene.try_ws_with("/v1/ws", &headers).await.unwrap();
    own.live().await;
    // More rows of another tenant than the queue has places: they must not count as missed.
    for id in 0..500 {
        scene.insert(id, "b", "of b").await;
    }
    scene
        .sql("UPDATE users SET note = 'changed' WHERE id = 1")
        .await;
    scene.sql("DELETE FROM users WHERE id = 1").await;
    scene.insert(1, "a", "of a").await;
    let message = own.message().await;
    assert!(message.contains("of a"), "{message}");
    for query in ["column.tenant=b", "table=users&key=1&column.tenant=b"] {
        let path = format!("/v1/ws?{query}");
        assert_eq!(scene.refused_ws(&path, &headers).await, 403);
    }
    // By key: the row changes hands, and the tenant receives its own version only.
    let mut by_key = scene
        .try_ws_with("/v1/ws?table=users&key=7", &headers)
        .await
        .unwrap();
    by_key.live().await;
    scene.sql("UPDATE users SET note = 'x' WHERE id = 7").await;
    scene.sql("DELETE FROM users WHERE id = 7").await;
    scene.insert(7, "a", "own").await;
    let message = by_key.message().await;
    assert!(message.contains("own"), "{message}");
    scene.end().await;
}

#[actix_web::test]
async fn a_tenant_that_resumes_receives_nothing_of_another() {
    let json =
        r#"{"tables":[{"table":"public.users","columns":["note"],"rows":{"tenant":["a"]}}]}"#;
    let (token, line) = token("a", json);
    let file = File::new("resume", &line);
    let access = Access::new().tokens(file.path()).unwrap();
    let server = Postgres::shared().await.unwrap();
    let database = server.create_database().await.unwrap();
    let scene = Scene::recorded_with(database, |builder| builder.access(access)).await;
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", &*bearer)];
    let mut first = scene.try_ws_with("/v1/ws", &headers).await.unwrap();
    first.live().await;
    scene.insert(1, "a", "the first").await;
    let message: serde_json::Value = serde_json::from_str(&first.message().await).unwrap();
    let since = message["id"].as_str().unwrap().to_owned();
    drop(first);
    scene.insert(2, "b", "of b").await;
    scene
        .sql("UPDATE users SET note = 'of b again' WHERE id = 2")
        .await;
    scene.sql("INSERT INTO secrets VALUES (1, 'a')").await;
    scene.sql("DELETE FROM users WHERE id = 2").await;
    scene.insert(3, "a", "the second").await;
    let path = format!("/v1/ws?since={since}");
    let mut again = scene.try_ws_with(&path, &headers).await.unwrap();
    let mut events = 0;
    loop {
        let message = again.message().await;
        let is_hidden = !message.contains("of b") && !message.contains("tenant");
        assert!(is_hidden && !message.contains("secrets"), "{message}");
        events += usize::from(message.starts_with(r#"{"type":"event""#));
        if message.contains("the second") {
            break;
        }
    }
    assert_eq!(events, 1);
    for query in ["column.tenant=b", "table=secrets"] {
        let path = format!("/v1/ws?since={since}&{query}");
        assert_eq!(scene.refused_ws(&path, &headers).await, 403);
    }
    scene.end().await;
}
