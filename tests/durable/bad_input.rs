//! What is wrong with a group, its terms, its role or a row is told, and hurts nothing else.

use std::time::Duration;

use pgherald_core::group::Consumer;
use pgherald_core::trigger::{self, TriggerSpec};
use pgherald_core::{
    Attempt, EventHandler, HandlerError, HandlerResult, Inserted, Table, TableName,
};

use crate::support::{Log, Scene, all_well, degraded, drained, local, report, terms};

#[tokio::test]
async fn a_group_with_another_number_of_slices_is_refused_in_health() {
    local(async {
        let scene = Scene::new().await;
        let log = Log::default();
        let made = scene.start(terms("g"), &log, all_well());
        report(&made, "8 slices", |report| report.slices == 8).await;
        drained(&made).await;
        scene.run("INSERT INTO jobs VALUES (1, 1)").await;
        let refused = scene.start(terms("g").slices(9), &log, all_well());
        degraded(&refused, "has 8 slices, and 9 were asked for").await;
        assert_eq!(drained(&refused).await.handled, 0);
        assert!(log.lines().is_empty());
        let unsaid = scene.start(terms("g").slices(8), &log, all_well());
        log.has(1).await;
        drained(&unsaid).await;
    })
    .await;
}

/// Adds a row that no trigger would write.
async fn forge(scene: &Scene, relation: &str, operation: &str, key: &str) {
    let sql = format!(
        "INSERT INTO pgherald.outbox (relation, hash, part, operation, key)
        SELECT {relation}, 7, 0, {operation}, {key} FROM pgherald.outbox_relation WHERE table_name = 'jobs'"
    );
    scene.run(&sql).await;
}

#[tokio::test]
async fn a_row_that_cannot_be_understood_becomes_a_dead_letter_and_the_rest_goes_on() {
    local(async {
        let scene = Scene::new().await;
        let log = Log::default();
        scene.run("INSERT INTO jobs VALUES (1, 1)").await;
        forge(&scene, "id", "'I'", "'[1'").await;
        forge(&scene, "-7", "'I'", "'[1]'").await;
        forge(&scene, "id", "'x'", "'[1]'").await;
        forge(&scene, "id", "''", "'[1]'").await;
        forge(&scene, "id", "(-100)::\"char\"", "'[1]'").await;
        scene.run("INSERT INTO jobs VALUES (2, 1)").await;
        let handle = scene.start(terms("g"), &log, all_well());
        report(&handle, "all", |report| {
            report.handled == 2 && report.dead_letters == 5
        })
        .await;
        drained(&handle).await;
        let letters = scene.group("g").dead_letters(10).await.unwrap();
        let errors: Vec<String> = letters
            .into_iter()
            .map(|letter| letter.error.unwrap())
            .collect();
        for (error, word) in errors.iter().zip([
            "where a key",
            "no row -7",
            "operation 'x'",
            "operation",
            "operation",
        ]) {
            assert!(error.contains(word), "{errors:?}");
        }
        assert_eq!(errors.len(), 5);
        assert_eq!(log.lines(), ["1=1#1", "2=1#1"]);
    })
    .await;
}

struct Named;

impl Table for Named {
    const NAME: &'static str = "named";
    const KEY: &'static [&'static str] = &["name"];
    type Key = i64;
}

struct ByNumber(Log);

impl EventHandler for ByNumber {
    type Event = Inserted<Named>;

    async fn handle(&self, event: Inserted<Named>, _: Attempt) -> HandlerResult {
        self.0.note(event.key.to_string());
        Ok(())
    }
}

