//! Generates the function of a table whose changes are recorded in the outbox.

use postgres_protocol::escape::{escape_identifier, escape_literal};

use super::catalog::Column;
use super::expression::{self, Size};
use super::replicated::{self, Seen};
use super::rows_query;
use super::template::render;
use super::validate::{Valid, without_duplicates};
use crate::error::Result;

pub(super) const NONE: &str = "NULL::pg_catalog.text";
const NO_NAMES: &str = "NULL::pg_catalog.text[]";
/// A condition: whether a row was lost on its way to another partition, because a trigger of that partition returned null.
const FEWER: &str = "(SELECT pg_catalog.count(*) FROM pgherald_new) \
     OPERATOR(pg_catalog.<) (SELECT pg_catalog.count(*) FROM pgherald_old)";
const PARTS: [&str; 4] = ["0", "1", "2", "3"];

pub(super) fn body(valid: &Valid<'_>) -> Result<String> {
    let table = &valid.spec.table;
    let relation = relation(valid)?.to_string();
    let whole = |condition: &str| {
        let values = [("relation", &*relation), ("where", condition)];
        fragment(include_str!("sql/objects/outbox_whole.sql"), &values)
    };
    // Rows are inserted directly into the part. An insert into the table would look the part up for each statement.
    let rows = |rows: &str| {
        let into = |part: usize| {
            let values = [
                ("relation", &*relation),
                ("part", PARTS[part]),
                ("rows", rows),
            ];
            render(include_str!("sql/objects/outbox_rows.sql"), &values)
        };
        let values = [
            ("first", &*into(0)?),
            ("second", &*into(1)?),
            ("third", &*into(2)?),
            ("fourth", &*into(3)?),
        ];
        fragment(include_str!("sql/objects/outbox_parts.sql"), &values)
    };
    let label = escape_literal(&table.to_string());
    let (declarations, record) = if valid.key.is_empty() {
        let every = whole(" WHERE EXISTS (SELECT FROM pgherald_new)")?;
        let watched = &valid.when_changed;
        let update = match watched.is_empty() {
            true => every.clone(),
            false => {
                let differing = differing(&expression::comparable(watched));
                let values = [
                    ("as_installed", &*as_installed(watched, "pgherald_new")?),
                    ("changed", &*whole(&format!(" WHERE EXISTS ({differing})"))?),
                    ("label", &*label),
                    ("every", &*every),
                ];
                fragment(
                    include_str!("sql/objects/outbox_unkeyed_compared.sql"),
                    &values,
                )?
            }
        };
        let values = [
            ("update", &*update),
            ("insert", &*every),
            (
                "delete",
                &*whole(" WHERE EXISTS (SELECT FROM pgherald_old)")?,
            ),
            ("whole", &*whole("")?),
        ];
        let record = fragment(include_str!("sql/objects/outbox_unkeyed.sql"), &values)?;
        match (valid.spec.replicated, watched.is_empty()) {
            (true, _) => {
                let record = unkeyed_rows(valid, &record, &whole("")?, &label)?;
                (include_str!("sql/objects/outbox_variables.sql"), record)
            }
            (false, true) => ("", record),
            (false, false) => ("    pgherald_as_installed pg_catalog.bool;\n", record),
        }
    } else {
        let one = |of: &str, operation: char| {
            let (key, columns) = (key(valid), columns(valid));
            format!(
                "SELECT {key} AS k, {columns} AS c, {NONE} AS o, {NO_NAMES} AS d, \
                 '{operation}'::pg_catalog.\"char\" AS p FROM {of}"
            )
        };
        let (inserted, deleted) = (one("pgherald_new", 'I'), one("pgherald_old", 'D'));
        let updated = |with: &str| {
            let paired = rows(&format!("{with}{}", paired(valid)?))?;
            if compares(valid) {
                return Ok(paired);
            }
            let kept = kept(valid, &one("pgherald_new", 'U'))?;
            let kept = rows(&format!("{with}{kept}"))?;
            let values = [("kept", &*kept), ("any", &*paired)];
            fragment(include_str!("sql/objects/outbox_either.sql"), &values)
        };
        let read = read(valid);
        let with = |seen| replicated::with(&read, seen);
        let row_readable = replicated::fragment(
            valid,
            include_str!("sql/replicated/outbox_readable.sql"),
            8,
            &[
                ("new", &replicated::readable(&read, "NEW")),
                ("old", &replicated::readable(&read, "OLD")),
            ],
        )?;
        let row_recorded = replicated::fragment(
            valid,
            include_str!("sql/replicated/outbox_recorded.sql"),
            8,
            &[
                ("update", &*updated(&with(Seen::Both))?),
                ("insert", &*rows(&(with(Seen::New) + &inserted))?),
                ("delete", &*rows(&(with(Seen::Old) + &deleted))?),
            ],
        )?;
        let whole = whole("")?;
        let insert_into = format!(
            "INSERT INTO pgherald.outbox (relation, hash, part, operation, key, columns, old_columns, changed) \
             SELECT {relation}, pg_catalog.hashtext(r.k), $1, r.p, r.k, r.c, r.o, r.d FROM ("
        );
        let values = [
            ("nesting", &*rows_query::nesting(valid)?),
            ("whole", &*whole),
            ("unlisted", &*unlisted(valid, &whole)?),
            ("row_readable", &*row_readable),
            ("row_recorded", &*row_recorded),
            ("row_arguments", replicated::arguments(valid)),
            ("old_as_installed", &*as_installed(&read, "pgherald_old")?),
            ("new_as_installed", &*as_installed(&read, "pgherald_new")?),
            (
                "rows_query",
                &*rows_query::call(
                    valid,
                    Size::Unlimited,
                    Size::Unavailable(valid.value_limit()),
                )?,
            ),
            ("label", &*label),
            ("insert_into", &*replicated::queried(valid, &insert_into)),
            ("update", &*updated("")?),
            ("insert", &*rows(&inserted)?),
            ("delete", &*rows(&deleted)?),
        ];
        let record = fragment(include_str!("sql/objects/outbox_keyed.sql"), &values)?;
        (include_str!("sql/objects/outbox_variables.sql"), record)
    };
    let values = [
        ("declarations", declarations),
        ("guard", replicated::guard(valid)),
        ("unless_woken", replicated::unless_woken(valid)),
        ("woken", replicated::woken(valid)),
        ("record", &*record),
    ];
    render(include_str!("sql/objects/outbox_body.sql"), &values)
}

