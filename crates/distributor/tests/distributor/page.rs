//! The operator API of the live page, and its files. The page itself is tested in a browser; see `tests/page`.

use std::sync::Arc;
use std::time::Duration;

use awc::http::StatusCode;
use pgherald_actors::Herald;
use pgherald_core::group::Group;
use pgherald_core::trigger::TriggerSpec;
use pgherald_core::{
    Attempt, ConnectConfig, DurableOptions, Event, EventHandler, HandlerError, HandlerResult,
    TableName,
};
use pgherald_distributor::{Access, Limits, LivePage};
use pgherald_testkit::Postgres;
use serde_json::{Value, json};

use crate::access::{File, header, token};
use crate::support::{Scene, soon};

/// A name that has to be encoded in a path.
const GROUP: &str = "mail/send 100% \"now\"?";

struct Refuse;

impl EventHandler for Refuse {
    type Event = Event;

    async fn handle(&self, _: Event, _: Attempt) -> HandlerResult {
        Err(HandlerError::permanent("refused <b>"))
    }
}

async fn scene(access: Option<Access>) -> Scene {
    let server = Postgres::shared().await.unwrap();
    let database = server.create_database().await.unwrap();
    let config: ConnectConfig = database.parse().unwrap();
    Scene::with(database, |builder| {
        let builder = builder.page(LivePage::new().database(config));
        match access {
            Some(access) => builder.access(access),
            None => builder,
        }
    })
    .await
}

/// Makes the group, with this number of dead letters.
async fn dead_letters(scene: &Scene, number: i64) {
    scene
        .sql("CREATE TABLE orders (id bigint PRIMARY KEY, note text)")
        .await;
    let spec = TriggerSpec::new(TableName::new("public", "orders").unwrap());
    let config: ConnectConfig = scene.database.parse().unwrap();
    let herald = Herald::builder(config.clone())
        .watch_with(spec.columns(["note"]).outbox())
        .install_triggers()
        .start()
        .await
        .unwrap();
    herald
        .start_durable(DurableOptions::new(GROUP), || Refuse)
        .await
        .unwrap();
    scene
        .sql(&format!(
            "INSERT INTO orders SELECT n, repeat('x', 5000) FROM generate_series(1, {number}) n"
        ))
        .await;
    let client = Arc::new(config.client().await.unwrap());
    let all_are_dead = async {
        while Group::new(&client, GROUP)
            .status()
            .await
            .unwrap()
            .dead_letters
            < number
        {}
    };
    soon("dead letters", all_are_dead).await;
    herald.shutdown(Duration::from_secs(5)).await.unwrap();
}

fn path(rest: &str) -> String {
    format!("/v1/groups/mail%2Fsend%20100%25%20%22now%22%3F/{rest}")
}

