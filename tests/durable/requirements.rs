//! The requirements of groups, compared with the installed triggers. Each gap causes one resync.

use pgherald_core::__private::host::trigger::SpecParts;
use pgherald_core::group::Consumer;
use pgherald_core::trigger::{self, TriggerSpec};
use pgherald_core::{
    Attempt, ConnectConfig, DurableOptions, EventHandler, HandlerResult, Inserted, Table, TableName,
};

use crate::support::{Log, Scene, all_well, degraded, drained, local, options, report};

const WAITING: &str = "SELECT lag_events + parked FROM pgherald.consumer_group_status";

fn jobs() -> TriggerSpec {
    TriggerSpec::new(TableName::new("public", "jobs").unwrap())
        .every_column()
        .outbox()
}

fn jobs_without_columns() -> TriggerSpec {
    TriggerSpec::new(TableName::new("public", "jobs").unwrap()).outbox()
}

fn requiring() -> DurableOptions {
    options("g").requires([jobs()])
}

async fn install(scene: &Scene, spec: TriggerSpec) {
    let plan = trigger::plan(&scene.client, &[spec]).await.unwrap();
    plan.apply(&scene.client).await.unwrap();
}

#[tokio::test]
async fn a_trigger_disabled_while_a_group_runs_causes_one_resync() {
    local(async {
        let scene = Scene::new().await;
        let (first, second) = (Log::default(), Log::default());
        let handles = [&first, &second].map(|log| scene.start(requiring(), log, all_well()));
        for handle in &handles {
            report(handle, "owning", |report| report.slices == 4).await;
        }
        scene.run("INSERT INTO jobs VALUES (1, 1)").await;
        scene.becomes(WAITING, 0).await;
        scene
            .run("ALTER TABLE jobs DISABLE TRIGGER USER; INSERT INTO jobs VALUES (2, 1)")
            .await;
        for handle in &handles {
            degraded(handle, "disabled").await;
        }
        scene
            .run("ALTER TABLE jobs ENABLE TRIGGER USER; INSERT INTO jobs VALUES (3, 1)")
            .await;
        for handle in &handles {
            report(handle, "owning again", |report| report.slices == 4).await;
        }
        scene.becomes(WAITING, 0).await;
        // A second consumer does not report the same gap.
        for handle in &handles {
            drained(handle).await;
        }
        let again = scene.start(requiring(), &first, all_well());
        scene.run("INSERT INTO jobs VALUES (4, 1)").await;
        scene.becomes(WAITING, 0).await;
        drained(&again).await;
        let mut lines = [first.lines(), second.lines()].concat();
        lines.sort();
        assert_eq!(
            lines,
            ["1=1#1", "3=1#1", "4=1#1", "resync triggers_restored"]
        );
    })
    .await;
}

#[tokio::test]
async fn a_gap_while_no_consumer_runs_causes_one_resync_at_the_next_start() {
    for (ddl, reason) in [
        (
            "ALTER TABLE jobs DISABLE TRIGGER USER; UPDATE jobs SET value = 2; ALTER TABLE jobs ENABLE TRIGGER USER",
            "resync triggers_restored",
        ),
        (
            "ALTER TABLE jobs ALTER value TYPE int USING (value + 1)",
            "resync table_altered",
        ),
    ] {
        local(async {
            let scene = Scene::new().await;
            let log = Log::default();
            let handle = scene.start(requiring(), &log, all_well());
            scene.run("INSERT INTO jobs VALUES (1, 1)").await;
            log.has(1).await;
            drained(&handle).await;
            scene.run(ddl).await;
            let handle = scene.start(requiring(), &log, all_well());
            scene.run("INSERT INTO jobs VALUES (2, 5)").await;
            let mut lines = log.has(3).await;
            scene.becomes(WAITING, 0).await;
            drained(&handle).await;
            lines.sort();
            assert_eq!(lines, ["1=1#1", "2=5#1", reason]);
        })
        .await;
    }
}

