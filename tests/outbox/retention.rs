//! Trimming removes old rows, spares unread ones, and reports a gap to readers that are too late.

use std::time::Duration;

use pgherald_core::outbox::{Retention, set_retention, trim};

use crate::support::{Scene, all_shown};

const NOTHING: Retention = Retention::new(Duration::ZERO);
const FOR_LONG: Retention = Retention::new(Duration::from_secs(3_600));

impl Scene {
    async fn trim(&self, retention: Retention) -> u32 {
        set_retention(&self.client, retention).await.unwrap();
        trim(&self.client).await.unwrap()
    }

    /// Reads the next page, which holds all remaining rows. Returns whether rows before it were trimmed.
    async fn is_gap(&mut self) -> bool {
        let page = self.reader.next(&self.cursor, 1_000).await.unwrap();
        self.cursor = page.cursor;
        page.is_gap
    }

    async fn rows(&self) -> i64 {
        let sql = "SELECT count(*) FROM pgherald.outbox";
        self.client.query_one(sql, &[]).await.unwrap().get(0)
    }
}

#[tokio::test]
async fn old_rows_are_trimmed_part_by_part() {
    let mut scene = Scene::new().await;
    for round in 1..10 {
        scene
            .run(&format!("INSERT INTO counters VALUES ({round}, 1)"))
            .await;
        assert!(!scene.is_gap().await);
        assert_eq!(scene.trim(FOR_LONG).await, 0, "not old");
        // The first trim makes another part the current one. The second trim empties this one.
        assert_eq!((scene.trim(NOTHING).await, scene.rows().await), (0, 1));
        assert!(!scene.is_gap().await);
        assert_eq!(
            scene.trim(FOR_LONG).await,
            0,
            "the part is closed, but not old"
        );
        assert!(!scene.is_gap().await);
        assert_eq!((scene.trim(NOTHING).await, scene.rows().await), (1, 0));
        assert!(!scene.is_gap().await, "the rows were read before");
    }
}

#[tokio::test]
async fn a_reader_of_trimmed_rows_reports_one_gap() {
    let mut scene = Scene::new().await;
    scene
        .run("INSERT INTO counters VALUES (1, 1), (2, 1)")
        .await;
    let (events, is_last) = scene.page(1).await;
    assert_eq!((events.len(), is_last), (1, false));
    for _ in 0..2 {
        scene.trim(NOTHING).await;
    }
    scene.run("INSERT INTO counters VALUES (3, 1)").await;
    let page = scene.reader.next(&scene.cursor, 10).await.unwrap();
    assert!(
        page.is_gap && page.events.is_empty(),
        "the rest of the difference is gone: {page:?}"
    );
    scene.cursor = page.cursor;
    assert!(!scene.is_gap().await);
    let beginning = scene.reader.beginning().await.unwrap();
    let page = scene.reader.next(&beginning, 10).await.unwrap();
    assert!(!page.is_gap);
    assert_eq!(all_shown(&page.events), ["3=1"]);
}

#[tokio::test]
async fn an_open_transaction_keeps_its_part_without_blocking_trimming() {
    let mut scene = Scene::new().await;
    let late = scene.connect().await;
    late.batch_execute("BEGIN; INSERT INTO counters VALUES (1, 1)")
        .await
        .unwrap();
    for id in 2..9 {
        scene
            .run(&format!("INSERT INTO counters VALUES ({id}, 1)"))
            .await;
        scene.trim(FOR_LONG).await;
        assert!(
            !scene.is_gap().await,
            "a closed part was read before it is emptied"
        );
        scene.trim(NOTHING).await;
        assert!(!scene.is_gap().await);
    }
    assert!(
        scene.rows().await > 0,
        "the part of the open transaction keeps its rows"
    );
    late.batch_execute("COMMIT").await.unwrap();
    assert_eq!(all_shown(&scene.read(10).await), ["1=1"]);
    for _ in 0..3 {
        scene.trim(FOR_LONG).await;
        assert!(!scene.is_gap().await);
        scene.trim(NOTHING).await;
    }
    assert_eq!(scene.rows().await, 0);
}

#[tokio::test]
async fn rows_written_to_a_closed_part_are_not_lost() {
    let mut scene = Scene::new().await;
    scene.run("INSERT INTO counters VALUES (1, 1)").await;
    scene.trim(NOTHING).await;
    assert_eq!(scene.trim(FOR_LONG).await, 0, "closed");
    assert!(!scene.is_gap().await);
    // As a writer that had read the current part before it was closed, and was delayed.
    scene
        .run(
            "INSERT INTO pgherald.outbox (relation, hash, part, operation, key, columns)
             SELECT id, 0, 0, 'I', '2', '{\"value\":1}' FROM pgherald.outbox_relation",
        )
        .await;
    assert_eq!(scene.trim(NOTHING).await, 0, "the part has a new row");
    assert_eq!(all_shown(&scene.read(10).await), ["2=1"]);
    assert_eq!(scene.trim(NOTHING).await, 1);
}

#[tokio::test]
async fn rows_are_trimmed_early_beyond_the_maximum_size() {
    let mut scene = Scene::new().await;
    let small = FOR_LONG.max_bytes(1 << 20);
    let mut emptied = 0;
    let mut most = 0;
    for round in 0..20 {
        let first = round * 5_000;
        let sql = format!(
            "INSERT INTO counters SELECT n, 1 FROM generate_series({first}, {first} + 4999) AS n"
        );
        scene.run(&sql).await;
        emptied += scene.trim(small).await;
        most = most.max(scene.rows().await);
    }
    assert!(
        emptied > 3 && most < 60_000,
        "{emptied} parts emptied, up to {most} rows"
    );
    assert!(scene.is_gap().await);
}

#[tokio::test]
async fn readers_do_not_block_trimming() {
    let mut scene = Scene::new().await;
    scene.run("INSERT INTO counters VALUES (1, 1)").await;
    scene.trim(NOTHING).await;
    let reading = scene.connect().await;
    reading
        .batch_execute(
            "BEGIN; DECLARE rows CURSOR FOR SELECT * FROM pgherald.outbox; FETCH 1 FROM rows",
        )
        .await
        .unwrap();
    assert_eq!(scene.trim(NOTHING).await, 0, "in use");
    reading.batch_execute("COMMIT").await.unwrap();
    assert!(!scene.is_gap().await);
    assert_eq!(scene.trim(NOTHING).await, 1);
}

#[tokio::test]
async fn trimming_without_the_right_is_an_error() {
    let scene = Scene::new().await;
    let stranger = scene.connect().await;
    stranger
        .batch_execute("CREATE ROLE trimmer; SET ROLE trimmer")
        .await
        .unwrap();
    let error = trim(&stranger).await.unwrap_err();
    assert!(
        error.chain().contains("permission denied"),
        "{}",
        error.chain()
    );
    stranger
        .batch_execute("RESET ROLE; DROP ROLE trimmer")
        .await
        .unwrap();
}
