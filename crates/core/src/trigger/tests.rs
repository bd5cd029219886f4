//! Tests of the decisions that are made from an actual state, without a server.

use serde_json::{Value, json};

use super::actual::Actual;
use super::catalog::OutboxRows;
use super::desired::{Desired, DesiredTrigger, Firing};
use super::verify::{Drift, DriftKind};
use super::{Plan, TriggerSpec, VERSION, desired, shared};
use crate::name::TableName;
use crate::operation::Operation;

mod replicated;

/// A simulated database: the objects as the server returns them.
#[derive(Default)]
struct Database {
    objects: Vec<(&'static str, Value)>,
    tables: Vec<TableName>,
}

fn table(name: &str) -> TableName {
    TableName::new("public", name).unwrap()
}

fn spec(name: &str) -> TriggerSpec {
    TriggerSpec::new(table(name))
}

impl Database {
    /// Creates a database with the schema and the shared functions.
    fn new() -> Self {
        let mut database = Self::default();
        database.add(
            "server",
            json!({"version": 150_000, "has_schema": true, "owner": "me", "is_trusted": true}),
        );
        for (name, body, settings) in shared::helpers() {
            database.add_function(name, body, settings, &format!(r#"{{"version":{VERSION}}}"#));
        }
        database
    }

    fn add(&mut self, kind: &'static str, object: Value) {
        self.objects.push((kind, object));
    }

    fn add_function(
        &mut self,
        name: &str,
        body: &str,
        settings: &[impl AsRef<str>],
        comment: &str,
    ) {
        self.add(
            "function",
            json!({
                "name": name, "comment": comment, "body": format!("\n{body}"), "owner": "me", "is_trusted": true,
                "is_callable": true, "is_definer": name.starts_with("notify_0"), "settings": settings.iter().map(AsRef::as_ref).collect::<Vec<&str>>(),
                "has_trusted_helper": true, "has_callable_helper": true,
            }),
        );
    }

    /// Adds a table with OID `oid`, key `id` and columns `v` and `w`, and a partition of each name.
    fn table(mut self, oid: i64, name: &str, partitions: &[&str]) -> Self {
        let member = |name: &str, is_root: bool| json!({"root": oid, "is_root": is_root, "schema": "public", "table": name, "kind": "r", "may_have_triggers": true});
        self.add("member", member(name, true));
        for partition in partitions {
            self.add("member", member(partition, false));
        }
        for (number, column) in ["id", "v", "w"].into_iter().enumerate() {
            let key_place = (number == 0).then_some(1);
            self.add(
                "column",
                json!({
                    "root": oid, "number": number + 1, "name": column, "type_name": "int4", "key_place": key_place,
                    "is_virtual": false, "exact_type": "pg_catalog.int4", "declared": "integer", "is_short": true,
                    "names_objects": false, "is_ambiguous": false,
                }),
            );
        }
        self.tables.push(table(name));
        self
    }

    /// Adds the objects `made`, with the triggers on the relation with OID `oid` and name `now`.
    fn installed(mut self, made: &Desired, oid: i64, now: &str) -> Self {
        let comment = json!(made.note).to_string();
        self.add_function(&made.function, &made.body, &made.pinned(), &comment);
        self.add("name", json!(made.function));
        for trigger in &made.triggers {
            let is_root = made.note.table_name().as_ref() == Some(&trigger.on);
            let on = if is_root { now } else { trigger.on.name() };
            self.add_trigger(&made.function, trigger, oid, on, is_root);
        }
        self
    }

    fn add_trigger(
        &mut self,
        function: &str,
        trigger: &DesiredTrigger,
        oid: i64,
        on: &str,
        is_root: bool,
    ) {
        let events = match trigger.operation {
            Operation::Insert => 4,
            Operation::Delete => 8,
            Operation::Update => 16,
            Operation::Truncate => 32,
        };
        let events = events + i16::from(trigger.is_row);
        let (new, old) = trigger.transition_tables();
        let firing = match trigger.firing {
            Firing::Origin => "O",
            Firing::Replica => "R",
            Firing::Always => "A",
        };
        self.add(
            "trigger",
            json!({
                "schema": "public", "table": on, "relation": oid, "name": trigger.name, "function": function, "is_root": is_root,
                "firing": firing, "events": events, "new_table": new, "old_table": old, "is_unconditional": true,
            }),
        );
    }

    fn actual(&self) -> Actual {
        let json: Vec<_> = self
            .objects
            .iter()
            .map(|(kind, object)| (*kind, object.to_string()))
            .collect();
        let asked: Vec<_> = self.tables.iter().collect();
        let objects = json.iter().map(|(kind, object)| (*kind, &**object));
        Actual::assemble(&asked, objects).unwrap()
    }
}

/// Returns the objects to install for `spec` on a table with OID `oid`, in an otherwise empty database.
fn made(spec: &TriggerSpec, oid: i64, partitions: &[&str]) -> Desired {
    let database = Database::new().table(oid, spec.table().name(), partitions);
    let actual = database.actual();
    desired::desired(&actual.validate(spec).unwrap().0).unwrap()
}

fn plan(actual: &Actual, spec: TriggerSpec) -> Plan {
    actual.plan(&[spec]).unwrap()
}

fn kinds(actual: &Actual, spec: &TriggerSpec) -> Vec<DriftKind> {
    let drifts: Vec<Drift> = actual.verify(spec);
    drifts.into_iter().map(|drift| drift.kind).collect()
}

#[test]
fn installing_creates_a_function_and_four_triggers_on_each_table_and_partition() {
    let actual = Database::new().table(16, "a", &["a_1"]).actual();
    let sql = plan(&actual, spec("a")).sql();
    let name = "notify_0000001000000000";
    assert!(
        sql.contains(&format!("CREATE OR REPLACE FUNCTION pgherald.{name}()")),
        "{sql}"
    );
    assert_eq!(sql.matches("CREATE OR REPLACE TRIGGER").count(), 8, "{sql}");
    assert_eq!(kinds(&actual, &spec("a")).len(), 8);
    assert!(actual.watched().is_empty());
}

#[test]
fn a_plan_for_a_current_installation_is_empty() {
    let made = made(&spec("a"), 16, &["a_1"]);
    let database = Database::new().table(16, "a", &["a_1"]);
    let actual = database.installed(&made, 16, "a").actual();
    assert!(plan(&actual, spec("a")).is_empty());
    assert_eq!(kinds(&actual, &spec("a")), []);
    assert_eq!(actual.watched()[0].triggers, 8);
    let narrower = plan(&actual, spec("a").operations(Operation::Insert)).sql();
    assert_eq!(
        narrower.matches("DROP TRIGGER IF EXISTS").count(),
        6,
        "{narrower}"
    );
}

#[test]
fn a_renamed_table_keeps_its_function_and_has_drifted() {
    let made = made(&spec("a"), 16, &[]);
    let actual = Database::new()
        .table(16, "b", &[])
        .installed(&made, 16, "b")
        .actual();
    let unheard = |kind: &DriftKind| matches!(kind, DriftKind::Unheard { reason, .. } if reason.contains("another name"));
    assert!(kinds(&actual, &spec("b")).iter().all(unheard));
    let sql = plan(&actual, spec("b")).sql();
    assert!(
        sql.contains(&format!(
            "CREATE OR REPLACE FUNCTION pgherald.{}()",
            made.function
        )),
        "{sql}"
    );
    assert!(
        !sql.contains("CREATE OR REPLACE TRIGGER") && !sql.contains("DROP FUNCTION IF"),
        "{sql}"
    );
    let watched = &actual.watched()[0];
    assert_eq!(
        (watched.former(), &watched.table),
        (Some(&table("a")), &Some(table("b")))
    );
}

#[test]
fn installing_on_tables_that_swapped_names_keeps_each_function_with_its_table() {
    let (a, b) = (
        made(&spec("a"), 16, &[]),
        made(&spec("b").outbox(), 17, &[]),
    );
    let database = Database::new().table(16, "b", &[]).table(17, "a", &[]);
    let mut actual = database
        .installed(&a, 16, "b")
        .installed(&b, 17, "a")
        .actual();
    let outbox = json!({"comment": format!(r#"{{"version":{VERSION}}}"#), "owner": "me", "is_trusted": true, "is_readable": true});
    let mut outbox: super::catalog::Outbox = serde_json::from_value(outbox).unwrap();
    outbox.rows = Some(OutboxRows {
        are_complete: true,
        ..OutboxRows::default()
    });
    actual.outbox = Some(outbox);
    let plan = plan(&actual, spec("a").outbox());
    let (sql, other) = (plan.sql(), a.function);
    assert!(sql.contains(&b.function) && !sql.contains(&other), "{sql}");
    assert_eq!(plan.warnings().len(), 1, "{:?}", plan.warnings());
    assert!(
        plan.warnings()[0].contains("public.b"),
        "{:?}",
        plan.warnings()
    );
    let both = actual.plan(&[spec("a").outbox(), spec("b")]).unwrap();
    assert!(both.warnings().is_empty() && both.sql().contains(&other));
}

#[test]
fn the_function_of_a_dropped_table_is_reused_by_a_new_table_or_removed() {
    let left = made(&spec("a"), 16, &["a_1"]);
    let mut database = Database::new()
        .table(17, "a", &[])
        .installed(&left, 16, "a");
    // Only the triggers of the detached partition are left.
    let is_gone = |object: &Value| object["is_root"] == true && object["relation"] == 16;
    database
        .objects
        .retain(|(kind, object)| *kind != "trigger" || !is_gone(object));
    let actual = database.actual();
    let sql = plan(&actual, spec("a")).sql();
    assert!(sql.contains(&left.function), "{sql}");
    assert_eq!(sql.matches("ON \"public\".\"a_1\"").count(), 4, "{sql}");
    let sql = actual.plan_uninstall(&[table("a")]).unwrap().sql();
    assert!(
        sql.contains(&format!(
            "DROP FUNCTION IF EXISTS pgherald.{}()",
            left.function
        )),
        "{sql}"
    );
    assert_eq!(sql.matches("DROP TRIGGER").count(), 4, "{sql}");
}

#[test]
fn a_function_that_two_tables_call_is_replaced_for_each_and_not_dropped() {
    let made = made(&spec("a"), 16, &[]);
    let mut database = Database::new().table(16, "a", &[]).table(17, "b", &[]);
    database = database.installed(&made, 16, "a");
    database.add_trigger(&made.function, &made.triggers[0], 17, "b", true);
    let actual = database.actual();
    for (name, oid) in [("a", 16), ("b", 17)] {
        let sql = plan(&actual, spec(name)).sql();
        // The first table gets another number in the name, because its name is taken.
        let expected = format!("notify_{oid:08x}{:08x}", u8::from(oid == 16));
        assert!(
            sql.contains(&format!("CREATE OR REPLACE FUNCTION pgherald.{expected}()")),
            "{sql}"
        );
        assert!(
            !sql.contains("DROP TRIGGER") && !sql.contains("DROP FUNCTION IF"),
            "{sql}"
        );
    }
    let sql = actual.plan_uninstall(&[table("b")]).unwrap().sql();
    assert_eq!(sql.matches("DROP TRIGGER").count(), 1, "{sql}");
    assert!(
        !sql.contains(&format!(
            "DROP FUNCTION IF EXISTS pgherald.{}()",
            made.function
        )),
        "{sql}"
    );
}

#[test]
fn errors_distinguish_missing_tables_from_tables_that_were_not_inspected() {
    let mut database = Database::new();
    database.tables.push(table("a"));
    database.add(
        "lookalike",
        json!({"of": "a", "schema": "app", "table": "A"}),
    );
    let actual = database.actual();
    let refusal = |name| actual.plan(&[spec(name)]).unwrap_err().to_string();
    assert_eq!(
        refusal("a"),
        "table public.a does not exist; there is app.A"
    );
    assert!(refusal("b").contains("inspect"), "{}", refusal("b"));
    assert_eq!(kinds(&actual, &spec("a")), [DriftKind::TableMissing]);
}

#[test]
fn functions_of_another_role_or_a_later_version_are_refused() {
    let made = made(&spec("a"), 16, &[]);
    let forbidden = [
        ("owner", json!("mallory"), "belongs to mallory"),
        (
            "comment",
            json!("{\"version\":1000}"),
            "upgrade this program",
        ),
    ];
    for (property, value, why) in forbidden {
        let mut database = Database::new()
            .table(16, "a", &[])
            .installed(&made, 16, "a");
        for (_, object) in &mut database.objects {
            if object["name"] == made.function.as_str() {
                object[property] = value.clone();
                object["is_trusted"] = json!(property != "owner");
            }
        }
        let error = database.actual().plan(&[spec("a")]).unwrap_err();
        assert!(
            error.is_config() && error.to_string().contains(why),
            "{error}"
        );
    }
}

/// Returns the state of a database in which `spec` is installed on table a.
fn actual_with(spec: &TriggerSpec) -> Actual {
    let made = made(spec, 16, &[]);
    let database = Database::new().table(16, "a", &[]);
    database.installed(&made, 16, "a").actual()
}

#[test]
fn widening_adds_operations_and_columns_of_the_installation() {
    let insert = spec("a").operations(Operation::Insert).columns(["v"]);
    let delete = spec("a").operations(Operation::Delete).columns(["w"]);
    let both = Operation::Insert | Operation::Delete;
    let both = spec("a").operations(both).columns(["v", "w"]);
    let actual = actual_with(&insert);
    assert_eq!(actual.widened(&delete).unwrap(), both);
    assert_eq!(actual.losses(&delete), ["column v", "operation insert"]);
    // An installation that covers a specification has not drifted, and installing the widened specification changes nothing.
    let actual = actual_with(&both);
    for narrower in [insert, delete] {
        let widened = actual.widened(&narrower).unwrap();
        assert!(plan(&actual, widened).is_empty());
        assert_eq!(kinds(&actual, &narrower), []);
        let narrowed = plan(&actual, narrower);
        assert!(
            narrowed.warnings()[0].starts_with("Removed from public.a: column"),
            "{:?}",
            narrowed.warnings()
        );
    }
    assert!(
        actual_with(&spec("b"))
            .widened(&spec("a").columns(["w"]))
            .is_ok()
    );
}

#[test]
fn widening_keeps_updates_old_columns_and_large_values_of_the_installation() {
    let outbox = spec("a").outbox().columns(["v"]);
    let cases = [
        (
            outbox.clone(),
            outbox.clone().when_changed(["v"]),
            "updates that change none of v",
        ),
        (
            outbox.clone().when_changed(["v", "w"]),
            outbox.clone().when_changed(["v"]),
            "updates that change only w",
        ),
        (outbox.clone().old_columns(), outbox.clone(), "old columns"),
        (
            outbox.clone().value_limit(1 << 21),
            outbox.clone(),
            "values of more than 1048576 bytes",
        ),
        (
            outbox.clone(),
            outbox.value_limit(10),
            "values of more than 10 bytes",
        ),
    ];
    for (installed, requested, loss) in cases {
        let actual = actual_with(&installed);
        assert_eq!(actual.losses(&requested), [loss]);
        let widened = actual.widened(&requested).unwrap();
        assert_eq!(actual.losses(&widened), [""; 0]);
        assert_eq!(widened, installed, "{loss}");
    }
}

#[test]
fn widening_refuses_another_mode_channel_or_key() {
    let elsewhere = crate::name::ChannelName::new("elsewhere").unwrap();
    let cases = [
        (
            spec("a").outbox(),
            spec("a"),
            "recording changes in the outbox",
        ),
        (
            spec("a"),
            spec("a").outbox(),
            "announcing changes on channel pgherald",
        ),
        (
            spec("a").channel(elsewhere),
            spec("a"),
            "announcing changes on channel elsewhere",
        ),
        (spec("a").key_columns(["v", "w"]), spec("a"), "the key v, w"),
    ];
    for (installed, requested, why) in cases {
        let actual = actual_with(&installed);
        let error = actual.widened(&requested).unwrap_err();
        assert!(
            error.is_config() && error.to_string().contains(why),
            "{error}"
        );
        assert!(!plan(&actual, requested).warnings().is_empty());
    }
    // The mode of a renamed table that still reports changes under this name also conflicts.
    let renamed = made(&spec("a").outbox(), 16, &[]);
    let database = Database::new().table(16, "old", &[]).table(17, "a", &[]);
    let actual = database.installed(&renamed, 16, "old").actual();
    let error = actual.widened(&spec("a")).unwrap_err().to_string();
    assert!(error.contains("recording changes in the outbox"), "{error}");
    assert!(actual.widened(&spec("a").outbox()).is_ok());
}

#[test]
fn dropped_columns_are_not_listed_as_losses_of_an_installation() {
    let mut database = Database::new().table(16, "a", &[]);
    let made = made(&spec("a").columns(["v", "w"]), 16, &[]);
    database = database.installed(&made, 16, "a");
    database
        .objects
        .retain(|(kind, object)| *kind != "column" || object["name"] != "w");
    let actual = database.actual();
    assert_eq!(actual.losses(&spec("a").columns(["v"])), [""; 0]);
    assert_eq!(
        actual.widened(&spec("a")).unwrap(),
        spec("a").columns(["v"])
    );
}
