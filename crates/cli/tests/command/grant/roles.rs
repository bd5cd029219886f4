//! Runs, as each role, the operations that it must be able to do and those that must be refused.

use std::sync::Arc;
use std::time::Duration;

use pgherald_core::group::{Consumer, Group, Seek, TransactionalHandler};
use pgherald_core::trigger::TriggerSpec;
use pgherald_core::{
    Attempt, Backoff, DurableOptions, Event, HandlerError, HandlerResult, KeyPart, NotifySource,
    OutboxSource, Resync, RetryPolicy, Signal, Source, TableName, outbox,
};
use pgherald_testkit::Postgres;
use tokio::task::spawn_local;
use tokio_postgres::Transaction;

use super::{
    CONSUMERS, SESSIONS, TABLES, are_refused, commands_are_refused, granted, install, installed,
    is_green, role,
};
use crate::consumers::{DEAD, LAG, PARKED, becomes, local, start, stop, tens};
use crate::support::{Running, Scene, connect};

/// Writes to the outbox, its history and its retention, and definitions in its schema. Only the installing role may run these.
const FOR_NO_CONSUMER: &[&str] = &[
    "INSERT INTO pgherald.outbox SELECT * FROM pgherald.outbox",
    "INSERT INTO pgherald.outbox_0 (relation, hash, part, operation) VALUES (1, 1, 0, 'I')",
    "UPDATE pgherald.outbox SET columns = NULL",
    "DELETE FROM pgherald.outbox",
    "DELETE FROM pgherald.outbox_0",
    "TRUNCATE pgherald.outbox",
    "SELECT FROM pgherald.outbox FOR UPDATE",
    "SELECT; LOCK TABLE pgherald.outbox IN ACCESS EXCLUSIVE MODE",
    "INSERT INTO pgherald.outbox_relation VALUES (1, 'public', 'users')",
    "UPDATE pgherald.outbox_relation SET table_name = 'users'",
    "UPDATE pgherald.outbox_retention SET keep = '0'",
    "UPDATE pgherald.outbox_part SET closed = 1",
    "UPDATE pgherald.outbox_history SET mark = 1",
    "DELETE FROM pgherald.server_run",
    "SELECT; LOCK TABLE pgherald.outbox_history IN EXCLUSIVE MODE",
    "SELECT nextval('pgherald.outbox_id')",
    "SELECT setval('pgherald.outbox_id', 1)",
    "SELECT setval('pgherald.outbox_clock', 1)",
    "SELECT pgherald.begin_history()",
    "SELECT pgherald.notify_rows('c', 'INSERT', '', NULL, NULL, NULL, NULL)",
    "DELETE FROM pgherald.consumer_group",
    "TRUNCATE pgherald.consumer_cursor",
    "TRUNCATE pgherald.parked_event",
    "CREATE TABLE pgherald.mine (id int)",
    "CREATE FUNCTION pgherald.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE TRIGGER mine BEFORE INSERT ON pgherald.outbox FOR EACH ROW EXECUTE FUNCTION pg_catalog.suppress_redundant_updates_trigger()",
    "CREATE TRIGGER mine BEFORE INSERT ON jobs FOR EACH ROW EXECUTE FUNCTION pg_catalog.suppress_redundant_updates_trigger()",
    "ALTER TABLE pgherald.consumer_cursor ADD COLUMN mine int",
    "DROP TABLE pgherald.outbox_0",
    "ALTER TABLE jobs DISABLE TRIGGER ALL",
    "COMMENT ON TABLE pgherald.outbox IS '{\"version\":1}'",
    "GRANT EXECUTE ON FUNCTION pgherald.begin_history() TO PUBLIC",
    "ALTER FUNCTION pgherald.history(boolean) SECURITY INVOKER",
];