#[tokio::test]
async fn a_key_of_another_type_becomes_a_dead_letter_and_the_rest_goes_on() {
    local(async {
        let scene = Scene::new().await;
        scene
            .run("CREATE TABLE named (name text PRIMARY KEY)")
            .await;
        let spec = TriggerSpec::new(TableName::new("public", "named").unwrap()).outbox();
        let plan = trigger::plan(&scene.client, &[spec]).await.unwrap();
        plan.apply(&scene.client).await.unwrap();
        let log = Log::default();
        let noted = log.clone();
        let (handle, consumer) =
            Consumer::new(scene.config(), terms("g"), move || ByNumber(noted.clone())).unwrap();
        tokio::task::spawn_local(consumer.run());
        scene
            .run("INSERT INTO named VALUES ('one'), ('two'); INSERT INTO jobs VALUES (1, 1)")
            .await;
        report(&handle, "dead letters", |report| report.dead_letters == 2).await;
        drained(&handle).await;
        let letters = scene.group("g").dead_letters(10).await.unwrap();
        assert!(
            letters
                .iter()
                .all(|letter| letter.attempts == 1 && letter.event.is_some())
        );
        let error = letters[0].error.as_deref().unwrap();
        assert!(error.contains("one"), "{error}");
        assert!(log.lines().is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_delay_beyond_all_bounds_is_taken_as_a_long_one() {
    local(async {
        let scene = Scene::new().await;
        let log = Log::default();
        let plan = |line: &str, _| match line {
            "1=1" => Err(HandlerError::snooze(Duration::MAX)),
            "2=1" => Err(HandlerError::retry_after("later", Duration::MAX)),
            _ => Ok(()),
        };
        let handle = scene.start(terms("g"), &log, Box::new(plan));
        scene
            .run("INSERT INTO jobs VALUES (1, 1), (2, 1), (3, 1)")
            .await;
        scene
            .becomes("SELECT count(*) FROM pgherald.parked_event", 2)
            .await;
        drained(&handle).await;
        let parked = scene.group("g").parked(10).await.unwrap();
        assert!(
            parked
                .iter()
                .all(|event| event.due_at.unwrap() > event.parked_at + Duration::from_secs(86_400))
        );
        assert_eq!(log.lines().len(), 3);
    })
    .await;
}

#[tokio::test]
async fn an_outbox_that_goes_and_comes_back_is_read_again() {
    local(async {
        let scene = Scene::new().await;
        let log = Log::default();
        let handle = scene.start(terms("g"), &log, all_well());
        scene.run("INSERT INTO jobs VALUES (1, 1)").await;
        log.has(1).await;
        let plan = trigger::plan_uninstall_all(&scene.client).await.unwrap();
        plan.apply(&scene.client).await.unwrap();
        degraded(&handle, "no outbox").await;
        scene.run("INSERT INTO jobs VALUES (2, 1)").await;
        let spec = TriggerSpec::new(TableName::new("public", "jobs").unwrap())
            .every_column()
            .outbox();
        let plan = trigger::plan(&scene.client, &[spec]).await.unwrap();
        plan.apply(&scene.client).await.unwrap();
        scene.run("INSERT INTO jobs VALUES (3, 1)").await;
        assert_eq!(log.has(2).await, ["1=1#1", "3=1#1"]);
        report(&handle, "its slices", |report| report.slices == 8).await;
        drained(&handle).await;
    })
    .await;
}

#[tokio::test]
async fn a_role_without_rights_is_told_which_and_goes_on_when_it_has_them() {
    local(async {
        let scene = Scene::new().await;
        let role = format!("poor_{}", fastrand::u64(..));
        scene.run(&format!("CREATE ROLE {role} LOGIN")).await;
        let url = format!("{}?user={role}", scene.url);
        let log = Log::default();
        scene.run("INSERT INTO jobs VALUES (1, 1)").await;
        let handle = scene.start_at(&url, terms("g"), &log, all_well());
        degraded(&handle, "permission denied").await;
        // One after the other: what was begun with too few is finished with more.
        scene
            .run(&format!(
                "GRANT USAGE ON SCHEMA pgherald TO {role};
                GRANT SELECT ON ALL TABLES IN SCHEMA pgherald TO {role};
                GRANT SELECT ON ALL SEQUENCES IN SCHEMA pgherald TO {role};
                GRANT INSERT ON pgherald.consumer_group, pgherald.consumer_slice, pgherald.consumer_cursor,
                    pgherald.parked_event, pgherald.consumer_node TO {role};
                GRANT UPDATE, DELETE ON pgherald.consumer_node TO {role}"
            ))
            .await;
        degraded(&handle, "for table consumer_").await;
        scene
            .run(&format!(
                "GRANT UPDATE ON pgherald.consumer_slice, pgherald.consumer_cursor, pgherald.consumer_group TO {role};
                GRANT UPDATE, DELETE ON pgherald.parked_event TO {role}"
            ))
            .await;
        log.has(1).await;
        let lag = "SELECT lag_events FROM pgherald.consumer_group_status";
        scene.becomes(lag, 0).await;
        drained(&handle).await;
        scene.run(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
    })
    .await;
}
