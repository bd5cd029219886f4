//! Invalid rows, cursors, options and rights are reported, and other events are still handled.

use std::time::Duration;

use pgherald_core::__private::host::outbox::OutboxReader;
use pgherald_core::group::{Connections, Consumer};

use pgherald_core::trigger::{self, TriggerSpec};
use pgherald_core::{
    Attempt, DurableOptions, Event, EventHandler, HandlerError, HandlerResult, Health, Inserted,
    Table, TableName,
};

use crate::support::{Log, Scene, all_well, degraded, drained, local, options, report};

#[tokio::test]
async fn health_reports_a_group_with_another_number_of_slices() {
    local(async {
        let scene = Scene::new().await;
        let log = Log::default();
        let made = scene.start(options("g"), &log, all_well());
        report(&made, "8 slices", |report| report.slices == 8).await;
        drained(&made).await;
        scene.run("INSERT INTO jobs VALUES (1, 1)").await;
        let refused = scene.start(options("g").slices(9), &log, all_well());
        degraded(&refused, "has 8 slices, and 9 were asked for").await;
        assert_eq!(drained(&refused).await.handled, 0);
        assert!(log.lines().is_empty());
        let unsaid = scene.start(options("g").slices(8), &log, all_well());
        log.has(1).await;
        drained(&unsaid).await;
    })
    .await;
}

#[test]
fn options_that_cannot_work_are_refused_by_name() {
    #[derive(Debug)]
    struct Nothing;
    impl EventHandler for Nothing {
        type Event = Event;

        async fn handle(&self, _: Event, _: Attempt) -> HandlerResult {
            Ok(())
        }
    }
    let durable = || DurableOptions::new("group");
    let elsewhere = Connections::new("postgresql://app@127.0.0.1:1/other".parse().unwrap());
    for (options, what) in [
        (durable().lease(Duration::ZERO), "the lease is 0ns"),
        (durable().timeout(Duration::ZERO), "the timeout is 0"),
        (durable().concurrency(0), "concurrency is 0"),
        (durable().max_batch(0), "max_batch is 0"),
        (durable().slices(0), "0 slices"),
        (
            durable().connections(elsewhere),
            "another server or database",
        ),
    ] {
        let config = "postgresql://app@127.0.0.1:1/shop".parse().unwrap();
        let made = Consumer::new(config, options, || Nothing);
        let error = made.map(drop).unwrap_err();
        assert!(
            error.is_config() && error.to_string().contains(what),
            "{error}"
        );
    }
}

/// Adds a row that no trigger writes.
async fn forge(scene: &Scene, relation: &str, operation: &str, key: &str) {
    let sql = format!(
        "INSERT INTO pgherald.outbox (relation, hash, part, operation, key)
        SELECT {relation}, 7, 0, {operation}, {key} FROM pgherald.outbox_relation WHERE table_name = 'jobs'"
    );
    scene.run(&sql).await;
}