/// Statements that consumers may run.
const OF_CONSUMERS: &[&str] = &[
    "UPDATE pgherald.consumer_cursor SET cursor = ''",
    "INSERT INTO pgherald.consumer_cursor VALUES ('g', 9, 0, 0, '')",
    "SELECT FROM pgherald.consumer_cursor FOR SHARE",
    "UPDATE pgherald.consumer_slice SET node = 1",
    "UPDATE pgherald.consumer_group SET is_paused = true",
    "INSERT INTO pgherald.consumer_group VALUES ('mine', 1)",
    "INSERT INTO pgherald.consumer_node VALUES ('g', 1, '', now(), '1s')",
    "DELETE FROM pgherald.consumer_node",
    "DELETE FROM pgherald.consumer_requirement",
    "UPDATE pgherald.parked_event SET due_at = NULL",
    "DELETE FROM pgherald.parked_event",
    "SELECT pgherald.trim_outbox('0', 0)",
];

fn spec(table: &str) -> TriggerSpec {
    TriggerSpec::new(TableName::new("public", table).unwrap())
}

/// Creates a group with dead letters, parked events and a cursor.
async fn leave_a_group(scene: &Scene) {
    scene
        .run("INSERT INTO jobs SELECT n, 'x' FROM generate_series(5, 12) AS n")
        .await;
    let handle = start(scene, "g", tens);
    becomes(scene, DEAD, "5").await;
    becomes(scene, PARKED, "3").await;
    becomes(scene, LAG, "0").await;
    stop(&handle).await;
}

#[tokio::test]
async fn reading_role_can_read_and_follow_and_change_nothing() {
    local(async {
        let server = Postgres::start().await.unwrap();
        let scene = installed(&server).await;
        let reader = granted(&scene, "Re\"ader", "read").await;
        is_green(&reader, &[SESSIONS, CONSUMERS]).await;

        let config = || reader.url.parse().unwrap();
        let watched = spec("jobs").every_column().outbox();
        let mut recorded = OutboxSource::builder(config())
            .watch(watched)
            .build()
            .unwrap();
        let mut announced = NotifySource::builder(config())
            .watch(spec("news"))
            .build()
            .unwrap();
        is_live(&mut recorded).await;
        is_live(&mut announced).await;
        let mut watch = Running::start(&reader, &["watch", "jobs", "--count", "1"]);
        watch.line(|line| line.contains("live")).await;
        scene
            .run("INSERT INTO jobs VALUES (20, 'x'); INSERT INTO news VALUES (21)")
            .await;
        assert_eq!(id(&event(&mut recorded).await), 20);
        assert_eq!(id(&event(&mut announced).await), 21);
        assert_eq!(watch.code().await, 0);

        leave_a_group(&scene).await;
        let client = Arc::new(connect(&reader.url).await);
        let group = Group::new(&client, "g");
        assert_eq!(group.status().await.unwrap().dead_letters, 5);
        assert_eq!(group.parked(None, 10).await.unwrap().len(), 3);
        assert!(outbox::status(&client).await.unwrap().oldest.is_some());
        for arguments in [
            &["status"][..],
            &["dead-letters", "list"],
            &["dead-letters", "show", "g", "5"],
        ] {
            reader.fine(arguments).await;
        }
        client
            .batch_execute(
                "SELECT * FROM pgherald.outbox_event; SELECT * FROM pgherald.consumer_group_status",
            )
            .await
            .unwrap();

        are_refused(&scene, &client, FOR_NO_CONSUMER).await;
        are_refused(&scene, &client, OF_CONSUMERS).await;
        let commands: [&[&str]; 7] = [
            &["group", "pause", "g"],
            &["group", "seek", "g", "beginning"],
            &["dead-letters", "retry", "g", "--all"],
            &["dead-letters", "discard", "g", "--all"],
            &["install", "effects", "--commit"],
            &["uninstall", "jobs", "--commit"],
            &["grant", "Re\"ader", "--to", "consume", "--commit"],
        ];
        commands_are_refused(&scene, &reader, &commands).await;
    })
    .await;
}

