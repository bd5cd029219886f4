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
//! - [`inspect`] reads everything about all tables in at most three statements, however many tables there are, into an
//!   [`Actual`]. Plain data: nothing after it has a connection.
//! - [`Actual::plan`] decides what is to be done, what is refused and of what to warn. It is a function of specifications and
//!   the actual state. [`Actual::verify`], [`Actual::watched`] and [`Actual::plan_uninstall`] are others.
//!   What several programs install is put together by [`Actual::widened`]: none takes away what another one has.
//! - [`Plan::apply`] runs the steps, in one transaction.
//!
//! [`plan`](plan()), [`verify`], [`watched`] and [`plan_uninstall`] inspect and decide in one call.
//!
//! **Objects.** Schema `pgherald` holds `notify_rows` and `rows_query`, shared by all tables, and one function
//! `notify_<16 hex digits>` per table. The watched table gets one statement-level trigger for each
//! operation, `pgherald_notify_insert` and so on; each of its partitions and children gets the same with
//! the hex digits appended, because a write straight into a partition fires only that partition's triggers.
//!
//! With [`TriggerSpec::replicated`], each of these tables that holds rows (not a partitioned one) also gets a row-level trigger
//! for insert, update and delete, `pgherald_notify_insert_row` and so on. It is `ENABLE REPLICA`, calls the same function, and
//! fires where the statement-level triggers do not: in sessions whose `session_replication_role` is `replica`, which the
//! server's workers for subscriptions are. The triggers for TRUNCATE become `ENABLE ALWAYS`.
//!
//! A table in outbox mode ([`TriggerSpec::outbox`]) has the same triggers; its function records rows in
//! `pgherald.outbox`, a table shared by all of them, instead of announcing them. `pgherald.outbox_event` shows it to
//! people.
//!
//! **Names.** A table's function is the one that the table's own triggers call. Its name says nothing: it comes from the number
//! that the table had, or is another free one. So a table keeps its function when it is renamed, swaps names with another, or
//! is restored from a dump. The function's comment and what it announces have the table's name, so a renamed table has
//! drifted: it announces its changes under the former name until it is installed again, and subscribers under the new name are
//! not live. Nothing that is installed on one table takes triggers or a function from another one.
//!
//! **States.** A table's installation is absent, current, or drifted (triggers missing, disabled or left
//! over; objects of another name, version or specification). [`plan`](plan()) leads from any of them to current,
//! [`plan_uninstall`] to absent, and [`verify`] tells which it is. The state lives in the catalog alone:
//! the function's comment records version and specification.
//!
//! **Owner.** Functions belong to the role that installs, and run with its rights (`SECURITY DEFINER`),
//! so that a writer needs no right beyond those on its table. Whoever owned the schema or a function could
//! therefore make them run anything; so [`plan`] refuses, and [`verify`] reports, an owner that is neither
//! the installing role nor a superuser. In effect one role installs all tables of a database, unless
//! a superuser made the schema and lets others use it.
//!
//! **Guarantees.**
//! - Planning and verifying only read, outside a transaction, and leave nothing in the session.
//! - [`Plan::apply`] is atomic, and two of them at a time do no harm to each other.
//! - A plan made right after one was applied is empty.
//! - A plan is refused when it is applied if a table was renamed since, so that a function would announce another table, or if
//!   something else was installed on one of its tables.
//! - A write never fails because of what its payload would be: payloads stay below 8,000 bytes. If a column was renamed,
//!   dropped or given another type, `rows_query` writes a query for the columns that remain, and raises a warning. If the key
//!   is gone, or a shared function is, the whole table is announced and a warning raised.
//! - A statement costs at most 1,001 rows read, however many it touched, except with
//!   [`TriggerSpec::when_changed`], which compares all of them.
//!
//! **Payload.** JSON, a superset of PGCacheWatch's:
//!
//! ```json
//! {"v":1,"operation":"update","schema":"public","table":"users",
//!  "sent_at":"2026-11-22T10:45:33.123456+00:00","xid":7421,
//!  "key":["id"],"keys":[7,8],"columns":[{"email":"a@x"},null]}
//! ```
//!
//! - `keys` has one element for each row: the value of a single key column, or an array of the values in the
//!   order of `key`. An update also lists the keys that rows bore before it. `int2`, `int4`, `int8` and
//!   `bool` are themselves, anything else is a string of its text, whatever the writer's session settings:
//!   ISO dates, UTC, hex, names of objects with their schema. Values that are equal in SQL may have different texts
//!   ([`DriftKind::AmbiguousKey`]). In a database of another encoding than UTF-8, bytes of a text that the server cannot
//!   convert are read as Latin-1.
//! - `columns` stands next to `keys` if extra columns are configured: the new values, of a delete the old;
//!   `null` where they are unknown (the row has another key now) or too large together. In the place of one value that is too
//!   large stands `{"unavailable":{"limit":7999}}`.
//! - No `key`, `keys` and `columns`: anything in the table may have changed. So it is after TRUNCATE, for a
//!   table without key, for a statement of more than 1,000 rows, for a transaction that replicates more than that, and if a key
//!   does not fit. TRUNCATE of a
//!   partitioned table is announced once for the table and once for each partition.
//! - Many keys come in several payloads, each complete in itself.
//!
//! **Limits.** PostgreSQL refuses `PREPARE TRANSACTION` after NOTIFY, so a watched table cannot be written
//! in two-phase commits; nor, with [`TriggerSpec::replicated`], by a subscription that has `two_phase`. Rows that logical
//! replication applies, and writes where `session_replication_role` is `replica` (be it set for the session, the role or the
//! database) are heard of only with [`TriggerSpec::replicated`]. Attaching and detaching a partition are no events. A partition that is watched alone, without its parent, does not hear of writes
//! through the parent; one made after the installation is unheard until its parent is installed again.
//! Children of other sessions' temporary tables are left out. A
//! notification queue that is full, because some session listens and does not read, fails the commit. A table that was watched
//! before it became a partition of another one stays so: a write straight into it is an event of each, until it is uninstalled.
//!
//! **Rights.** Install as a role of its own rather than a superuser: the triggers run with its rights when
//! others write.

mod actual;
mod apply;
mod check;
mod compare;
mod desired;
mod expression;
mod inspect;
mod limits;
mod manifest;
mod note;
mod outbox;
mod plan;
mod replicated;
mod rows_query;
mod shared;
mod spec;
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
pub use plan::{OLDEST_SERVER, install, plan, plan_uninstall, plan_uninstall_all};
pub(crate) use shared::refuse_other_outbox;
pub use shared::require_version;
pub use spec::TriggerSpec;
pub use verify::{Drift, DriftKind, verify};
pub use watched::{Watched, watched};

/// The version of the objects that this program installs.
const VERSION: u32 = 2;