#[tokio::test]
async fn a_row_with_invalid_content_becomes_a_dead_letter_and_other_rows_are_handled() {
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
        let handle = scene.start(options("g"), &log, all_well());
        report(&handle, "all", |report| {
            report.handled == 2 && report.dead_letters == 5
        })
        .await;
        drained(&handle).await;
        let letters = scene.group("g").dead_letters(None, 10).await.unwrap();
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

#[tokio::test]
async fn an_unreadable_row_becomes_a_dead_letter_and_other_rows_are_handled() {
    local(async {
        let scene = Scene::new().await;
        let log = Log::default();
        scene.run("INSERT INTO jobs VALUES (1, 1)").await;
        for (column, value) in [
            ("sent_at", "'infinity'"),
            ("sent_at", "'-infinity'"),
            ("changed", "'{value,NULL}'"),
            ("changed", "'{{value},{other}}'"),
        ] {
            let sql = format!(
                "INSERT INTO pgherald.outbox (relation, hash, part, operation, key, {column})
                SELECT id, 7, 0, 'U', '[5]', {value} FROM pgherald.outbox_relation WHERE table_name = 'jobs'"
            );
            scene.run(&sql).await;
        }
        scene.run("INSERT INTO jobs VALUES (2, 1)").await;
        let handle = scene.start(options("g"), &log, all_well());
        report(&handle, "all", |report| {
            report.handled == 2 && report.dead_letters == 4
        })
        .await;
        scene
            .becomes("SELECT dead_letters + 10 * lag_events FROM pgherald.consumer_group_status", 4)
            .await;
        let letters = scene.group("g").dead_letters(None, 10).await.unwrap();
        for (letter, word) in letters.iter().zip(["infinite", "infinite", "NULL", "dimensions"]) {
            let error = letter.error.as_deref().unwrap();
            assert!(error.contains(word), "{error}");
            assert_eq!((letter.key.as_deref(), letter.attempts), (Some("[5]"), 1));
        }
        let kept = "SELECT count(*) FROM pgherald.parked_event WHERE sent_at IN ('infinity', '-infinity')
            OR array_position(changed, NULL) = 2";
        assert_eq!(scene.number(kept).await, 3);
        // Rows that are parked already, too.
        scene.group("g").retry_dead_letters(None).await.unwrap();
        report(&handle, "again", |report| report.dead_letters >= 7).await;
        scene
            .run("UPDATE pgherald.parked_event SET dead_at = NULL, due_at = 'infinity'")
            .await;
        drained(&handle).await;
        let handle = scene.start(options("g"), &log, all_well());
        scene.run("INSERT INTO jobs VALUES (3, 1)").await;
        report(&handle, "another", |report| report.handled == 1).await;
        drained(&handle).await;
        assert!(log.lines().contains(&"3=1#1".to_owned()));
    })
    .await;
}

#[tokio::test]
async fn an_invalid_cursor_causes_a_resync_and_the_outbox_is_read_from_its_beginning() {
    for text in ["nonsense", "9:7: 0 7 0", ""] {
        local(async {
            let scene = Scene::new().await;
            let log = Log::default();
            scene.run("INSERT INTO jobs VALUES (1, 1)").await;
            let handle = scene.start(options("g"), &log, all_well());
            log.has(1).await;
            drained(&handle).await;
            scene
                .run(&format!(
                    "UPDATE pgherald.consumer_cursor SET cursor = '{text}'"
                ))
                .await;
            let handle = scene.start(options("g"), &log, all_well());
            let lines = log.has(3).await;
            assert!(
                lines.iter().any(|line| line.starts_with("resync")),
                "{lines:?}"
            );
            assert_eq!(lines.iter().filter(|line| *line == "1=1#1").count(), 2);
            // A running consumer reads the cursor again once another one has taken the slice.
            scene
                .run(
                    "UPDATE pgherald.consumer_cursor SET cursor = 'nonsense', epoch = epoch + 1;
                    UPDATE pgherald.consumer_slice SET node = NULL, epoch = epoch + 1",
                )
                .await;
            scene.run("INSERT INTO jobs VALUES (2, 1)").await;
            let is_handled = || log.lines().contains(&"2=1#1".to_owned());
            crate::support::until("handled", is_handled, String::new).await;
            drained(&handle).await;
        })
        .await;
    }
}

/// A trigger rejects writes about one slice or one parked event.
async fn rejected_writes_hold_up_one_slice(refused: &str) {
    let scene = Scene::new().await;
    scene
        .run(&format!(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN IF {refused} THEN RAISE 'not this one'; END IF; RETURN coalesce(NEW, OLD); END $$;
            CREATE TRIGGER refuse BEFORE INSERT OR UPDATE OR DELETE ON pgherald.parked_event
                FOR EACH ROW EXECUTE FUNCTION refuse()"
        ))
        .await;
    let log = Log::default();
    let plan = |line: &str, attempt| match (line, attempt) {
        ("1=1" | "2=1", 1) => Err(HandlerError::retry_after("later", Duration::ZERO)),
        _ => Ok(()),
    };
    let handle = scene.start(
        options("g").lease(Duration::from_secs(10)),
        &log,
        Box::new(plan),
    );
    scene
        .run("INSERT INTO jobs SELECT n, 1 FROM generate_series(1, 40) AS n")
        .await;
    report(&handle, "held up", |report| {
        let cause = report.held_up.values().next();
        report.held_up.len() == 1 && cause.is_some_and(|cause| cause.contains("not this one"))
    })
    .await;
    // The other slices are written, with later events as well.
    let open = "SELECT count(*) FROM (
            SELECT FROM pgherald.outbox AS o JOIN pgherald.consumer_cursor AS c
            ON (o.hash & 2147483647) % 8 = c.slice
            WHERE NOT pg_visible_in_snapshot(o.xid, split_part(c.cursor, ' ', 1)::pg_snapshot)
            AND c.slice <> $slice
        ) AS o";
    let held_up = *handle.report().held_up.keys().next().unwrap();
    let open = open.replace("$slice", &held_up.to_string());
    scene.becomes(&open, 0).await;
    scene
        .run("INSERT INTO jobs SELECT n, 1 FROM generate_series(41, 80) AS n")
        .await;
    scene.becomes(&open, 0).await;
    assert!(handle.health().borrow().is_live());
    assert_eq!(handle.report().held_up.len(), 1);
    scene
        .run("DROP TRIGGER refuse ON pgherald.parked_event")
        .await;
    scene
        .becomes(
            "SELECT lag_events + parked FROM pgherald.consumer_group_status",
            0,
        )
        .await;
    report(&handle, "nothing held up", |report| {
        report.held_up.is_empty()
    })
    .await;
    drained(&handle).await;
    let lines = log.lines();
    for line in ["1=1#2", "2=1#2", "80=1#1"] {
        assert_eq!(
            lines.iter().filter(|found| *found == line).count(),
            1,
            "{line}"
        );
    }
}