async fn get(scene: &Scene, path: &str) -> Value {
    let (status, body) = scene.get(path).await;
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

/// The status once it satisfies a condition.
async fn status(scene: &Scene, condition: impl Fn(&Value) -> bool) -> Value {
    let satisfied = async {
        loop {
            let status = get(scene, "/v1/status").await;
            if condition(&status) {
                return status;
            }
        }
    };
    soon("the status", satisfied).await
}

/// Sends an operation with these headers. Returns the status and the code of the refusal, or the number of changes.
async fn post(scene: &Scene, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, String) {
    let url = format!("http://127.0.0.1:{}{path}", scene.port);
    let mut request = awc::Client::default().post(url);
    for header in headers {
        request = request.insert_header(*header);
    }
    let mut answer = soon(path, request.send_body(body.to_owned()))
        .await
        .unwrap();
    let body = answer.body().await.unwrap();
    let status = answer.status();
    let body: Value = serde_json::from_slice(&body).unwrap();
    let shown = match status {
        StatusCode::OK => body["changed"].to_string(),
        _ => body["error"]["code"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
    };
    (status.as_u16(), shown)
}

const OPERATOR: &[(&str, &str)] = &[("x-pgherald-operator", "1")];

#[actix_web::test]
async fn the_status_has_health_rates_clients_and_groups() {
    let scene = scene(None).await;
    dead_letters(&scene, 2).await;
    let mut socket = scene.ws("/v1/ws?table=users&ticket=secret").await;
    socket.live().await;
    scene.insert(1, "a", "hello").await;
    socket.message().await;
    let status = status(&scene, |status| {
        status["rates"]["tables"][0]["total"] == 1
            && status["database"]["groups"][0]["dead_letters"] == 2
    })
    .await;
    assert_eq!(status["version"], 1);
    assert_eq!(status["health"]["state"], "live");
    let history: Vec<_> = status["history"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| &entry["type"])
        .collect();
    assert!(
        history.contains(&&json!("live")) && history.contains(&&json!("resync")),
        "{history:?}"
    );
    assert_eq!(status["rates"]["tables"][0]["table"], "public.users");
    let client = &status["clients"]["list"][0];
    assert_eq!(
        (&client["path"], &client["filter"]),
        (&json!("/v1/ws"), &json!("table=users"))
    );
    assert_eq!(client["delivered"], 1);
    assert!(!status.to_string().contains("secret"));
    let group = &status["database"]["groups"][0];
    assert_eq!(group["name"], GROUP);
    assert_eq!(group["last_error"], "refused <b>");
    let findings = status["findings"].to_string();
    assert!(
        findings.contains("no consumer runs") && findings.contains("2 dead letters"),
        "{findings}"
    );
    socket.close().await;
    scene.end().await;
}

#[actix_web::test]
async fn dead_letters_are_listed_retried_and_discarded() {
    let scene = scene(None).await;
    dead_letters(&scene, 3).await;
    let listed = get(&scene, &path("dead-letters?limit=2")).await;
    let ids: Vec<_> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|letter| letter["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids.len(), 2);
    let first = &listed[0];
    assert_eq!(
        (&first["table"], &first["key"]),
        (&json!("public.orders"), &json!("1"))
    );
    // Long values are cut.
    assert_eq!(
        (first["columns"].as_str().unwrap().len(), &first["is_cut"]),
        (4_096, &json!(true))
    );
    let rest = get(&scene, &path(&format!("dead-letters?after={}", ids[1]))).await;
    assert_eq!(rest.as_array().unwrap().len(), 1);

    for body in [
        "",
        "{}",
        "null",
        "[]",
        r#"{"ids":null}"#,
        r#"{"ids":["x"]}"#,
        r#"{"ids":[1]}"#,
        r#""everything""#,
    ] {
        let refused = post(&scene, &path("dead-letters/discard"), OPERATOR, body).await;
        assert_eq!(refused, (400, "bad_request".to_owned()), "{body}");
    }
    let done = |changed: u64| (200, changed.to_string());
    let one = json!({ "ids": [ids[0]] }).to_string();
    assert_eq!(
        post(&scene, &path("dead-letters/retry"), OPERATOR, &one).await,
        done(1)
    );
    let parked = get(&scene, &path("parked")).await;
    assert_eq!(parked[0]["id"], ids[0]);
    assert_eq!(
        post(&scene, &path("parked/retry"), OPERATOR, r#""all""#).await,
        done(1)
    );
    let two = json!({ "ids": [ids[1]] }).to_string();
    assert_eq!(
        post(&scene, &path("dead-letters/discard"), OPERATOR, &two).await,
        done(1)
    );
    assert_eq!(
        post(&scene, &path("dead-letters/discard"), OPERATOR, r#""all""#).await,
        done(1)
    );
    assert_eq!(get(&scene, &path("dead-letters")).await, json!([]));

    assert_eq!(post(&scene, &path("pause"), OPERATOR, "").await, done(1));
    status(&scene, |status| {
        status["database"]["groups"][0]["is_paused"] == true
    })
    .await;
    assert_eq!(post(&scene, &path("resume"), OPERATOR, "").await, done(1));
    let missing = post(&scene, "/v1/groups/none/pause", OPERATOR, "").await;
    assert_eq!(missing, (404, "not_found".to_owned()));
    let unknown = post(&scene, &path("delete"), OPERATOR, r#""all""#).await;
    assert_eq!(unknown, (400, "bad_request".to_owned()));
    scene.end().await;
}

#[actix_web::test]
async fn operations_need_the_right_and_a_header_that_other_sites_cannot_send() {
    let [(operator, line_1), (observer, line_2), (reader, line_3)] = [
        token("operator", r#"{"operate":true}"#),
        token("observer", r#"{"observe":true}"#),
        token("reader", r#"{"tables":["*"]}"#),
    ];
    let file = File::new("page", &[line_1, line_2, line_3].join("\n"));
    let scene = scene(Some(Access::new().tokens(file.path()).unwrap())).await;
    dead_letters(&scene, 1).await;
    let status = async |token: &str| scene.request("/v1/status", &header(token)).await.0;
    assert_eq!(scene.get("/v1/status").await.0, 401);
    assert_eq!(status(&reader).await, 403);
    assert_eq!(status(&observer).await, 200);
    assert_eq!(status(&operator).await, 200);
    // Dead letters have the values of rows.
    let list = async |token: &str| scene.request(&path("dead-letters"), &header(token)).await.0;
    assert_eq!(list(&observer).await, 403);
    assert_eq!(list(&operator).await, 200);
    let retry = path("dead-letters/retry");
    let send = async |token: &str, header: bool| {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", &*bearer), OPERATOR[0]];
        let headers = if header { &headers[..] } else { &headers[..1] };
        post(&scene, &retry, headers, r#""all""#).await
    };
    let refused = |status: u16, code: &str| (status, code.to_owned());
    assert_eq!(post(&scene, &retry, OPERATOR, r#""all""#).await.0, 401);
    assert_eq!(send(&reader, true).await, refused(403, "forbidden"));
    assert_eq!(send(&observer, true).await, refused(403, "forbidden"));
    assert_eq!(send(&operator, false).await, refused(403, "missing_header"));
    assert_eq!(send(&operator, true).await, (200, "1".to_owned()));
    // The files have no data, and a browser cannot send a token for them.
    assert_eq!(scene.get("/").await.0, 200);
    scene.end().await;
}

#[actix_web::test]
async fn the_files_have_a_strict_policy_and_other_paths_are_refused() {
    let scene = scene(None).await;
    for (file, kind) in [
        ("/", "text/html"),
        ("/page/style.css", "text/css"),
        ("/page/icon.svg", "image/svg+xml"),
        ("/page/js/main.js", "text/javascript"),
        ("/page/client/index.js", "text/javascript"),
    ] {
        let (status, head, _) = scene.request(file, "").await;
        assert_eq!(status, 200, "{file}");
        assert!(head.contains(&format!("content-type: {kind}")), "{head}");
        assert!(
            head.contains("content-security-policy: default-src 'none'; script-src 'self'"),
            "{head}"
        );
        assert!(head.contains("frame-ancestors 'none'"), "{head}");
    }
    for path in [
        "/page/",
        "/page/index.html",
        "/page/../Cargo.toml",
        "/page/js/%2e%2e/style.css",
        "/page/client/index.d.ts",
    ] {
        assert_eq!(scene.get(path).await.0, 404, "{path}");
    }
    scene.end().await;
}

#[actix_web::test]
async fn without_a_live_page_there_is_no_operator_api() {
    let scene = Scene::new(Limits::default()).await;
    for path in ["/", "/page/style.css", "/v1/status", "/v1/groups/a/parked"] {
        assert_eq!(scene.get(path).await.0, 404, "{path}");
    }
    scene.end().await;
}

#[actix_web::test]
async fn a_database_that_cannot_be_reached_does_not_hold_up_the_status() {
    let server = Postgres::shared().await.unwrap();
    let database = server.create_database().await.unwrap();
    // Nothing listens on the discard port.
    let unreachable: ConnectConfig = "postgresql://nobody@127.0.0.1:9/none".parse().unwrap();
    let scene = Scene::with(database, |builder| {
        builder.page(LivePage::new().database(unreachable))
    })
    .await;
    let status = status(&scene, |status| !status["database"]["error"].is_null()).await;
    assert_eq!(status["health"]["state"], "live");
    let findings = status["findings"].to_string();
    assert!(
        findings.contains("groups and outbox cannot be read"),
        "{findings}"
    );
    let (code, body) = scene.get("/v1/groups/a/parked").await;
    assert_eq!(code, 503, "{body}");
    scene.end().await;
}
