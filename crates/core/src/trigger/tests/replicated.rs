//! Tests of specifications that include replicated rows.

use serde_json::json;

use super::{Database, Value, actual_with, kinds, made, plan, spec};
use crate::operation::Operation;
use crate::trigger::verify::DriftKind;

/// Returns the catalog entry of the trigger `name`.
fn trigger<'a>(database: &'a mut Database, name: &str) -> &'a mut Value {
    let mut objects = database.objects.iter_mut();
    let found = objects.find(|(kind, object)| *kind == "trigger" && object["name"] == name);
    &mut found.unwrap().1
}

#[test]
fn only_tables_that_store_rows_get_row_triggers() {
    let mut database = Database::new().table(16, "a", &["a_1"]);
    database.objects[3].1["kind"] = json!("p");
    assert_eq!(database.objects[3].1["table"], "a");
    let actual = database.actual();
    let sql = plan(&actual, spec("a").replicated()).sql();
    assert_eq!(
        sql.matches("CREATE OR REPLACE TRIGGER").count(),
        11,
        "{sql}"
    );
    assert_eq!(sql.matches("FOR EACH ROW").count(), 3, "{sql}");
    assert_eq!(sql.matches("ENABLE REPLICA TRIGGER").count(), 3, "{sql}");
    assert_eq!(sql.matches("ENABLE ALWAYS TRIGGER").count(), 2, "{sql}");
    let row = "\"pgherald_notify_insert_row_0000001000000000\" AFTER INSERT ON \"public\".\"a_1\"";
    assert!(sql.contains(row), "{sql}");
    let operations = Operation::Insert | Operation::Truncate;
    let sql = plan(&actual, spec("a").operations(operations).replicated()).sql();
    assert_eq!(sql.matches("FOR EACH ROW").count(), 1, "{sql}");
}

#[test]
fn functions_without_replicated_rows_have_no_row_level_parts() {
    for spec in [
        spec("a").columns(["v"]),
        spec("a").when_changed(["v"]),
        spec("a").key_columns([""; 0]),
    ] {
        for spec in [spec.clone(), spec.clone().outbox()] {
            let made = made(&spec, 16, &[]);
            let of_rows = ["TG_LEVEL", "NEW", "OLD", "session_replication_role"];
            assert!(
                of_rows.iter().all(|word| !made.body.contains(word)),
                "{}",
                made.body
            );
            assert_eq!(made.triggers.len(), 4);
            assert!(!made.comment().contains("replicated"));
        }
    }
}

#[test]
fn an_installation_with_replicated_rows_covers_specifications_without_them() {
    let with = spec("a").replicated();
    let actual = actual_with(&with);
    assert_eq!(kinds(&actual, &with), []);
    assert!(plan(&actual, with.clone()).is_empty());
    assert_eq!(kinds(&actual, &spec("a")), []);
    assert_eq!(actual.losses(&spec("a")), ["replicated rows"]);
    assert_eq!(actual.widened(&spec("a")).unwrap(), with);
    assert_eq!(actual.watched()[0].triggers, 7);
}

#[test]
fn an_installation_without_replicated_rows_does_not_cover_a_specification_with_them() {
    let actual = actual_with(&spec("a"));
    let kinds = kinds(&actual, &spec("a").replicated());
    let is_unheard = |kind: &DriftKind| matches!(kind, DriftKind::Unheard { reason, .. } if reason == "without replicated rows");
    assert!(kinds.iter().any(is_unheard), "{kinds:?}");
    for operation in ["insert", "update", "delete"] {
        let missing = DriftKind::Missing(format!("pgherald_notify_{operation}_row"));
        assert!(kinds.contains(&missing), "{kinds:?}");
    }
    let sql = plan(&actual, spec("a").replicated()).sql();
    // The triggers for TRUNCATE are replaced too, because they must fire in all sessions.
    assert_eq!(sql.matches("CREATE OR REPLACE TRIGGER").count(), 4, "{sql}");
}

#[test]
fn removing_replicated_rows_drops_row_triggers() {
    let actual = actual_with(&spec("a").replicated());
    let narrowed = plan(&actual, spec("a"));
    let sql = narrowed.sql();
    assert_eq!(
        narrowed.warnings(),
        ["Removed from public.a: replicated rows."]
    );
    assert_eq!(sql.matches("DROP TRIGGER IF EXISTS").count(), 3, "{sql}");
    assert_eq!(sql.matches("CREATE OR REPLACE TRIGGER").count(), 1, "{sql}");
    assert!(
        sql.contains("AFTER TRUNCATE") && !sql.contains("ENABLE"),
        "{sql}"
    );
    let sql = actual.plan_uninstall_all().unwrap().sql();
    assert_eq!(sql.matches("DROP TRIGGER IF EXISTS").count(), 7, "{sql}");
}

#[test]
fn row_triggers_that_do_not_fire_for_replicated_rows_have_drifted() {
    let spec = spec("a").replicated();
    let made = made(&spec, 16, &[]);
    let database = || {
        let database = Database::new().table(16, "a", &[]);
        database.installed(&made, 16, "a")
    };
    let (row, truncate) = ("pgherald_notify_delete_row", "pgherald_notify_truncate");
    for (name, firing, enable) in [
        (row, "D", "ENABLE REPLICA TRIGGER"),
        (row, "O", "ENABLE REPLICA TRIGGER"),
        (truncate, "D", "ENABLE ALWAYS TRIGGER"),
        (truncate, "O", "ENABLE ALWAYS TRIGGER"),
        (truncate, "R", "ENABLE ALWAYS TRIGGER"),
    ] {
        let mut database = database();
        trigger(&mut database, name)["firing"] = json!(firing);
        let actual = database.actual();
        let drifts = actual.verify(&spec);
        assert_eq!(drifts.len(), 1, "{name} {firing}: {drifts:?}");
        assert!(drifts[0].loses_changes(), "{drifts:?}");
        assert_eq!(
            drifts[0].to_string().contains("is disabled"),
            firing == "D",
            "{drifts:?}"
        );
        let sql = plan(&actual, spec.clone()).sql();
        assert_eq!(sql.matches("ENABLE").count(), 1, "{sql}");
        assert!(sql.contains(&format!("{enable} \"{name}\"")), "{sql}");
    }
    // Such a trigger also fires in other sessions. The function ignores these rows.
    let mut database = database();
    trigger(&mut database, row)["firing"] = json!("A");
    assert_eq!(kinds(&database.actual(), &spec), []);
    trigger(&mut database, row)["events"] = json!(8);
    let kinds = kinds(&database.actual(), &spec);
    assert!(
        matches!(&*kinds, [DriftKind::Unheard { object, .. }] if object == row),
        "{kinds:?}"
    );
}