/// The statement `whole`. For replicated rows, it runs once per transaction and operation.
fn unlisted(valid: &Valid<'_>, whole: &str) -> Result<String> {
    if !valid.spec.replicated {
        return Ok(whole.to_owned());
    }
    let values = [("mark", &*replicated::mark(valid)), ("whole", whole)];
    fragment(include_str!("sql/replicated/outbox_whole.sql"), &values)
}

/// The statements for a table without a key: `statement`, or `whole` for replicated rows.
fn unkeyed_rows(valid: &Valid<'_>, statement: &str, whole: &str, label: &str) -> Result<String> {
    let watched = &valid.when_changed;
    let compared = match watched.is_empty() {
        true => String::new(),
        false => {
            let differing = differing(&expression::comparable(watched));
            let differing = replicated::with(watched, Seen::Both) + &differing;
            let values = [
                ("readable", &*replicated::readable(watched, "NEW")),
                ("differing", &*differing),
                ("label", label),
            ];
            let template = include_str!("sql/replicated/outbox_compared.sql");
            replicated::fragment(valid, template, 8, &values)?
        }
    };
    let values = [
        ("compared", &*compared),
        ("whole", &*unlisted(valid, whole)?),
        ("statement", statement),
    ];
    fragment(include_str!("sql/replicated/outbox_unkeyed.sql"), &values)
}

/// The queries of the function to try before the installation.
pub(super) fn selects(valid: &Valid<'_>) -> Result<Vec<String>> {
    if valid.key.is_empty() {
        return Ok(match valid.when_changed.is_empty() {
            true => Vec::new(),
            false => vec![differing(&expression::comparable(&valid.when_changed))],
        });
    }
    let (key, columns) = (key(valid), columns(valid));
    let one = format!("SELECT {key} AS k, {columns} AS c FROM pgherald_new");
    Ok(vec![one, paired(valid)?])
}

/// The row of `outbox_relation`: the data that the outbox rows of a table have in common.
#[derive(Debug)]
pub(super) struct Description {
    /// The number by which outbox rows refer to it.
    pub(super) relation: i64,
    /// The statement that writes it.
    pub(super) statement: String,
}

