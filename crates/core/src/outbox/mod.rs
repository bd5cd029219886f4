//! The outbox: a table that records changes in the transactions that make them, and its reader.
//!
//! ```text
//!   writer's transaction ── trigger ──► pgherald.outbox (one row for each changed row)
//!          │ commit                            │
//!          └── NOTIFY, at most every 50 ms ──► reader ── pages of events ──► the owner of the cursor
//! ```
//!
//! [`TriggerSpec::outbox`](crate::trigger::TriggerSpec::outbox) puts a table into outbox mode.
//! [`OutboxSource`](crate::OutboxSource) reads the outbox for caches and ephemeral handlers, and consumers of a
//! [`group`](crate::group) read it for durable handlers.
//!
//! **Order.** A writer takes an id from a sequence before its commit, so ids become visible out of order. A reader that
//! stores only "up to id 100" skips a row with id 99 that commits later, or has to wait for every open transaction. A
//! cursor stores a *snapshot* instead (`pg_current_snapshot()`). The rows to read are the difference of two snapshots:
//!
//! ```text
//!           ids ──────────────────────► floor ───────────────────────►
//!   visible in `done`    read             (few: ids are taken before commits)
//!   open at `done`       late: by xid,    since: by id, both what was open
//!   begun afterwards     (none)           and what has begun afterwards
//! ```
//!
//! The floor is the last id that was taken before the snapshot. Transactions that began after the snapshot have larger ids.
//! Transactions that were open have ids on both sides, and are looked up one by one below the floor.
//!
//! Guarantees:
//! - Each committed row is read once, and no row that was rolled back. A transaction that stays open for hours neither hides
//!   nor delays the rows of other transactions.
//! - Events of one key come in commit order: two transactions that change the same row commit one after the other, and the
//!   second takes its ids after the first has ended. Within one difference, rows come in the order of their ids; differences
//!   follow each other in time.
//! - The cost of reading a row does not depend on the number of rows. Pages are found by an index, from the end of the
//!   previous page; nothing is sorted as a whole.
//!
//! Limits:
//! - Ids of different keys do not follow commit order.
//! - Rows stay until they are [trimmed](trim). A reader that comes too late gets a
//!   [resync](crate::ResyncReason::Trimmed).
//! - `PREPARE TRANSACTION` fails after a wake-up, which some transactions send.
//! - A cursor is valid on its own server only. It is invalid on a replica that was promoted before it had received
//!   everything.
//!
//! **History.** A server that crashes, is promoted, or is put back to an earlier state assigns transaction ids again that
//! readers have seen. A database restored from a dump has the transaction ids of another server. `pgherald.history()` returns
//! the history of the ids. It consists of an identity of the outbox, stored so that a restore or copy of its rows is
//! detected, and of the starts of the server in an unlogged table, which a crash, a promotion and the restore of a base
//! backup empty. The first caller after a restore begins a new history: the restored rows leave the outbox, and the unread
//! events of each group become parked events.

pub(crate) mod cursor;
mod history;
mod paging;
pub(crate) mod position;
mod queries;
pub(crate) mod reader;
pub(crate) mod replay;
mod retention;
mod row;
mod statements;
mod status;
mod stored;

pub(crate) use cursor::Cursor;
pub(crate) use cursor::{Point, Reading};
pub(crate) use history::History;
pub(crate) use paging::some;
pub(crate) use reader::OutboxReader;
pub(crate) use reader::{Difference, PageRows, Rows, Share};
pub(crate) use retention::trim_within;
pub use retention::{Retention, set_retention, trim};
pub use status::{OutboxStatus, status};

pub(crate) use row::{Recorded, Relations, get};
pub(crate) use statements::Statements;
pub(crate) use stored::stored_events;

/// The channel of wake-ups.
pub(crate) const WAKE_UP_CHANNEL: &str = "pgherald_outbox";
