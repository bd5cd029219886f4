//! Filters in the query.

use pgherald_distributor::Limits;

use crate::streams::number;
use crate::support::Scene;

#[actix_web::test]
async fn clients_receive_only_what_their_filters_match() {
    let scene = Scene::new(Limits::default()).await;
    let mut clients = Vec::new();
    for (query, expected) in [
        ("", vec![1, 2, 1, 2]),
        ("?table=public.users&key=2", vec![2, 2]),
        ("?table=users&key=2&key=1&operation=insert", vec![1, 2]),
        ("?operation=delete&table=users", vec![2]),
        ("?column.tenant=a", vec![1, 1]),
        ("?column.tenant=b&operation=insert", vec![2]),
    ] {
        let mut ws = scene.ws(&format!("/v1/ws{query}")).await;
        ws.live().await;
        clients.push((query, ws, expected));
    }
    scene.insert(1, "a", "").await;
    scene.insert(2, "b", "").await;
    scene.sql("UPDATE users SET note = 'x' WHERE id = 1").await;
    scene.sql("DELETE FROM users WHERE id = 2").await;
    // Each filter lets this one through, or is about another table.
    scene.sql("ALTER TABLE users DISABLE TRIGGER ALL").await;
    for (query, mut ws, expected) in clients {
        let mut received = Vec::new();
        loop {
            let message = ws.message().await;
            if message.contains(r#""type":"down""#) {
                break;
            }
            received.push(number(&message));
        }
        assert_eq!(received, expected, "{query}");
    }
    scene.end().await;
}

#[actix_web::test]
async fn bad_filters_are_refused_with_their_cause() {
    let scene = Scene::new(Limits::default()).await;
    for query in [
        "since=1",
        "table=",
        "operation=upsert",
        "key=7",
        "table=users&key=abc",
        "tables%0d%0aset-cookie:x%0d%0a%0d%0a=users",
    ] {
        let (status, body) = scene.get(&format!("/v1/events?{query}")).await;
        assert_eq!(status, 400, "{query}");
        assert!(
            body.starts_with(r#"{"error":{"code":"bad_filter","message":""#),
            "{query}: {body}"
        );
        assert!(!body.contains('\n'), "{body}");
    }
    scene.end().await;
}

#[actix_web::test]
async fn tables_that_are_not_watched_are_refused_by_name() {
    let scene = Scene::new(Limits::default()).await;
    for (query, name) in [
        ("table=orders", "orders"),
        ("table=users&table=app.users", "app.users"),
    ] {
        let (status, body) = scene.get(&format!("/v1/events?{query}")).await;
        let expected = format!(
            r#"{{"error":{{"code":"unknown_table","message":"the distributor does not watch the table {name}"}}}}"#
        );
        assert_eq!((status, body), (400, expected), "{query}");
    }
    scene.end().await;
}