#[tokio::test]
async fn a_group_acknowledges_nothing_while_its_requirements_are_not_installed() {
    local(async {
        let scene = Scene::new().await;
        let log = Log::default();
        scene
            .run("DROP TRIGGER pgherald_notify_insert ON jobs")
            .await;
        scene
            .run("INSERT INTO jobs VALUES (1, 1); UPDATE jobs SET value = 2")
            .await;
        let handle = scene.start(requiring(), &log, all_well());
        degraded(&handle, "public.jobs").await;
        assert!(log.lines().is_empty());
        assert_eq!(scene.number(WAITING).await, 1);
        install(&scene, jobs()).await;
        log.has(2).await;
        scene.becomes(WAITING, 0).await;
        drained(&handle).await;
        let mut lines = log.lines();
        lines.sort();
        // The insert was not recorded while the group existed.
        assert_eq!(lines, ["1=2#1", "resync triggers_restored"]);
    })
    .await;
}

#[tokio::test]
async fn a_group_is_not_live_while_a_required_column_is_not_recorded() {
    local(async {
        let scene = Scene::new().await;
        let log = Log::default();
        let (id, value) = (
            jobs_without_columns(),
            jobs_without_columns().columns(["value"]),
        );
        install(&scene, id).await;
        scene.run("INSERT INTO jobs VALUES (1, 1)").await;
        let handle = scene.start(options("g").requires([value.clone()]), &log, all_well());
        degraded(&handle, "without column value").await;
        assert!(log.lines().is_empty());
        assert_eq!(scene.number(WAITING).await, 1);
        // More columns than required are accepted.
        install(&scene, value.columns(["value", "id"])).await;
        scene.run("INSERT INTO jobs VALUES (2, 7)").await;
        scene.becomes(WAITING, 0).await;
        drained(&handle).await;
        assert!(log.lines().contains(&"2=7#1".to_owned()));
    })
    .await;
}

#[tokio::test]
async fn requirements_are_stored_with_the_group_and_deleted_with_it() {
    local(async {
        let scene = Scene::new().await;
        let stored = "SELECT count(*) FROM pgherald.consumer_requirement WHERE group_name = 'g'";
        let others = jobs().for_table(TableName::new("public", "others").unwrap());
        let handle = scene.start(requiring().requires([others]), &Log::default(), all_well());
        scene.becomes(stored, 2).await;
        drained(&handle).await;
        let handle = scene.start(requiring(), &Log::default(), all_well());
        scene.becomes(stored, 1).await;
        drained(&handle).await;
        let row = scene
            .client
            .query_one(
                "SELECT specification FROM pgherald.consumer_requirement",
                &[],
            )
            .await
            .unwrap();
        let spec: TriggerSpec = serde_json::from_str(row.get(0)).unwrap();
        assert_eq!(spec, jobs());
        scene.group("g").delete().await.unwrap();
        scene.becomes(stored, 0).await;
    })
    .await;
}

#[tokio::test]
async fn requirements_in_notify_mode_or_twice_for_one_table_are_rejected() {
    let table = TableName::new("public", "jobs").unwrap();
    let wrong = options("g").requires([TriggerSpec::new(table)]);
    let config: ConnectConfig = "postgresql://nobody@127.0.0.1/nowhere".parse().unwrap();
    let error = Consumer::new(config.clone(), wrong, || Silent).unwrap_err();
    assert!(error.to_string().contains("TriggerSpec::outbox"), "{error}");
    let twice = requiring().requires([jobs(), jobs_without_columns()]);
    let error = Consumer::new(config, twice, || Silent).unwrap_err();
    assert!(error.to_string().contains("twice"), "{error}");
}

struct Job;

impl Table for Job {
    const NAME: &'static str = "jobs";
    const KEY: &'static [&'static str] = &["id"];
    type Key = i64;
}

/// Does not implement `resync`.
struct Silent;

impl EventHandler for Silent {
    type Event = Inserted<Job>;
    async fn handle(&self, _: Inserted<Job>, _: Attempt) -> HandlerResult {
        Ok(())
    }
}

