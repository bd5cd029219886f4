//! Databases with an encoding other than UTF-8.

use pgherald::GetStatus;
use pgherald::trigger::TriggerSpec;
use pgherald_testkit::{Postgres, Seen};

use crate::support::{DEADLINE, client, listen, live, source, watched_table};

/// Creates an empty database with the encoding. `name` must be unique.
async fn database(name: &str, encoding: &str) -> String {
    let server = Postgres::shared().await.unwrap();
    let name = format!("{name}_{}_{}", encoding.to_lowercase(), std::process::id());
    let create = format!(
        "CREATE DATABASE {name} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    );
    server.execute(&create).await.unwrap();
    server.url_for(&name)
}

fn keys(seen: &Seen) -> Vec<String> {
    let keys = seen.events().filter_map(|event| event.key());
    keys.map(ToString::to_string).collect()
}

#[actix::test]
async fn a_key_that_is_not_utf8_causes_neither_a_reconnect_nor_a_resync() {
    for (encoding, byte) in [("SQL_ASCII", "fc"), ("WIN1252", "81")] {
        let url = database("keys", encoding).await;
        let client = client(&url).await;
        client
            .batch_execute("CREATE TABLE t (name text PRIMARY KEY)")
            .await
            .unwrap();
        let spec = TriggerSpec::new(pgherald::TableName::new("public", "t").unwrap());
        crate::support::install(&client, &spec).await;
        let (listener, probe) = listen(source(&url).watch(spec)).await;
        live(&probe).await;
        let resyncs = probe.seen().resyncs().count();
        for number in 0..5 {
            let insert = format!(
                "INSERT INTO t SELECT convert_from('\\x4d{byte}'::bytea, getdatabaseencoding()) || '{number}'"
            );
            client.batch_execute(&insert).await.unwrap();
        }
        let all = |seen: &Seen| keys(seen).len() == 5;
        let seen = probe.wait_for("every row", DEADLINE, all).await.unwrap();
        let letter = char::from(u8::from_str_radix(byte, 16).unwrap());
        assert_eq!(keys(&seen)[4], format!("M{letter}4"), "{encoding}");
        assert_eq!(seen.resyncs().count(), resyncs);
        let counts = listener.send(GetStatus).await.unwrap().counts;
        assert_eq!((counts.disconnected, counts.undecodable), (0, 0));
    }
}

/// The server cannot convert the notification, and the client library drops the session. The next session does not receive it.
#[actix::test]
async fn a_foreign_notification_that_is_not_utf8_causes_one_reconnect() {
    let url = database("stranger", "SQL_ASCII").await;
    let client = client(&url).await;
    let spec = watched_table(&client, "t").await;
    let (listener, probe) = listen(source(&url).watch(spec)).await;
    live(&probe).await;
    client
        .batch_execute("SELECT pg_notify('pgherald', convert_from('\\xfc', 'SQL_ASCII'))")
        .await
        .unwrap();
    let again = |seen: &Seen| {
        seen.health().len() > 1
            && seen.health().last().is_some_and(pgherald::Health::is_live)
            && seen.resyncs().count() >= 2
    };
    probe.wait_for("live again", DEADLINE, again).await.unwrap();
    crate::support::insert(&client, "t", 1).await;
    let row = |seen: &Seen| crate::support::numbers(seen) == [1];
    probe.wait_for("the row", DEADLINE, row).await.unwrap();
    let counts = listener.send(GetStatus).await.unwrap().counts;
    assert_eq!(counts.disconnected, 1);
}