async fn is_live(source: &mut impl Source) {
    loop {
        match source.next().await {
            Signal::Live => return,
            Signal::Down(error) => panic!("{}", error.chain()),
            _ => {}
        }
    }
}

async fn event(source: &mut impl Source) -> Event {
    loop {
        match source.next().await {
            Signal::Events(events) => return events[0].clone(),
            Signal::Down(error) => panic!("{}", error.chain()),
            _ => {}
        }
    }
}

fn id(event: &Event) -> i64 {
    match event.key().map(|key| key.parts()) {
        Some([KeyPart::Int(id)]) => *id,
        _ => panic!("{event}"),
    }
}

/// Writes the row's id. Ids 1 to 9 fail permanently at the first attempt, and 10 to 19 fail once.
struct Effects;

impl TransactionalHandler for Effects {
    type Event = Event;

    async fn handle(
        &self,
        event: Event,
        attempt: Attempt,
        transaction: &mut Transaction<'_>,
    ) -> HandlerResult {
        let id = id(&event);
        match id {
            ..10 => return Err(HandlerError::permanent("never")),
            10..20 if attempt.number() == 1 => return Err("not now".into()),
            _ => {}
        }
        let sql = "INSERT INTO effects VALUES ($1)";
        transaction.execute(sql, &[&i32::try_from(id)?]).await?;
        Ok(())
    }

    async fn resync(&self, _: Resync, transaction: &mut Transaction<'_>) -> HandlerResult {
        transaction
            .execute("INSERT INTO effects VALUES (-1)", &[])
            .await?;
        Ok(())
    }
}

const EFFECTS: &str = "SELECT string_agg(id::text, ' ' ORDER BY id) FROM effects";