#[tokio::test]
async fn a_handler_without_resync_ignores_only_the_first_resync_of_its_group() {
    local(async {
        let scene = Scene::new().await;
        let options = DurableOptions::new("g").slices(4).requires([jobs()]);
        let options = options.lease(std::time::Duration::from_secs(1));
        let (handle, consumer) = Consumer::new(scene.config(), options, || Silent).unwrap();
        tokio::task::spawn_local(consumer.run());
        report(&handle, "started", |report| report.handled == 1).await;
        scene
            .run("ALTER TABLE jobs DISABLE TRIGGER USER; ALTER TABLE jobs ENABLE TRIGGER USER")
            .await;
        report(&handle, "given up", |report| report.dead_letters == 1).await;
        scene
            .becomes("SELECT dead_letters FROM pgherald.consumer_group_status", 1)
            .await;
        let error = "SELECT count(*) FROM pgherald.parked_event
            WHERE error LIKE '%triggers_restored%does not implement resync%'";
        assert_eq!(scene.number(error).await, 1);
        drained(&handle).await;
    })
    .await;
}

#[tokio::test]
async fn a_group_is_not_live_after_a_required_column_was_renamed_and_loses_nothing() {
    local(async {
        let scene = Scene::new().await;
        let log = Log::default();
        let value = jobs_without_columns().columns(["value"]);
        install(&scene, value.clone()).await;
        let handle = scene.start(options("g").requires([value.clone()]), &log, all_well());
        report(&handle, "owning", |report| report.slices == 8).await;
        scene
            .run("ALTER TABLE jobs RENAME COLUMN value TO worth")
            .await;
        degraded(&handle, "\"value\"").await;
        scene
            .run("INSERT INTO jobs SELECT n, 1 FROM generate_series(1, 20) AS n")
            .await;
        assert_eq!(scene.number(WAITING).await, 20);
        scene
            .run("ALTER TABLE jobs RENAME COLUMN worth TO value")
            .await;
        install(&scene, value).await;
        scene.run("INSERT INTO jobs VALUES (21, 1)").await;
        scene.becomes(WAITING, 0).await;
        drained(&handle).await;
        let mut lines = log.lines();
        lines.retain(|line| !line.starts_with("resync"));
        assert_eq!(lines.len(), 21, "{lines:?}");
        assert_eq!(log.lines().len(), 22, "one resync: {:?}", log.lines());
    })
    .await;
}

#[tokio::test]
async fn renaming_a_recorded_but_not_required_column_does_not_affect_the_group() {
    local(async {
        let scene = Scene::new().await;
        scene.run("ALTER TABLE jobs ADD COLUMN note text").await;
        install(&scene, jobs()).await;
        let log = Log::default();
        let handle = scene.start(requiring(), &log, all_well());
        report(&handle, "owning", |report| report.slices == 8).await;
        scene
            .run("ALTER TABLE jobs RENAME COLUMN note TO remark; INSERT INTO jobs SELECT n, 7 FROM generate_series(1, 20) AS n")
            .await;
        let lines = log.has(21).await;
        scene.becomes(WAITING, 0).await;
        let with_value = lines.iter().filter(|line| line.ends_with("=7#1"));
        assert_eq!(with_value.count(), 20, "{lines:?}");
        assert!(lines.contains(&"resync table_altered".to_owned()), "{lines:?}");
        let drifts = trigger::verify(&scene.client, &[jobs()]).await.unwrap();
        assert!(!drifts.is_empty() && drifts.iter().all(|drift| !drift.loses_changes()));
        drained(&handle).await;
    })
    .await;
}

#[tokio::test]
async fn a_requirement_is_kept_while_a_consumer_that_may_need_it_is_live() {
    local(async {
        let scene = Scene::new().await;
        let stored = "SELECT count(*) FROM pgherald.consumer_requirement";
        let others = TriggerSpec::new(TableName::new("public", "others").unwrap()).every_column();
        let both = requiring().requires([others.outbox()]);
        let newer = scene.start(both, &Log::default(), all_well());
        report(&newer, "owning", |report| report.slices == 8).await;
        let older = scene.start(requiring(), &Log::default(), all_well());
        report(&older, "owning", |report| report.slices == 4).await;
        assert_eq!(scene.number(stored).await, 2);
        drained(&newer).await;
        drained(&older).await;
        let older = scene.start(requiring(), &Log::default(), all_well());
        scene.becomes(stored, 1).await;
        drained(&older).await;
    })
    .await;
}
