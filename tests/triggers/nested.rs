//! Triggers that run statements on the same table within another statement. The inner statement is recorded first.

use pgherald_core::trigger::TriggerSpec;

use super::support::{Scene, event, installed, recorded, spec};

const ITEMS: &str = "CREATE TABLE items (id int PRIMARY KEY, v int, note text)";

/// A row trigger on `items` that runs `statement`.
fn with_trigger(event: &str, statement: &str) -> String {
    format!(
        "{ITEMS}; CREATE FUNCTION nested() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN {statement}; RETURN NULL; END $f$;
         CREATE TRIGGER a_first AFTER {event} ON items FOR EACH ROW EXECUTE FUNCTION nested()"
    )
}

fn all() -> TriggerSpec {
    spec("items").columns(["v"]).outbox()
}

#[tokio::test]
async fn the_last_event_has_the_values_of_a_nested_update() {
    let sql = with_trigger("INSERT", "UPDATE items SET v = v + 1 WHERE id = NEW.id");
    let scene = installed(&sql, all()).await;
    let rows = recorded(&scene, "INSERT INTO items VALUES (1, 10), (2, 20)").await;
    let expected = [
        r#"update 1 {"v":11}"#,
        r#"update 2 {"v":21}"#,
        r#"insert 1 {"v":11}"#,
        r#"insert 2 {"v":21}"#,
    ];
    assert_eq!(rows, expected);
}

#[tokio::test]
async fn a_row_removed_by_a_nested_delete_has_no_later_insert() {
    for spec in [all(), spec("items").outbox()] {
        let sql = with_trigger("INSERT", "DELETE FROM items WHERE id = NEW.id AND v = 1");
        let scene = installed(&sql, spec).await;
        let rows = recorded(&scene, "INSERT INTO items VALUES (1, 1), (2, 2)").await;
        assert_eq!(rows.len(), 2, "{rows:?}");
        assert!(
            rows[0].starts_with("delete 1") && rows[1].starts_with("insert 2"),
            "{rows:?}"
        );
    }
}