#[tokio::test]
async fn consuming_role_can_run_groups_and_change_nothing_else() {
    local(async {
        let server = Postgres::start().await.unwrap();
        let scene = installed(&server).await;
        let app = granted(&scene, "App", "consume").await;
        scene.run("GRANT INSERT ON effects TO \"App\"").await;
        is_green(&app, &[SESSIONS]).await;

        // Events that succeed, fail at first, and never succeed.
        let run = || {
            let wait = Duration::from_millis(1);
            let terms = DurableOptions::new("t")
                .from_beginning()
                .slices(2)
                .lease(Duration::from_secs(2))
                .retry(RetryPolicy::new(3, Backoff::new(wait, wait)))
                .requires([spec("jobs").every_column().outbox()]);
            let config = app.url.parse().unwrap();
            let (handle, consumer) = Consumer::transactional(config, terms, || Effects).unwrap();
            spawn_local(consumer.run());
            handle
        };
        scene
            .run("INSERT INTO jobs SELECT n, 'x' FROM unnest('{1, 2, 10, 11, 20, 21}'::int[]) AS n")
            .await;
        let handle = run();
        becomes(&scene, EFFECTS, "10 11 20 21").await;
        becomes(&scene, DEAD, "2").await;
        becomes(&scene, PARKED, "0").await;
        becomes(&scene, LAG, "0").await;
        let required = "SELECT table_name FROM pgherald.consumer_requirement WHERE triggers IS NOT NULL";
        becomes(&scene, required, "jobs").await;
        stop(&handle).await;

        // States that a consumer finds when it connects: other columns, a cursor that cannot be parsed, and an expired node.
        scene
            .run("ALTER TABLE jobs ADD COLUMN note text; UPDATE pgherald.consumer_cursor SET cursor = 'x' WHERE slice = 0;
                INSERT INTO pgherald.consumer_node VALUES ('t', 1, 'gone', now() - interval '1 hour', '1s')")
            .await;
        let handle = run();
        becomes(&scene, "SELECT count(*)::text FROM effects WHERE id = -1", "2").await;
        let gone = "SELECT count(*)::text FROM pgherald.consumer_node WHERE id = 1";
        becomes(&scene, gone, "0").await;
        // Missing triggers, for a consumer that inspects them for the first time.
        stop(&handle).await;
        scene
            .run("UPDATE pgherald.consumer_requirement SET triggers = NULL; ALTER TABLE jobs DISABLE TRIGGER USER")
            .await;
        let handle = run();
        let unmet = "SELECT triggers FROM pgherald.consumer_requirement WHERE triggers = ''";
        becomes(&scene, &format!("SELECT count(*)::text FROM ({unmet}) AS u"), "1").await;
        scene.run("ALTER TABLE jobs ENABLE TRIGGER USER").await;
        becomes(&scene, "SELECT count(*)::text FROM effects WHERE id = -1", "3").await;
        stop(&handle).await;

        // The other kind of handler, and all operations on a group.
        let rows = "INSERT INTO jobs SELECT n, 'x' FROM generate_series(5, 9) AS n; INSERT INTO jobs VALUES (12, 'x'), (30, 'x')";
        scene.run(rows).await;
        let handle = start(&app, "p", tens);
        let of_p = |dead: &str| format!("SELECT count(*)::text FROM pgherald.parked_event WHERE group_name = 'p' AND dead_at IS {dead}");
        becomes(&scene, &of_p("NOT NULL"), "7").await;
        becomes(&scene, &of_p("NULL"), "3").await;
        stop(&handle).await;
        let client = Arc::new(connect(&app.url).await);
        let group = Group::new(&client, "p");
        group.pause().await.unwrap();
        group.resume().await.unwrap();
        assert_eq!(group.retry_dead_letters(None).await.unwrap(), 7);
        let handle = start(&app, "p", tens);
        becomes(&scene, &of_p("NOT NULL"), "7").await;
        stop(&handle).await;
        assert_eq!(group.discard_dead_letters(None).await.unwrap(), 7);
        app.fine(&["dead-letters", "discard", "t", "--all"]).await;
        app.fine(&["status"]).await;

        // The first call makes writers move to another part, and the second closes the part that they left. It is emptied after
        // the groups have read it.
        scene.run("UPDATE pgherald.outbox_retention SET keep = '0'").await;
        assert_eq!(outbox::trim(&client).await.unwrap(), 0);
        assert_eq!(outbox::trim(&client).await.unwrap(), 0);
        group.seek(Seek::Now).await.unwrap();
        app.fine(&["group", "seek", "t", "now", "--commit"]).await;
        assert_eq!(outbox::trim(&client).await.unwrap(), 1);
        assert_eq!(scene.value("SELECT count(*)::text FROM pgherald.outbox").await, "0");

        scene.run("INSERT INTO jobs VALUES (40, 'x')").await;
        are_refused(&scene, &client, FOR_NO_CONSUMER).await;
        let commands: [&[&str]; 3] = [
            &["install", "effects", "--commit"],
            &["uninstall", "jobs", "--commit"],
            &["grant", "App", "--to", "install", "--commit"],
        ];
        commands_are_refused(&scene, &app, &commands).await;
    })
    .await;
}

/// Asserts that the role can install in both modes on tables that it owns.
async fn installs(scene: &Scene, owner: &Scene, recorded: &str, announced: &str) {
    install(owner, recorded, announced).await;
    // A script for migrations needs no other rights.
    owner.fine(&["uninstall", recorded, "--commit"]).await;
    let install = ["install", recorded, "--mode", "outbox", "--columns", "*"];
    let script = owner.fine(&[&install[..], &["--migration"]].concat()).await;
    let client = connect(&owner.url).await;
    client.batch_execute(&script).await.unwrap();
    owner.fine(&[&install[..], &["--check"]].concat()).await;
    is_green(owner, &[SESSIONS, CONSUMERS]).await;
    let config = || scene.url.parse().unwrap();
    let watched = spec(recorded).every_column().outbox();
    let mut outbox = OutboxSource::builder(config())
        .watch(watched)
        .build()
        .unwrap();
    let mut notify = NotifySource::builder(config())
        .watch(spec(announced))
        .build()
        .unwrap();
    is_live(&mut outbox).await;
    is_live(&mut notify).await;
    // Writers need rights only on their tables.
    scene
        .run(&format!(
            "GRANT INSERT, UPDATE, SELECT ON {recorded}, {announced} TO writer; SET ROLE writer;
            INSERT INTO {recorded} VALUES (7, 'x'); INSERT INTO {announced} VALUES (8); RESET ROLE"
        ))
        .await;
    assert_eq!(id(&event(&mut outbox).await), 7);
    assert_eq!(id(&event(&mut notify).await), 8);
    // After a change of the columns, triggers run other code.
    scene
        .run(&format!(
            "ALTER TABLE {recorded} RENAME COLUMN value TO worth; SET ROLE writer; UPDATE {recorded} SET worth = 'y'; RESET ROLE"
        ))
        .await;
    assert_eq!(id(&event(&mut outbox).await), 7);
    owner.fine(&["upgrade", "--commit"]).await;
    is_green(owner, &[SESSIONS, CONSUMERS]).await;
}

#[tokio::test]
async fn installing_role_that_owns_the_schema_can_do_everything() {
    let server = Postgres::start().await.unwrap();
    let scene = Scene::on(&server, TABLES).await;
    scene.run("CREATE ROLE writer").await;
    let owner = granted(&scene, "Own er", "install").await;
    scene
        .run("ALTER TABLE jobs OWNER TO \"Own er\"; ALTER TABLE news OWNER TO \"Own er\"")
        .await;
    installs(&scene, &owner, "jobs", "news").await;
    is_green(&owner, &[SESSIONS]).await;
    // The role grants the rights of the other roles.
    for (name, purpose) in [("reader", "read"), ("app", "consume")] {
        let role = role(&scene, name).await;
        owner
            .fine(&["grant", name, "--to", purpose, "--commit"])
            .await;
        is_green(&role, &[SESSIONS, CONSUMERS]).await;
    }
    commands_are_refused(&scene, &owner, &[&["install", "effects", "--commit"]]).await;
    let client = connect(&owner.url).await;
    let others = [
        "ALTER TABLE effects ADD COLUMN mine int",
        "CREATE TRIGGER mine BEFORE INSERT ON effects FOR EACH ROW EXECUTE FUNCTION pg_catalog.suppress_redundant_updates_trigger()",
    ];
    are_refused(&scene, &client, &others).await;
    owner.fine(&["uninstall", "--all", "--commit"]).await;
}

#[tokio::test]
async fn installing_role_in_a_superusers_schema_cannot_change_other_tables() {
    let server = Postgres::start().await.unwrap();
    let scene = installed(&server).await;
    let owner = granted(&scene, "owner", "install").await;
    scene
        .run("CREATE ROLE writer; CREATE TABLE goods (id int PRIMARY KEY, value text); CREATE TABLE shops (id int PRIMARY KEY);
            ALTER TABLE goods OWNER TO owner; ALTER TABLE shops OWNER TO owner")
        .await;
    is_green(&owner, &[SESSIONS, CONSUMERS]).await;
    installs(&scene, &owner, "goods", "shops").await;
    let client = connect(&owner.url).await;
    let allowed = [
        "INSERT INTO pgherald.outbox",
        "nextval(",
        "setval('pgherald.outbox_clock'",
        "pgherald.notify_rows(",
        "CREATE TABLE pgherald.mine",
        "CREATE FUNCTION pgherald.mine",
    ];
    let refused: Vec<_> = FOR_NO_CONSUMER
        .iter()
        .copied()
        .filter(|sql| !allowed.iter().any(|part| sql.contains(part)))
        .collect();
    are_refused(&scene, &client, &refused).await;
    are_refused(&scene, &client, OF_CONSUMERS).await;
    let commands: [&[&str]; 2] = [
        &["install", "effects", "--commit"],
        &["uninstall", "jobs", "--commit"],
    ];
    commands_are_refused(&scene, &owner, &commands).await;
}
