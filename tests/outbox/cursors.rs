//! The text of a cursor is read alike by the program and by the function of the database.

use pgherald_core::__private::host::outbox::Cursor;

use crate::support::Scene;

#[tokio::test]
async fn cursors_are_parsed_alike_by_the_program_and_the_database() {
    let scene = Scene::new().await;
    let client = scene.connect().await;
    let sql = "SELECT r.done::text, r.floor, r.closed, r.reading::text, r.position FROM pgherald.read_cursor($1) AS r";
    for text in [
        "7:7: 0 7 0",
        "1:1: 0 1 5",
        "7:9:7,8 120 11 1",
        "7:9:7 120 11 1 9:12: 140 12 2 133",
        "7:9:7 120 11 1 9:12: 140 12 2 -9223372036854775808",
        "",
        "x",
        "7:7: 0 7",
        "7:7:x 0 7 0",
        "7:7 0 7 0",
        "7:7: 0 7 0\n",
        "7:7: 0 7 0 ",
        " 7:7: 0 7 0",
        "7:7: 0 7 0 9:9: 1 2",
        "7:7: 0 7 0 9:9: 1 9 0",
        "7:7: 0 7 0 9:9: 1 9 0 9223372036854775808",
        "7:7: 0 7 0 9:9: 1 9 0 -9223372036854775809",
        "9:7: 0 7 0",
        "0:7: 0 7 0",
        "7:9:6 0 7 0",
        "7:9:9 0 7 0",
        "7:9:8,7 0 7 0",
        "7:9:7,,8 0 7 0",
        "7:9:7 0 7 0 9:8: 0 9 0 1",
        "7:99999999999999999999: 0 7 0",
        "7:7: 0 99999999999999999999 0",
    ] {
        let row = client.query_one(sql, &[&text]).await.unwrap();
        let done: Option<String> = row.get(0);
        let parsed = text.parse::<Cursor>();
        assert_eq!(parsed.is_ok(), done.is_some(), "{text:?}: {parsed:?}");
        let Some(done) = done else {
            let rest: (Option<i64>, Option<i64>) = (row.get(1), row.get(4));
            assert_eq!(rest, (None, None), "{text:?}");
            continue;
        };
        let (floor, closed): (i64, i64) = (row.get(1), row.get(2));
        let words: Vec<&str> = text.split(' ').collect();
        assert_eq!(
            [&*done, &floor.to_string(), &closed.to_string()],
            [words[0], words[1], words[3]]
        );
        let (reading, position): (Option<String>, Option<i64>) = (row.get(3), row.get(4));
        assert_eq!(reading.as_deref(), words.get(4).copied());
        let position = position.map(|position| position.to_string());
        assert_eq!(position.as_deref(), words.get(8).copied());
    }
}