#[tokio::test]
async fn a_rejected_parked_event_holds_up_only_its_slice() {
    local(rejected_writes_hold_up_one_slice(
        "TG_OP = 'INSERT' AND NEW.key = '1'",
    ))
    .await;
}

#[tokio::test]
async fn a_rejected_settlement_holds_up_only_its_slice() {
    local(rejected_writes_hold_up_one_slice(
        "TG_OP = 'DELETE' AND OLD.key = '1'",
    ))
    .await;
}

const HUGE: i64 = 30;

/// Adds rows of 4 MB.
async fn forge_huge(scene: &Scene) {
    scene.run("INSERT INTO jobs VALUES (0, 1)").await;
    let sql = format!(
        "INSERT INTO pgherald.outbox (relation, hash, part, operation, key, columns)
        SELECT id, n, 0, 'I', n::text, json_build_object('value', 1, 'pad', repeat('x', 4000000))
        FROM pgherald.outbox_relation CROSS JOIN generate_series(1, {HUGE}) AS n WHERE table_name = 'jobs'"
    );
    scene.run(&sql).await;
}

#[tokio::test]
async fn pages_of_huge_rows_are_short_and_reach_the_last_row() {
    let scene = Scene::new().await;
    forge_huge(&scene).await;
    let mut reader = OutboxReader::new(std::sync::Arc::clone(&scene.client));
    let mut cursor = reader.beginning().await.unwrap();
    let mut ids = Vec::new();
    loop {
        let page = reader.next(&cursor, 1_000).await.unwrap();
        assert!(page.events.len() <= 6, "{} events", page.events.len());
        ids.extend(
            page.events
                .iter()
                .filter_map(pgherald_core::Event::outbox_id),
        );
        cursor = page.cursor;
        if page.is_last {
            break;
        }
    }
    assert!(ids.is_sorted() && ids.len() as i64 == HUGE + 1, "{ids:?}");
}

#[tokio::test]
async fn huge_rows_are_read_and_parked_a_few_at_a_time() {
    local(async {
        let scene = Scene::new().await;
        scene
            .run(
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                    IF (SELECT sum(octet_length(columns)) > 25000000 FROM added) THEN RAISE 'too much'; END IF;
                    RETURN NULL;
                END $$;
                CREATE TRIGGER refuse AFTER INSERT ON pgherald.parked_event
                    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION refuse()",
            )
            .await;
        forge_huge(&scene).await;
        let log = Log::default();
        let noted = log.clone();
        let is_open = std::rc::Rc::new(std::cell::Cell::new(false));
        let opens = std::rc::Rc::clone(&is_open);
        let factory = move || Gated(noted.clone(), std::rc::Rc::clone(&opens));
        // Writing these rows takes long on a busy machine, and a consumer that loses its lease would begin again.
        let options = options("g").slices(1).concurrency(100).lease(Duration::from_secs(30));
        let (handle, consumer) = Consumer::new(scene.config(), options, factory).unwrap();
        tokio::task::spawn_local(consumer.run());
        // The limit is 64 MB, and a page may exceed it.
        let lines = log.has(16).await;
        assert!(lines.len() < 25, "{}", lines.len());
        is_open.set(true);
        report(&handle, "dead letters", |report| {
            report.dead_letters as i64 == HUGE + 1
        })
        .await;
        scene
            .becomes("SELECT dead_letters - lag_events FROM pgherald.consumer_group_status", HUGE + 1)
            .await;
        report(&handle, "nothing in flight", |report| report.in_flight == 0).await;
        assert_eq!(log.lines().len() as i64, HUGE + 1);
        // Parked events are fetched a few at a time, too.
        scene.group("g").retry_dead_letters(None).await.unwrap();
        report(&handle, "dead letters", |report| {
            report.dead_letters as i64 == 2 * (HUGE + 1)
        })
        .await;
        assert!(handle.report().held_up.is_empty());
        drained(&handle).await;
    })
    .await;
}