/// The row of `outbox_relation`, and the statement that writes it.
pub(super) fn describe(valid: &Valid<'_>) -> Result<Description> {
    let table = &valid.spec.table;
    let key_names = match valid.key.is_empty() {
        true => "NULL".to_owned(),
        false => escape_literal(&expression::names(&valid.key)),
    };
    let relation = relation(valid)?;
    let types = expression::types(&valid.key, &valid.columns)?;
    let types = types.map_or_else(|| "NULL".to_owned(), |json| escape_literal(&json));
    let values = [
        ("relation", &*relation.to_string()),
        ("types", &*types),
        ("schema", &*escape_literal(table.schema())),
        ("table", &*escape_literal(table.name())),
        ("key_names", &*key_names),
    ];
    let statement = render(include_str!("sql/objects/outbox_relation.sql"), &values)?;
    Ok(Description {
        relation,
        statement,
    })
}

/// The bits of a relation's number that stand for the types of columns. The other bits stand for schema, table and key columns.
const TYPES: i64 = 0xff_ffff;

/// The number that stands for schema, table, key columns and the types of columns in outbox rows. It is made of hashes, so every
/// program computes the same one. Rows that were recorded with another key, or with columns of other types, keep their number.
pub(super) fn relation(valid: &Valid<'_>) -> Result<i64> {
    let table = &valid.spec.table;
    let key = expression::names(&valid.key);
    let number = hash(&[table.schema(), table.name(), &key].join("\0"));
    Ok(match expression::types(&valid.key, &valid.columns)? {
        None => number,
        Some(types) => number & !TYPES | hash(&types) >> 40 & TYPES,
    })
}

/// FNV-1a.
fn hash(text: &str) -> i64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in text.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash.cast_signed()
}

/// The part of a relation's number that does not depend on the types of columns. Events of a row are ordered by this part, so they
/// stay in order when the triggers are installed again for other types.
pub(crate) fn without_types(relation: i64) -> i64 {
    // Resyncs have small numbers, which are numbers of slices.
    match (-TYPES..=TYPES).contains(&relation) {
        true => relation,
        false => relation & !TYPES,
    }
}

/// Renders a part of a statement, without the line break at its end.
fn fragment(template: &str, values: &[(&str, &str)]) -> Result<String> {
    render(template.trim_end(), values)
}

pub(super) fn key(valid: &Valid<'_>) -> String {
    expression::key(&valid.key, Size::Unlimited)
}

pub(super) fn columns(valid: &Valid<'_>) -> String {
    match valid.columns.is_empty() {
        true => NONE.to_owned(),
        false => expression::object(&valid.columns, valid.value_limit()),
    }
}

/// A query for the rows that differ between the two transition tables, also in how often they occur.
fn differing(watched: &str) -> String {
    let except = |from: &str, other: &str| {
        format!("(SELECT {watched} FROM {from} EXCEPT ALL SELECT {watched} FROM {other})")
    };
    let (new, old) = ("pgherald_new", "pgherald_old");
    format!("{} UNION ALL {}", except(new, old), except(old, new))
}

/// A query that returns `rows` if all rows of an UPDATE had the key that the first of them has now, so that no key is gone. It
/// returns none otherwise.
fn kept(valid: &Valid<'_>, rows: &str) -> Result<String> {
    let values = [
        ("rows", rows),
        ("parts", &*expression::comparable(&valid.key)),
    ];
    fragment(include_str!("sql/objects/outbox_kept.sql"), &values)
}

/// Whether the function compares values of an UPDATE, not only keys.
fn compares(valid: &Valid<'_>) -> bool {
    valid.spec.old_columns || !valid.when_changed.is_empty()
}

/// The columns that the body reads, each once.
pub(super) fn read(valid: &Valid<'_>) -> Vec<Column> {
    let columns = valid.key.iter().chain(&valid.columns);
    without_duplicates(columns.chain(&valid.when_changed))
}

/// A condition: whether `columns` can still be read from a transition table as at the installation.
fn as_installed(columns: &[Column], rows: &str) -> Result<String> {
    let [checks, gone, numbered] = probes(columns);
    let values = [
        ("checks", &*checks),
        ("gone", &*gone),
        ("columns", &*numbered),
        ("rows", rows),
    ];
    fragment(include_str!("sql/objects/as_installed.sql"), &values)
}

