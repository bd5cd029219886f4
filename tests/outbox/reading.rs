//! Which rows `OutboxReader` returns, and when.

use std::sync::Arc;
use std::time::Duration;

use pgherald::ErrorKind;
use pgherald_core::__private::host::outbox::OutboxReader;
use pgherald_core::trigger::{self, TriggerSpec};
use pgherald_core::{Operation, TableName};

use crate::support::{Scene, all_shown};

#[tokio::test]
async fn recorded_rows_are_read_back() {
    let mut scene = Scene::new().await;
    scene.run("INSERT INTO counters VALUES (7, 1)").await;
    scene.run("TRUNCATE counters").await;
    let events = scene.read(10).await;
    let event = &events[0];
    assert_eq!(
        (event.schema(), event.table()),
        (Some("public"), "counters")
    );
    assert_eq!(
        (event.operation(), &*event.key_columns()[0]),
        (Operation::Insert, "id")
    );
    assert_eq!(event.columns_json().as_deref(), Some(r#"{"value":1}"#));
    assert!(event.transaction_id().is_some() && event.latency() < Duration::from_secs(60));
    assert_eq!(
        (events[1].operation(), events[1].key()),
        (Operation::Truncate, None)
    );
    assert!(events[0].outbox_id() < events[1].outbox_id() && events.len() == 2);
    assert!(scene.read(10).await.is_empty(), "every row was read");
}

#[tokio::test]
async fn a_late_commit_with_small_ids_is_not_skipped() {
    let mut scene = Scene::new().await;
    let late = scene.connect().await;
    late.batch_execute("BEGIN; INSERT INTO counters VALUES (1, 1)")
        .await
        .unwrap();
    scene.run("INSERT INTO counters VALUES (2, 1)").await;
    assert_eq!(
        all_shown(&scene.read(1).await),
        ["2=1"],
        "open transactions do not hold back other rows"
    );
    scene.run("INSERT INTO counters VALUES (3, 1)").await;
    assert_eq!(all_shown(&scene.read(10).await), ["3=1"]);
    late.batch_execute("COMMIT").await.unwrap();
    scene.run("INSERT INTO counters VALUES (4, 1)").await;
    assert_eq!(all_shown(&scene.read(1).await), ["1=1", "4=1"]);
    assert!(scene.read(10).await.is_empty());
}

#[tokio::test]
async fn rows_committed_while_a_difference_is_read_belong_to_the_next_one() {
    let mut scene = Scene::new().await;
    let late = scene.connect().await;
    late.batch_execute("BEGIN; INSERT INTO counters VALUES (1, 1)")
        .await
        .unwrap();
    scene
        .run("INSERT INTO counters VALUES (2, 1), (3, 1)")
        .await;
    let (events, is_last) = scene.page(1).await;
    assert_eq!(
        (all_shown(&events), is_last),
        (vec!["2=1".to_owned()], false)
    );
    late.batch_execute("COMMIT").await.unwrap();
    assert_eq!(all_shown(&scene.read(1).await), ["3=1"]);
    assert_eq!(all_shown(&scene.read(1).await), ["1=1"]);
}

#[tokio::test]
async fn a_cursor_can_start_at_the_beginning_or_now() {
    let mut scene = Scene::new().await;
    scene.run("INSERT INTO counters VALUES (1, 1)").await;
    let now = scene.reader.now().await.unwrap();
    scene.run("INSERT INTO counters VALUES (2, 1)").await;
    scene.cursor = scene.reader.beginning().await.unwrap();
    assert_eq!(all_shown(&scene.read(1).await), ["1=1", "2=1"]);
    scene.cursor = now;
    assert_eq!(all_shown(&scene.read(1).await), ["2=1"]);
}

#[tokio::test]
async fn a_backlog_is_read_page_by_page_at_a_constant_cost() {
    let mut scene = Scene::new().await;
    let late = scene.connect().await;
    late.batch_execute("BEGIN; INSERT INTO counters VALUES (0, 1)")
        .await
        .unwrap();
    scene
        .run("INSERT INTO counters SELECT n, 1 FROM generate_series(1, 50000) AS n")
        .await;
    let (events, _) = scene.page(1_000).await;
    assert_eq!(events.len(), 1_000);
    let plan = scene
        .client
        .query(
            "EXPLAIN SELECT * FROM pgherald.outbox WHERE id > 20000
             AND pg_visible_in_snapshot(xid, pg_current_snapshot()) ORDER BY id LIMIT 100",
            &[],
        )
        .await
        .unwrap();
    let plan: Vec<String> = plan.iter().map(|row| row.get(0)).collect();
    assert!(!plan.concat().contains("->  Sort"), "{plan:#?}");
    assert_eq!(scene.read(7_000).await.len(), 49_000);
    late.batch_execute("COMMIT").await.unwrap();
    assert_eq!(all_shown(&scene.read(1).await), ["0=1"]);
}

#[tokio::test]
async fn errors_of_the_reader_name_their_cause() {
    let mut scene = Scene::new().await;
    scene.run("INSERT INTO counters VALUES (1, 1)").await;
    scene.run("UPDATE pgherald.outbox SET key = '{'").await;
    let cursor = scene.cursor.clone();
    let page = scene.reader.next(&cursor, 1).await.unwrap();
    assert!(page.events.is_empty() && page.cursor != cursor, "{page:?}");
    let error = page.undecodable[0].to_string();
    assert!(error.contains("where a key is expected"), "{error}");
    scene.run("DELETE FROM pgherald.outbox_relation").await;
    // The first reader has cached the relation. A new one has not.
    scene.reader = OutboxReader::new(Arc::new(scene.connect().await));
    let page = scene.reader.next(&cursor, 1).await.unwrap();
    let error = page.undecodable[0].to_string();
    assert!(error.contains("install the triggers"), "{error}");
    scene.run("DROP TABLE pgherald.outbox CASCADE").await;
    let error = scene.reader.next(&cursor, 1).await.unwrap_err();
    assert!(error.chain().contains("does not exist"), "{error}");
}

#[tokio::test]
async fn an_event_marks_oversized_columns_and_fills_in_unchanged_values() {
    #[derive(serde::Deserialize)]
    struct Note {
        note: Option<String>,
    }
    #[derive(Debug, serde::Deserialize)]
    struct File {
        body: Option<String>,
        text: String,
    }
    let mut scene = Scene::new().await;
    scene
        .run("CREATE TABLE files (id int PRIMARY KEY, body bytea, note text, text text)")
        .await;
    let table = TableName::new("public", "files").unwrap();
    let spec = TriggerSpec::new(table)
        .outbox()
        .every_column()
        .old_columns();
    let client = scene.connect().await;
    let install = async |spec: TriggerSpec| {
        let plan = trigger::plan(&client, &[spec]).await.unwrap();
        plan.apply(&client).await.unwrap();
    };
    install(spec.clone().value_limit(50_000)).await;
    scene
        .run("INSERT INTO files VALUES (1, decode(repeat('07', 30000), 'hex'), 'a', repeat('x', 20000))")
        .await;
    scene.run("UPDATE files SET note = 'b'").await;
    let events = scene.read(10).await;
    let event = &events[1];
    assert_eq!(event.key().unwrap().to_string(), "1");
    assert_eq!(event.unavailable(), ["body"]);
    let notes = [event.columns::<Note>(), event.old_columns::<Note>()];
    let notes = notes.map(|note| note.unwrap().unwrap().note.unwrap());
    assert_eq!(notes, ["b", "a"]);
    for file in [event.columns::<File>(), event.old_columns::<File>()] {
        let error = file.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Decode);
        let error = error.to_string();
        assert!(
            error.contains("\"body\"") && error.contains("50000"),
            "{error}"
        );
    }
    // With a higher limit the value is recorded.
    install(spec.value_limit(60_002)).await;
    scene.run("UPDATE files SET note = 'c'").await;
    let event = &scene.read(10).await[0];
    assert_eq!(event.unavailable(), [""; 0]);
    for file in [event.columns::<File>(), event.old_columns::<File>()] {
        let file = file.unwrap().unwrap();
        assert_eq!(
            (file.text.len(), file.body.unwrap().len()),
            (20_000, 60_002)
        );
    }
    assert_eq!(event.changed().unwrap(), ["note"]);
}

#[tokio::test]
async fn a_page_of_large_rows_is_bounded_by_bytes() {
    let mut scene = Scene::new().await;
    scene
        .run("CREATE TABLE files (id int PRIMARY KEY, body text)")
        .await;
    let table = TableName::new("public", "files").unwrap();
    let spec = TriggerSpec::new(table).outbox().every_column();
    let plan = trigger::plan(&scene.client, &[spec]).await.unwrap();
    plan.apply(&scene.client).await.unwrap();
    scene
        .run("INSERT INTO files SELECT n, repeat('x', 1000000) FROM generate_series(1, 50) AS n")
        .await;
    let (mut pages, mut rows) = (0, 0);
    loop {
        let (events, is_last) = scene.page(1_000).await;
        let bytes: usize = events
            .iter()
            .map(|event| event.columns_json().unwrap().len())
            .sum();
        assert!(bytes <= (16 << 20) + 1_100_000, "{bytes} bytes in a page");
        rows += events.len();
        pages += 1;
        if is_last {
            break;
        }
    }
    assert!(rows == 50 && pages >= 3, "{rows} rows in {pages} pages");
}