/// Waits until the gate is open, and gives up every event.
struct Gated(Log, std::rc::Rc<std::cell::Cell<bool>>);

impl EventHandler for Gated {
    type Event = pgherald_core::Event;

    async fn handle(&self, _: pgherald_core::Event, _: Attempt) -> HandlerResult {
        self.0.note("begun");
        crate::support::until("open", || self.1.get(), String::new).await;
        Err(HandlerError::permanent("huge"))
    }
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
async fn a_key_of_another_type_becomes_a_dead_letter_and_other_rows_are_handled() {
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
        let (handle, consumer) = Consumer::new(scene.config(), options("g"), move || {
            ByNumber(noted.clone())
        })
        .unwrap();
        tokio::task::spawn_local(consumer.run());
        scene
            .run("INSERT INTO named VALUES ('one'), ('two'); INSERT INTO jobs VALUES (1, 1)")
            .await;
        report(&handle, "dead letters", |report| report.dead_letters == 2).await;
        drained(&handle).await;
        let letters = scene.group("g").dead_letters(None, 10).await.unwrap();
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
async fn an_excessive_retry_delay_is_clamped() {
    local(async {
        let scene = Scene::new().await;
        let log = Log::default();
        let plan = |line: &str, _| match line {
            "1=1" => Err(HandlerError::snooze(Duration::MAX)),
            "2=1" => Err(HandlerError::retry_after("later", Duration::MAX)),
            _ => Ok(()),
        };
        let handle = scene.start(options("g"), &log, Box::new(plan));
        scene
            .run("INSERT INTO jobs VALUES (1, 1), (2, 1), (3, 1)")
            .await;
        scene
            .becomes("SELECT count(*) FROM pgherald.parked_event", 2)
            .await;
        drained(&handle).await;
        let parked = scene.group("g").parked(None, 10).await.unwrap();
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
async fn an_outbox_that_is_dropped_and_created_again_is_read() {
    local(async {
        let scene = Scene::new().await;
        let log = Log::default();
        let handle = scene.start(options("g"), &log, all_well());
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
async fn missing_rights_are_reported_by_name_and_the_group_continues_when_granted() {
    local(async {
        let scene = Scene::new().await;
        let role = format!("poor_{}", fastrand::u64(..));
        scene.run(&format!("CREATE ROLE {role} LOGIN")).await;
        let url = format!("{}?user={role}", scene.url);
        let log = Log::default();
        scene.run("INSERT INTO jobs VALUES (1, 1)").await;
        let jobs = TriggerSpec::new(TableName::new("public", "jobs").unwrap());
        let options = options("g").requires([jobs.every_column().outbox()]);
        let handle = scene.start_at(&url, options, &log, all_well());
        degraded(&handle, "permission denied").await;
        let hint = match &*handle.health().borrow() {
            Health::Degraded { cause, .. } => cause.hint(),
            other => panic!("{other}"),
        };
        assert!(hint.contains("pgherald grant ROLE --to consume"), "{hint}");
        // Rights are granted one after another: each time, the consumer gets further with what it has begun.
        scene
            .run(&format!(
                "GRANT USAGE ON SCHEMA pgherald TO {role};
                GRANT SELECT ON ALL TABLES IN SCHEMA pgherald TO {role};
                GRANT SELECT ON ALL SEQUENCES IN SCHEMA pgherald TO {role};
                GRANT INSERT ON pgherald.consumer_group, pgherald.consumer_slice, pgherald.consumer_cursor,
                    pgherald.parked_event, pgherald.consumer_node, pgherald.consumer_requirement TO {role};
                GRANT UPDATE, DELETE ON pgherald.consumer_node, pgherald.consumer_requirement TO {role}"
            ))
            .await;
        degraded(&handle, "permission denied for table ").await;
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

#[tokio::test]
async fn text_that_is_not_utf8_becomes_a_dead_letter_and_other_rows_are_handled() {
    local(async {
        let server = Scene::new().await;
        let name = format!("ascii_{}", std::process::id());
        server
            .run(&format!(
                "CREATE DATABASE {name} ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
            ))
            .await;
        let (base, _) = server.url.rsplit_once('/').unwrap();
        let scene = Scene::at(format!("{base}/{name}")).await;
        scene.run("ALTER TABLE others ADD COLUMN note text").await;
        let table = TableName::new("public", "others").unwrap();
        let spec = TriggerSpec::new(table).every_column().outbox();
        let plan = trigger::plan(&scene.client, &[spec]).await.unwrap();
        plan.apply(&scene.client).await.unwrap();
        // One transaction is open before the invalid row is written, and others follow it.
        let late = scene.connect().await;
        late.batch_execute("BEGIN; INSERT INTO jobs VALUES (0, 1)").await.unwrap();
        scene.run("INSERT INTO jobs VALUES (1, 1)").await;
        let log = Log::default();
        let handle = scene.start(options("g").slices(1), &log, all_well());
        log.has(1).await;
        scene.client.batch_execute("INSERT INTO others VALUES (1, E'caf\\xe9')").await.unwrap();
        late.batch_execute("COMMIT").await.unwrap();
        scene.run("INSERT INTO jobs SELECT n, 1 FROM generate_series(2, 50) AS n").await;
        report(&handle, "51 jobs", |report| (report.handled, report.dead_letters) == (51, 1)).await;
        scene.becomes("SELECT dead_letters FROM pgherald.consumer_group_status", 1).await;
        let letters = scene.group("g").dead_letters(None, 9).await.unwrap();
        assert!(letters[0].error.as_ref().unwrap().contains("invalid byte sequence"), "{letters:?}");
        drained(&handle).await;
    })
    .await;
}

#[tokio::test]
async fn an_invalid_cursor_causes_a_resync_although_a_dead_letter_announced_another() {
    local(async {
        let scene = Scene::new().await;
        let log = Log::default();
        scene.run("INSERT INTO jobs VALUES (1, 1)").await;
        let handle = scene.start(options("g"), &log, all_well());
        log.has(1).await;
        drained(&handle).await;
        scene
            .run(
                "INSERT INTO pgherald.parked_event (group_name, id, slice, sent_at, relation, hash, operation, key, attempts, dead_at)
                    VALUES ('g', -1, 0, now(), 0, 0, 'R', 'started', 3, now());
                UPDATE pgherald.consumer_cursor SET cursor = 'nonsense'",
            )
            .await;
        let handle = scene.start(options("g"), &log, all_well());
        let lines = log.has(3).await;
        assert!(lines[1..].contains(&"resync trimmed".to_owned()), "{lines:?}");
        drained(&handle).await;
    })
    .await;
}

#[derive(serde::Deserialize)]
struct File {
    note: Option<String>,
    body: Option<String>,
}

impl Table for File {
    const NAME: &'static str = "files";
    const KEY: &'static [&'static str] = &["id"];
    type Key = i64;
}

struct ByBody(Log);

impl EventHandler for ByBody {
    type Event = Inserted<File>;

    async fn handle(&self, event: Inserted<File>, _: Attempt) -> HandlerResult {
        let file = event.row().map_err(HandlerError::permanent)?;
        let (note, body) = (file.note.unwrap_or_default(), file.body.unwrap_or_default());
        self.0.note(format!("{}={note}{}", event.key, body.len()));
        Ok(())
    }
}

#[tokio::test]
async fn an_unavailable_value_is_an_error_that_names_the_column_and_never_null() {
    local(async {
        let scene = Scene::new().await;
        scene
            .run("CREATE TABLE files (id int PRIMARY KEY, note text, body text)")
            .await;
        let table = TableName::new("public", "files").unwrap();
        let spec = TriggerSpec::new(table).every_column().outbox();
        let plan = trigger::plan(&scene.client, &[spec]).await.unwrap();
        plan.apply(&scene.client).await.unwrap();
        let log = Log::default();
        let noted = log.clone();
        let (handle, consumer) =
            Consumer::new(scene.config(), options("g"), move || ByBody(noted.clone())).unwrap();
        tokio::task::spawn_local(consumer.run());
        scene
            .run("INSERT INTO files VALUES (1, 'a', repeat('x', 2000000)), (2, 'b', repeat('x', 1000000)), (3, 'c', NULL)")
            .await;
        report(&handle, "all", |report| {
            report.handled == 2 && report.dead_letters == 1
        })
        .await;
        drained(&handle).await;
        let mut lines = log.lines();
        lines.sort();
        assert_eq!(lines, ["2=b1000000", "3=c0"]);
        // The dead letter has the mark as well.
        let letters = scene.group("g").dead_letters(None, 10).await.unwrap();
        let error = letters[0].error.as_deref().unwrap();
        for word in ["\"body\"", "1048576", "--value-limit"] {
            assert!(error.contains(word), "{error}");
        }
        let event = letters[0].event.as_ref().unwrap();
        assert_eq!(event.unavailable(), ["body"]);
    })
    .await;
}