#[tokio::test]
async fn a_row_restored_by_a_nested_insert_has_no_later_delete() {
    let sql = with_trigger(
        "DELETE",
        "INSERT INTO items SELECT OLD.id, 5 WHERE OLD.id = 1",
    );
    let scene = installed(&sql, all()).await;
    scene.run("INSERT INTO items VALUES (1, 1), (2, 2)").await;
    let rows = recorded(&scene, "DELETE FROM items").await;
    assert_eq!(rows, [r#"insert 1 {"v":5}"#, r#"delete 2 {"v":2}"#]);
}

#[tokio::test]
async fn an_update_has_its_own_old_values_and_the_nested_updates_new_ones() {
    let sql = with_trigger(
        "UPDATE OF v",
        "UPDATE items SET note = 'seen ' || NEW.v WHERE id = NEW.id",
    );
    let spec = spec("items").columns(["v", "note"]).old_columns().outbox();
    let scene = installed(&sql, spec).await;
    scene.run("INSERT INTO items VALUES (1, 1), (2, 2)").await;
    let rows = recorded(&scene, "UPDATE items SET v = 7 WHERE id = 1").await;
    let expected = [
        r#"update 1 {"v":7,"note":"seen 7"} {"v":7,"note":null} {note}"#,
        r#"update 1 {"v":7,"note":"seen 7"} {"v":1,"note":null} {v,note}"#,
    ];
    assert_eq!(rows, expected);
}

#[tokio::test]
async fn a_nested_update_of_unwatched_columns_is_left_out() {
    let sql = with_trigger(
        "UPDATE OF v",
        "UPDATE items SET note = 'x' WHERE id = NEW.id",
    );
    let spec = spec("items").when_changed(["note"]).outbox();
    let scene = installed(&sql, spec).await;
    scene
        .run("INSERT INTO items VALUES (1, 1, 'x'), (2, 2, 'y')")
        .await;
    assert_eq!(
        recorded(&scene, "UPDATE items SET v = 7 WHERE id = 1").await,
        [""; 0]
    );
    assert_eq!(
        recorded(&scene, "UPDATE items SET v = 7 WHERE id = 2").await,
        ["update 2"; 2]
    );
}

#[tokio::test]
async fn a_key_changed_by_the_outer_statement_is_deleted() {
    let sql = with_trigger("UPDATE OF id", "UPDATE items SET v = 9 WHERE id = NEW.id");
    let scene = installed(&sql, all()).await;
    scene.run("INSERT INTO items VALUES (1, 1)").await;
    let mut rows = recorded(&scene, "UPDATE items SET id = 2").await;
    let inner = rows.remove(0);
    assert_eq!(inner, r#"update 2 {"v":9}"#);
    rows.sort();
    assert_eq!(rows, ["update 1", r#"update 2 {"v":9}"#]);
}

#[tokio::test]
async fn a_trigger_of_another_table_that_writes_back_is_nested() {
    for when in ["BEFORE", "AFTER"] {
        let sql = format!(
            "{ITEMS}; CREATE TABLE log (id int, v int);
             CREATE FUNCTION forth() RETURNS trigger LANGUAGE plpgsql AS
                'BEGIN INSERT INTO log VALUES (NEW.id, NEW.v); RETURN NULL; END';
             CREATE TRIGGER forth AFTER INSERT ON items FOR EACH ROW EXECUTE FUNCTION forth();
             CREATE FUNCTION back() RETURNS trigger LANGUAGE plpgsql AS
                'BEGIN UPDATE items SET v = 100 WHERE id = NEW.id; RETURN NEW; END';
             CREATE TRIGGER back {when} INSERT ON log FOR EACH ROW EXECUTE FUNCTION back()"
        );
        let scene = installed(&sql, all()).await;
        let rows = recorded(&scene, "INSERT INTO items VALUES (1, 1)").await;
        assert_eq!(
            rows,
            [r#"update 1 {"v":100}"#, r#"insert 1 {"v":100}"#],
            "{when}"
        );
    }
}

#[tokio::test]
async fn a_before_trigger_that_changes_a_row_of_the_same_statement_is_nested() {
    let sql = format!(
        "{ITEMS}; CREATE FUNCTION nested() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN UPDATE items SET v = 50 WHERE id = NEW.id - 1; RETURN NEW; END';
         CREATE TRIGGER nested BEFORE INSERT ON items FOR EACH ROW EXECUTE FUNCTION nested()"
    );
    let scene = installed(&sql, all()).await;
    let rows = recorded(&scene, "INSERT INTO items VALUES (1, 1), (2, 2)").await;
    let last: Vec<_> = rows.iter().rev().take(2).collect();
    assert!(
        last.contains(&&r#"insert 1 {"v":50}"#.to_owned()),
        "{rows:?}"
    );
}

#[tokio::test]
async fn each_level_of_a_recursion_ends_in_the_final_state() {
    let sql = with_trigger(
        "INSERT OR UPDATE",
        "UPDATE items SET v = v + 1 WHERE id = NEW.id AND v < 4",
    );
    let scene = installed(&sql, all()).await;
    let rows = recorded(&scene, "INSERT INTO items VALUES (1, 1)").await;
    // The innermost statement changes no row.
    let expected = [
        r#"update 1 {"v":4}"#,
        r#"update 1 {"v":4}"#,
        r#"update 1 {"v":4}"#,
        r#"insert 1 {"v":4}"#,
    ];
    assert_eq!(rows, expected);
}

#[tokio::test]
async fn both_halves_of_an_upsert_have_the_values_of_a_nested_update() {
    let sql = with_trigger("INSERT", "UPDATE items SET v = 77 WHERE id IN (1, 2)");
    let scene = installed(&sql, all()).await;
    scene.run("ALTER TABLE items DISABLE TRIGGER a_first; INSERT INTO items VALUES (1, 1); ALTER TABLE items ENABLE TRIGGER a_first").await;
    let upsert =
        "INSERT INTO items VALUES (1, 5), (2, 6) ON CONFLICT (id) DO UPDATE SET v = excluded.v";
    let rows = recorded(&scene, upsert).await;
    assert_eq!(rows.len(), 4, "{rows:?}");
    assert!(
        rows.iter().all(|row| row.ends_with(r#"{"v":77}"#)),
        "{rows:?}"
    );
}

#[tokio::test]
async fn a_deferred_trigger_is_recorded_after_the_statement() {
    let sql = format!(
        "{ITEMS}; CREATE FUNCTION nested() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN UPDATE items SET v = 50 WHERE id = NEW.id; RETURN NULL; END';
         CREATE CONSTRAINT TRIGGER nested AFTER INSERT ON items DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION nested()"
    );
    let scene = installed(&sql, all()).await;
    let rows = recorded(&scene, "INSERT INTO items VALUES (1, 1)").await;
    assert_eq!(rows, [r#"insert 1 {"v":1}"#, r#"update 1 {"v":50}"#]);
}

#[tokio::test]
async fn direct_writes_to_a_partition_have_the_values_of_nested_ones() {
    let sql = "CREATE TABLE items (id int PRIMARY KEY, v int) PARTITION BY RANGE (id);
        CREATE TABLE low PARTITION OF items FOR VALUES FROM (0) TO (100);
        CREATE FUNCTION nested() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN UPDATE items SET v = 50 WHERE id = NEW.id; RETURN NULL; END';
        CREATE TRIGGER nested AFTER INSERT ON items FOR EACH ROW EXECUTE FUNCTION nested()";
    let scene = installed(sql, all()).await;
    let rows = recorded(
        &scene,
        "INSERT INTO low VALUES (1, 1); INSERT INTO items VALUES (2, 2)",
    )
    .await;
    assert!(
        rows.iter().all(|row| row.ends_with(r#"{"v":50}"#)) && rows.len() == 4,
        "{rows:?}"
    );
}

#[tokio::test]
async fn a_renamed_table_is_read_under_its_current_name() {
    let sql = with_trigger("INSERT", "UPDATE renamed SET v = 50 WHERE id = NEW.id");
    let scene = installed(&sql, all()).await;
    scene.run("ALTER TABLE items RENAME TO renamed").await;
    let rows = recorded(&scene, "INSERT INTO renamed VALUES (1, 1)").await;
    assert_eq!(rows, [r#"update 1 {"v":50}"#, r#"insert 1 {"v":50}"#]);
}

#[tokio::test]
async fn an_owner_without_select_records_the_transition_rows() {
    let sql = with_trigger("INSERT", "UPDATE items SET v = 50 WHERE id = NEW.id");
    for deny in [
        "REVOKE ALL ON items FROM OWNER; GRANT TRIGGER ON items TO OWNER",
        "ALTER TABLE items ENABLE ROW LEVEL SECURITY",
    ] {
        let scene = Scene::new(&sql).await;
        let owner = scene.value("SELECT 'owner_' || current_database()").await;
        let prepare = "CREATE ROLE OWNER; GRANT ALL ON SCHEMA public TO OWNER; GRANT TRIGGER, SELECT ON items TO OWNER;
             DO $$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %I TO OWNER', current_database()); END $$; SET ROLE OWNER";
        scene.run(&prepare.replace("OWNER", &owner)).await;
        scene.install(all()).await;
        scene
            .run(&format!("RESET ROLE; {}", deny.replace("OWNER", &owner)))
            .await;
        let rows = recorded(&scene, "INSERT INTO items VALUES (1, 1)").await;
        assert_eq!(
            rows,
            [r#"update 1 {"v":50}"#, r#"insert 1 {"v":1}"#],
            "{deny}"
        );
        scene
            .run(&format!("DROP OWNED BY {owner} CASCADE; DROP ROLE {owner}"))
            .await;
    }
}

#[tokio::test]
async fn a_key_that_is_not_unique_lists_each_row_as_it_was_written() {
    let sql = with_trigger("INSERT", "UPDATE items SET v = 50 WHERE id = NEW.id");
    let spec = spec("items").key_columns(["note"]).columns(["v"]).outbox();
    let scene = installed(&sql, spec).await;
    let rows = recorded(&scene, "INSERT INTO items VALUES (1, 1, 'a'), (2, 2, 'a')").await;
    assert_eq!(rows.len(), 4, "{rows:?}");
}

#[tokio::test]
async fn nesting_marks_end_with_their_transaction() {
    let sql = with_trigger("INSERT", "UPDATE items SET v = 50 WHERE id = NEW.id");
    let scene = installed(&sql, all()).await;
    scene.run("INSERT INTO items VALUES (1, 1)").await;
    let mark = "SELECT string_agg(name || setting, '') FROM pg_settings WHERE name LIKE 'pgherald.notify%' AND setting <> ''";
    assert_eq!(scene.value(mark).await, "");
    let within = "BEGIN; INSERT INTO items VALUES (2, 1); DO $$ BEGIN ASSERT (SELECT current_setting((
        SELECT 'pgherald.' || proname FROM pg_proc WHERE pronamespace = 'pgherald'::regnamespace AND proname ~ '^notify_[0-9a-f]{16}$'
    ))) = 'xx'; END $$; COMMIT";
    scene.run(within).await;
}

#[tokio::test]
async fn announced_events_end_in_the_final_state() {
    let sql = with_trigger(
        "INSERT",
        "UPDATE items SET v = 50 WHERE id = NEW.id AND v > 1; DELETE FROM items WHERE id = NEW.id AND v = 1",
    );
    let mut scene = Scene::new(&sql).await;
    scene.install(spec("items").columns(["v"])).await;
    let shapes = scene
        .shapes("INSERT INTO items VALUES (1, 1), (2, 2)")
        .await;
    let keyed = |operation, id, v| {
        let rest = format!(r#","key":["id"],"keys":[{id}],"columns":[{{"v":{v}}}]"#);
        event(operation, "items", &rest)
    };
    assert_eq!(
        shapes,
        [
            keyed("delete", 1, 1),
            keyed("update", 2, 50),
            keyed("insert", 2, 50)
        ]
    );
}
