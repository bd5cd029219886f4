//! Installs the triggers that announce changes with NOTIFY, or record them in the outbox.
//!
//! ```text
//!             inspect                                plan                               apply
//!  database ──────────► Actual ──────────────────────────────────────► Plan (SQL) ─────────────► database
//!                         │     validate      desired      compare       ▲
//!  TriggerSpec ───────────┴──────────► Valid ───────► Desired ─► Finding ┤
//!                                                                        └► Drift (text)
//! ```
//!
//! The work has three steps, and each passes a value to the next:
//! - *Inspect* reads the catalog, in at most three statements for any number of tables. The result is plain data, so the next
//!   step needs no connection.
//! - *Plan* decides which statements to run, which specifications to refuse, and what to warn about. It is a function of the
//!   specifications and the actual state.
//! - [`Plan::apply`] runs the statements in one transaction.
//!
//! [`plan`](plan()), [`plan_widened`], [`plan_uninstall`] and [`verify`] inspect and decide in one call. [`plan_widened`] merges a
//! specification with what is installed, so that no program removes what another one needs.
//!
//! [`migration_script`] writes a script for migration tools. One script works on every database, because it inspects and decides
//! when it runs.
//!
//! **Objects.** Schema `pgherald` holds the functions `notify_rows` and `rows_query`, which all tables share, and one function
//! `notify_<16 hex digits>` per table. A watched table gets one statement-level trigger per operation, named
//! `pgherald_notify_insert` and so on. A direct write to a partition fires only the triggers of that partition. So each partition
//! and child gets the same triggers, with the hex digits appended to their names.
//!
//! With [`TriggerSpec::replicated`], each of these tables that stores rows (partitioned tables do not) also gets one row-level
//! trigger for insert, update and delete, named `pgherald_notify_insert_row` and so on. It is `ENABLE REPLICA` and calls the same
//! function. It fires where the statement-level triggers do not: in sessions whose `session_replication_role` is `replica`, such
//! as the workers that apply a subscription. The triggers for TRUNCATE become `ENABLE ALWAYS`.
//!
//! A table in outbox mode ([`TriggerSpec::outbox`]) has the same triggers. Its function does not announce rows: it records them
//! in `pgherald.outbox`, which all tables share. The view `pgherald.outbox_event` shows them in readable form.
//!
//! **Names.** A table's function is the one that the table's own triggers call. Its name does not identify the table: it is
//! derived from the OID that the table had at the installation. So a table keeps its function when it is renamed, swaps names
//! with another table, or is restored from a dump. The function's comment and its events contain the table's name. So a renamed
//! table has drifted: until it is installed again, it announces its changes under its former name, and subscribers to the new
//! name are not live. An installation on one table never takes triggers or a function from another table.
//!
//! **States.** The installation of a table is absent, current, or drifted. It has drifted if triggers are missing, disabled or
//! left over, or if an object has another name, version or specification. [`plan`](plan()) leads from each state to current,
//! [`plan_uninstall`] leads to absent, and [`verify`] reports the state. The state is stored in the catalog only: the function's
//! comment contains version and specification.
//!
//! **Owner.** Functions belong to the role that installs them, and run with its rights (`SECURITY DEFINER`), so a writer needs
//! only its rights on the table. Another owner of the schema or of a function could therefore run any code with these rights.
//! So [`plan`](plan()) refuses, and [`verify`] reports, an owner that is neither the installing role nor a superuser. In effect,
//! one role installs all tables of a database, unless a superuser created the schema and lets other roles use it.
//!
//! **Guarantees.**
//! - Planning and verifying only read, need no transaction, and leave nothing in the session.
//! - [`Plan::apply`] is atomic. Two plans may be applied at the same time.
//! - A plan made right after another one was applied is empty.
//! - Applying a plan fails if, since it was made, a table was renamed, so that a function would announce another table, or
//!   something else was installed on one of its tables.
//! - A write never fails because of its payload: payloads stay below 8,000 bytes. If a column was renamed, dropped or given
//!   another type, `rows_query` writes a query for the remaining columns, and raises a warning. If the key or a shared function
//!   is gone, the function announces or records a change of the whole table and raises a warning.
//! - In notify mode, the trigger of a statement reads at most 1,001 rows, however many rows changed. With
//!   [`TriggerSpec::when_changed`], it compares all of them. In outbox mode, it records all rows.
//!
//! **Payload.** A notification is JSON, a superset of PGCacheWatch's:
//!
//! ```json
//! {"v":1,"operation":"update","schema":"public","table":"users",
//!  "sent_at":"2026-11-22T10:45:33.123456+00:00","xid":7421,
//!  "key":["id"],"types":{"price":"numeric"},"keys":[7,8],"columns":[{"email":"a@x","price":"9.50"},null]}
//! ```
//!
//! - `keys` has one element per row: the value of a single key column, or an array of the values in the order of `key`. An
//!   update also lists the keys that rows had before it. `int2`, `int4`, `int8` and `bool` are JSON numbers and booleans. Any
//!   other value is a string of its text. The text does not depend on the writer's session settings: dates are ISO, times are
//!   UTC, bytes are hex, and names of objects have their schema. Values that are equal in SQL may have different texts
//!   ([`DriftKind::AmbiguousKey`]), and a reader may write a value in another way. If the database has another
//!   encoding than UTF-8, bytes that the server cannot convert are read as Latin-1.
//! - `columns` is present next to `keys` if the specification names columns. It has the new values, or for a delete the old ones.
//!   An element is `null` if the values are unknown (the row has another key now) or too large together. A single value that is
//!   too large is replaced by `{"unavailable":{"limit":7999}}`.
//! - `types` says how the texts of columns are read, see [`Event::columns`](crate::Event::columns). It is present if a column, or
//!   a part of the key, has one of these types: `int` (in arrays and composites, and for `oid`), `bool`, `float`, `numeric`,
//!   `json` (also for `jsonb`), `bytea`, `date`, `timestamp`, `timestamptz`, `timetz`; `["float"]` for an array of any number of
//!   dimensions; `{"street":"text","zip":"int"}` for a composite type. Texts of all other types are read as they are. Key columns
//!   may also have the types `uuid`, `time`, `interval`, `padded` (`char(n)`), `address`, `mac`, `caseless` (`citext`),
//!   `collated` (text with a nondeterministic collation) and `other`: one value of these has several texts, see
//!   [`Key`](crate::Key). The row that describes a table in the outbox has the same object.
//! - A payload without `key`, `keys` and `columns` means that anything in the table may have changed. Its cause is a TRUNCATE, a
//!   write to a table without a key, a statement of more than 1,000 rows, a transaction that replicates more rows than that, or a
//!   key that does not fit into a payload. TRUNCATE of a partitioned table is announced once for the table and once for each
//!   partition.
//! - If the keys do not fit into one payload, several are sent, and each is complete in itself.
//! - `v` is the version of the payload, not that of the installed objects.
//!
//! `sql/objects/notify_rows_body.sql` writes the payload. `sql/objects/failure.sql` writes the payload about the whole table if
//! the function fails. `event/decode.rs` reads both; its `VERSION` is the newest `v` that it supports. A listener that receives a
//! newer `v` emits a `Resync` in place of the event, so upgrade listeners before triggers.
//!
//! **Limits.**
//! - PostgreSQL refuses `PREPARE TRANSACTION` after NOTIFY, so two-phase commits cannot write to a watched table. With
//!   [`TriggerSpec::replicated`], neither can a subscription that has `two_phase`.
//! - Rows that logical replication applies fire triggers only with [`TriggerSpec::replicated`]. The same holds while
//!   `session_replication_role` is `replica`, whether it is set for the session, the role or the database.
//! - Attaching and detaching a partition causes no events. A partition that was created after the installation is not announced
//!   until its parent is installed again. A partition that is watched without its parent gets no events for writes through the
//!   parent.
//! - Children that are temporary tables of other sessions are left out.
//! - If a session listens and does not read, the notification queue fills up. Commits then fail.
//! - If a table was watched before it became a partition of another watched table, both installations stay. A direct write to it
//!   then causes one event of each, until the partition is uninstalled.
//!
//! **Rights.** Install as a dedicated role, not as a superuser: the triggers run with the rights of that role when other roles
//! write.

pub(crate) mod actual;
mod apply;
mod catalog;
mod catalog_type;
mod check;
mod compare;
mod desired;
mod expression;
pub(crate) mod inspect;
mod limits;
pub(crate) mod manifest;
pub(crate) mod migration;
mod note;
mod notify;
mod outbox;
pub(crate) mod plan;
mod query;
mod replicated;
mod rows_query;
mod script;
pub(crate) mod shared;
mod spec;
pub(crate) mod spelled_key;
pub(crate) mod summary;
mod template;
#[cfg(test)]
mod tests;
mod validate;
mod verify;
pub(crate) mod version;
pub(crate) mod watched;
mod widen;

pub use apply::Plan;
pub(crate) use check::{Check, Checker};
pub(crate) use inspect::inspect;
pub use manifest::to_manifest;
pub(crate) use outbox::without_types;
pub use plan::{install, plan, plan_uninstall, plan_uninstall_all, plan_widened};
pub use script::migration_script;
pub use spec::TriggerSpec;
pub use verify::{Drift, DriftKind, verify};
pub(crate) use version::{refuse_other_outbox, require_version};

/// The version of the objects that this program installs, which is the number of the last migration.
const VERSION: u32 = 2;