/// The select lists of [`as_installed`]: the checks of `columns`, replacements for columns that are gone, and their values by
/// number.
pub(super) fn probes(columns: &[Column]) -> [String; 3] {
    let list = |line: &dyn Fn(usize, &Column) -> String, separator: &str| {
        let lines = columns.iter().enumerate();
        let lines: Vec<_> = lines.map(|(number, column)| line(number, column)).collect();
        lines.join(separator)
    };
    let quoted = |column: &Column| escape_identifier(&column.name);
    [
        list(
            &|number, column| expression::is_readable(column, &format!("pgherald_now.v{number}")),
            " AND ",
        ),
        list(
            &|_, column| format!("NULL::pg_catalog.void AS {}", quoted(column)),
            ", ",
        ),
        list(
            &|number, column| format!("{} AS v{number}", quoted(column)),
            ", ",
        ),
    ]
}

/// A query for the rows after an UPDATE, with their old values if the specification includes them, and for keys that are gone.
pub(super) fn paired(valid: &Valid<'_>) -> Result<String> {
    let spec = valid.spec;
    let mut more = named("w", expression::comparables(&valid.when_changed));
    let condition = match valid.when_changed.len() {
        0 => String::new(),
        count => format!(" WHERE n.k IS NULL OR o.k IS NULL{}", watched_differ(count)),
    };
    let (key, columns) = (key(valid), columns(valid));
    // The old values of a row are read only if the specification includes them, or if the row was lost.
    let mut before = match columns == NONE {
        true => NONE.to_owned(),
        false => format!("CASE WHEN {FEWER} THEN {columns} END"),
    };
    let (mut old, mut changed) = (NONE.to_owned(), NO_NAMES.to_owned());
    if spec.old_columns {
        let limit = valid.value_limit();
        more += &named("c", expression::comparables_within(&valid.columns, limit));
        let names = changed_names(&valid.columns, limit);
        before.clone_from(&columns);
        let whole = include_str!("sql/objects/outbox_old.sql").trim_end();
        old = format!("CASE WHEN n.k IS NOT NULL OR NOT {FEWER} THEN {whole} END");
        changed = format!(
            "CASE WHEN n.k IS NOT NULL AND o.k IS NOT NULL THEN \
             array_remove(ARRAY[{names}]::text[], NULL) END"
        );
    }
    let side = |columns: &str, rows: &str| match (valid.is_key_unique(), compares(valid)) {
        (true, _) => format!("SELECT {key} AS k, {columns} AS c{more} FROM {rows}"),
        // A join by a key that repeats would multiply rows.
        (false, false) if rows == "pgherald_old" => {
            format!("SELECT DISTINCT ON ({key}) {key} AS k, {columns} AS c FROM {rows}")
        }
        (false, false) => format!("SELECT {key} AS k, {columns} AS c FROM {rows}"),
        (false, true) => format!(
            "SELECT *, row_number() OVER (PARTITION BY k ORDER BY place) AS i FROM \
             (SELECT row_number() OVER () AS place, {key} AS k, {columns} AS c{more} FROM {rows}) AS s"
        ),
    };
    let place = match valid.is_key_unique() || !compares(valid) {
        true => "",
        false => " AND n.i OPERATOR(pg_catalog.=) o.i",
    };
    let values = [
        (
            "new",
            &*format!("CASE WHEN n.k IS NOT NULL THEN n.c WHEN {FEWER} THEN o.c END"),
        ),
        ("old", &old),
        ("changed", &changed),
        ("fewer", FEWER),
        ("after", &side(&columns, "pgherald_new")),
        ("before", &side(&before, "pgherald_old")),
        ("place", place),
        ("where", &condition),
    ];
    fragment(include_str!("sql/objects/outbox_updated.sql"), &values)
}

/// A select list of values with numbers as names, which cannot collide with the names of columns.
pub(super) fn named(place: &str, values: Vec<String>) -> String {
    let values = values.into_iter().enumerate();
    values
        .map(|(number, value)| format!(", {value} AS {place}{number}"))
        .collect()
}

/// A condition: whether one of `count` compared columns differs.
pub(super) fn watched_differ(count: usize) -> String {
    let differ = (0..count).map(|number| format!(" OR n.w{number} IS DISTINCT FROM o.w{number}"));
    differ.collect()
}

/// The elements of an array with the names of the columns that differ.
pub(super) fn changed_names(columns: &[Column], limit: u32) -> String {
    let names = columns.iter().enumerate().map(|(number, column)| {
        let name = escape_literal(&column.name);
        let (new, old) = (format!("n.c{number}"), format!("o.c{number}"));
        let differs = expression::differs(column, limit, &new, &old);
        format!("CASE WHEN {differs} THEN {name} END")
    });
    names.collect::<Vec<_>>().join(", ")
}
