//! The outbox: changes that were recorded in the transactions that made them, and how to read them.
//!
//! ```text
//!   writer's transaction ── trigger ──► pgherald.outbox (one row for each changed row)
//!          │ commit                            │
//!          └── NOTIFY, at most every 50 ms ──► OutboxReader ── pages of events ──► whoever holds the Cursor
//! ```
//!
//! [`OutboxSource`](crate::OutboxSource) is such a holder, for caches and ephemeral handlers.
//!
//! Tables are put into this mode by [`TriggerSpec::outbox`](crate::trigger::TriggerSpec::outbox).
//!
//! **Order.** An id is taken from a sequence before the commit, so ids become visible out of order: whoever remembers
//! only "up to id 100" skips what commits later with id 99, or waits for every transaction that is open. A [`Cursor`]
//! remembers a *snapshot* instead (`pg_current_snapshot()`). What there is to read is the difference of two snapshots:
//!
//! ```text
//!           ids ──────────────────────► floor ───────────────────────►
//!   visible in `done`    read             (few: ids are taken before commits)
//!   open at `done`       late: by xid,    since: by id, both what was open
//!   begun afterwards     (none)           and what has begun afterwards
//! ```
//!
//! The floor is the last id that was taken before the snapshot; whoever began after it exceeds it. Those that were
//! open have ids on both sides, and are looked up one by one below it.
//!
//! Guarantees of [`OutboxReader`]:
//! - Each row that was committed is read once, and none that was rolled back, whatever else is open meanwhile: a
//!   transaction that stays open for hours neither hides nor holds back what others commit.
//! - Of one key of a row, events come in the order of their commits: two transactions that change the same row commit
//!   one after the other, and the second takes its ids after the first has ended. Within one difference, rows come in
//!   the order of their ids; differences follow each other in time.
//! - What it costs to read a row does not depend on how many there are. Pages are found by an index, from where the one
//!   before ended; nothing is sorted as a whole.
//!
//! Limits: ids of different keys tell nothing about the order of their commits. Rows stay until they are
//! [trimmed](trim); a reader that comes too late is told. `PREPARE TRANSACTION` fails after a wake-up,
//! hence now and then. A cursor of one server means nothing on another one, nor on a replica that was promoted before it had everything.
//!
//! **History.** A server that crashes, is promoted, or is put back to an earlier state gives transaction ids out again that
//! readers have seen; a database restored from a dump has those of another server. `pgherald.history()` returns which history
//! ids belong to: an identity of the outbox, stored so that a restore or copy of its rows is told apart, and the starts of the
//! server in an unlogged table, which a crash, a promotion and the restore of a base backup empty. The first caller after a
//! restore begins a new history: the restored rows leave the outbox, and what a group had not read becomes parked events.

mod cursor;
mod history;
mod queries;
mod reader;
mod retention;
mod row;
mod statements;
mod status;

pub use cursor::Cursor;
pub(crate) use cursor::{Point, Reading};
pub(crate) use history::History;
pub use reader::{OutboxReader, Page};
pub(crate) use reader::{Rows, Share, some};
pub(crate) use retention::trim_within;
pub use retention::{Retention, set_retention, trim};
pub use status::{OutboxStatus, status};

pub(crate) use row::{Recorded, Relations, get};
pub(crate) use statements::Statements;

/// Where readers are woken up.
pub(crate) const WAKE_UP_CHANNEL: &str = "pgherald_outbox";
