//! Triggers that announce changes with NOTIFY: planned, installed, checked and removed.
//!
//! ```text
//!             inspect                                plan                               apply
//!  database ──────────► Actual ──────────────────────────────────────► Plan (SQL) ─────────────► database
//!                         │     validate      desired      compare       ▲
//!  TriggerSpec ───────────┴──────────► Valid ───────► Desired ─► Finding ┤
//!                                                                        └► Drift (plain words)
//! ```
//!
//! Three steps, with a value between each:
//! - [`inspect`] reads everything about all tables into an [`Actual`], in at most three statements for any number of tables. It
//!   is plain data: the next step has no connection.
//! - [`Actual::plan`] decides what to do, what to refuse and what to warn about. It is a function of specifications and
//!   the actual state, and so are [`Actual::verify`], [`Actual::watched`] and [`Actual::plan_uninstall`].
//!   [`Actual::widened`] merges the installations of several programs, so that none takes away what another one needs.
//! - [`Plan::apply`] runs the steps, in one transaction.
//!
//! [`plan`](plan()), [`verify`], [`watched`] and [`plan_uninstall`] inspect and decide in one call.
//!
//! [`migration_script`] writes one script for all databases, for tools that run migrations. It inspects and decides when it runs.
//!
//! **Objects.** Schema `pgherald` holds `notify_rows` and `rows_query`, shared by all tables, and one function
//! `notify_<16 hex digits>` per table. The watched table gets one statement-level trigger for each
//! operation, `pgherald_notify_insert` and so on; each of its partitions and children gets the same with
//! the hex digits appended, because a direct write to a partition fires only that partition's triggers.
//!
//! With [`TriggerSpec::replicated`], each of these tables that holds rows (not a partitioned one) also gets a row-level trigger
//! for insert, update and delete, `pgherald_notify_insert_row` and so on. It is `ENABLE REPLICA`, calls the same function, and
//! fires where the statement-level triggers do not: in sessions whose `session_replication_role` is `replica`. Workers that
//! apply a subscription are such sessions. The triggers for TRUNCATE become `ENABLE ALWAYS`.
//!
//! A table in outbox mode ([`TriggerSpec::outbox`]) has the same triggers. Its function records rows in
//! `pgherald.outbox`, which all tables share, instead of announcing them. The view `pgherald.outbox_event` shows them in
//! readable form.
//!
//! **Names.** A table's function is the one that the table's own triggers call. Its name does not identify the table: it is
//! derived from the OID that the table had at the installation. So a table keeps its function when it is renamed, swaps names
//! with another, or is restored from a dump. The function's comment and its events contain the table's name, so a renamed
//! table has drifted: it announces its changes under the former name until it is installed again, and subscribers to the new
//! name are not live. Installing on one table never takes triggers or a function from another one.
//!
//! **States.** A table's installation is absent, current, or drifted (triggers missing, disabled or left
//! over; objects of another name, version or specification). [`plan`](plan()) leads from any of them to current,
//! [`plan_uninstall`] to absent, and [`verify`] reports the state. The state lives in the catalog only:
//! the function's comment records version and specification.
//!
//! **Owner.** Functions belong to the role that installs, and run with its rights (`SECURITY DEFINER`),
//! so that a writer needs no rights beyond those on its table. Another owner of the schema or of a function could
//! therefore make them run any code; so [`plan`] refuses, and [`verify`] reports, an owner that is neither
//! the installing role nor a superuser. In effect one role installs all tables of a database, unless
//! a superuser created the schema and lets others use it.
//!
//! **Guarantees.**
//! - Planning and verifying only read, outside a transaction, and leave nothing in the session.
//! - [`Plan::apply`] is atomic, and two plans may be applied at the same time.
//! - A plan made right after one was applied is empty.
//! - Applying a plan fails if a table was renamed since it was made, so that a function would announce another table, or if
//!   something else was installed on one of its tables.
//! - A write never fails because of its payload: payloads stay below 8,000 bytes. If a column was renamed,
//!   dropped or given another type, `rows_query` writes a query for the remaining columns, and raises a warning. If the key
//!   or a shared function is gone, the function announces the whole table and raises a warning.
//! - The trigger of a statement reads at most 1,001 rows, however many rows changed, except with
//!   [`TriggerSpec::when_changed`], which compares all of them.
//!
//! **Payload.** JSON, a superset of PGCacheWatch's:
//!
//! ```json
//! {"v":1,"operation":"update","schema":"public","table":"users",
//!  "sent_at":"2026-11-22T10:45:33.123456+00:00","xid":7421,
//!  "key":["id"],"types":{"price":"numeric"},"keys":[7,8],"columns":[{"email":"a@x","price":"9.50"},null]}
//! ```
//!
//! - `keys` has one element for each row: the value of a single key column, or an array of the values in the
//!   order of `key`. An update also lists the keys that rows had before it. `int2`, `int4`, `int8` and
//!   `bool` are JSON numbers and booleans. Any other value is a string of its text, whatever the writer's session settings:
//!   ISO dates, UTC, hex, names of objects with their schema. Values that are equal in SQL may have different texts
//!   ([`DriftKind::AmbiguousKey`]), and a reader may write a value in another way ([`SpelledKey`]). In a database of another encoding than UTF-8, bytes of a text that the server cannot
//!   convert are read as Latin-1.
//! - `columns` stands next to `keys` if the specification names columns. It has the new values, for a delete the old ones;
//!   `null` if they are unknown (the row has another key now) or too large together. `{"unavailable":{"limit":7999}}` stands
//!   in the place of one value that is too large.
//! - `types` says how the texts of columns are read, see [`Event::columns`](crate::Event::columns). It is there if
//!   some column, or part of the key, is of such a type: `int` (in arrays and composites, and for `oid`), `bool`, `float`, `numeric`, `json`
//!   (also for `jsonb`), `bytea`, `date`, `timestamp`, `timestamptz`, `timetz`; `["float"]` for an array of any number of
//!   dimensions; `{"street":"text","zip":"int"}` for a composite type. Texts of all other types are read as they are. For
//!   columns of the key there are also `uuid`, `time`, `interval`, `padded` (`char(n)`), `address`, `mac`, `caseless` (`citext`), `collated` (a nondeterministic collation)
//!   and `other`:
//!   texts, of which a value has several, see [`Key`](crate::Key). The row that describes a table in the outbox has the same
//!   object.
//! - A payload without `key`, `keys` and `columns`: anything in the table may have changed. Such payloads follow TRUNCATE, a
//!   write to a table without key, a statement of more than 1,000 rows, a transaction that replicates more than that, and a key that
//!   does not fit. TRUNCATE of a
//!   partitioned table is announced once for the table and once for each partition.
//! - Many keys come in several payloads, each complete in itself.
//!
//! **Limits.** PostgreSQL refuses `PREPARE TRANSACTION` after NOTIFY, so a watched table cannot be written
//! in two-phase commits; nor, with [`TriggerSpec::replicated`], by a subscription that has `two_phase`. Only with
//! [`TriggerSpec::replicated`] do triggers fire for rows that logical replication applies, and while
//! `session_replication_role` is `replica`, whether it is set for the session, the role or the database. Attaching and
//! detaching a partition cause no events. A partition that is watched alone, without its parent, gets no events for writes
//! through the parent. A partition created after the installation is not announced until its parent is installed again.
//! Children of other sessions' temporary tables are left out. If the notification queue is full, because a session listens and does not read, the commit fails. If a table was watched
//! before it became a partition of another watched one, both installations stay: a direct write to it causes an event of each,
//! until it is uninstalled.
//!
//! **Rights.** Install as a role of its own rather than a superuser: the triggers run with its rights when
//! others write.

mod actual;
mod apply;
mod catalog_type;
mod check;
mod compare;
mod desired;
mod expression;
mod inspect;
mod limits;
mod manifest;
mod migration;
mod note;
mod outbox;
mod plan;
mod replicated;
mod rows_query;
mod script;
mod shared;
mod spec;
mod spelled_key;
mod summary;
mod template;
#[cfg(test)]
mod tests;
mod validate;
mod verify;
mod watched;
mod widen;

pub use actual::{Actual, Requirement};
pub use apply::Plan;
pub(crate) use check::{Check, Checker};
pub use inspect::{inspect, inspect_all};
pub use manifest::{from_manifest, to_manifest};
pub use migration::Migration;
pub(crate) use outbox::without_types;
pub use plan::{OLDEST_SERVER, install, plan, plan_uninstall, plan_uninstall_all, plan_widened};
pub use script::migration_script;
pub(crate) use shared::refuse_other_outbox;
pub use shared::require_version;
pub use spec::TriggerSpec;
pub use spelled_key::SpelledKey;
pub use summary::TableChange;
pub use verify::{Drift, DriftKind, verify};
pub use watched::{Watched, watched};

/// The version of the objects that this program installs: the number of the last migration.
const VERSION: u32 = 2;
