//! Durable handlers: groups of consumers that read the [outbox](crate::outbox).
//!
//! ```text
//!   pgherald.outbox ── pages ──► Consumer ──► handler ──► effects
//!                                  ▲   │
//!      other consumers of the      │   └── acknowledgements: cursors of its slices, parked events
//!      group: leases, slices ──────┘                     (pgherald.consumer_cursor, parked_event)
//! ```
//!
//! A side effect must happen although the process was down when the row changed. So a *group* has a name, and what it has
//! done stands in the database. Any number of [`Consumer`]s, in whichever processes, share its work:
//!
//! - **Slices.** Keys of rows are spread over a fixed number of slices by their hash. Each slice has one owner at a time and
//!   a [`Cursor`](crate::outbox::Cursor): everything before it was handled or parked.
//! - **Leases.** A consumer is a node of the group, and renews its lease three times as often as it would run out, by the
//!   server's clock. Whoever finds one that is over deletes the node; its slices are then free. Nodes take free slices up to
//!   an equal share, and give back what they have beyond it, when nothing of it is under way.
//! - **Epochs.** Each change of owner raises the slice's epoch. Whatever a consumer writes about a slice is written under the
//!   condition that the epoch is still the one it took the slice with. So one that was stopped, or cut off, for longer than
//!   its lease acknowledges and commits nothing over the next owner.
//! - **Parked events.** An event whose attempt failed is written to `pgherald.parked_event`, in the statement that moves the
//!   cursor past it, and tried again from there; later events of its row follow it there. Other rows do not wait.
//!
//! Guarantees:
//! - Each event that is committed after the group was made is handled at least once: until an attempt succeeds, or the
//!   [policy](Durable::retry) gives it up and it becomes a dead letter, to be [looked at, retried or discarded](Group).
//! - Of one row, events are handled one after the other in the order of their commits. A dead letter steps out of that order.
//! - A [`TransactionalHandler`]'s effects through its transaction are committed exactly once, whatever is killed or stopped.
//!   Those of an [`EventHandler`](crate::EventHandler) or [`BatchHandler`] may be repeated: what was done and not
//!   acknowledged yet when a process or connection died, some 50 ms' worth as a rule. The
//!   [idempotency key](crate::Attempt::idempotency_key) is then the same.
//! - An open transaction elsewhere hides and delays nothing that others commit.
//!
//! **Resyncs.** A new group begins with what is committed from then on, and is told once by a resync that there was something
//! before ([`ResyncReason::Started`](crate::ResyncReason::Started)); unless it begins with [everything that is still
//! there](Durable::from_beginning). When the outbox had to be trimmed before a group had read it, because it was
//! [too large](crate::outbox::Retention), the group is told so, once
//! ([`Trimmed`](crate::ResyncReason::Trimmed)). A group that states what it [requires](Durable::requires) also gets one after
//! triggers were missing, disabled or altered, and after DDL that may have changed rows; and it is not live while less is
//! installed than it requires. A resync is handled like an event: by one consumer, with all attempts, while others handle
//! events. A handler that does not implement `resync` makes it a dead letter, except the one that begins the group.
//!
//! **Attempts.** A handler says what follows by its result: `Ok` is done; any error is tried again when the policy says, or
//! [after a stated time](crate::HandlerError::retry_after); a [snooze](crate::HandlerError::snooze) costs no attempt; a
//! [permanent](crate::HandlerError::permanent) error makes a dead letter at once, as does an event that does not fit the
//! handler's type. Panics and timeouts are failed attempts. An attempt that was under way when its process died is not
//! counted.
//!
//! **What cannot be read.** A row that is not what the triggers write becomes a dead letter that says why, with what can be
//! kept of it. A text that is no cursor is told in the log, with its slice; the next consumer to connect reads what is in the
//! outbox again from there, after a resync. Until then the outbox is not trimmed. What the database refuses to note, because
//! of a constraint or a trigger say, holds up its slice and no other; see [`held_up`](ConsumerReport::held_up).
//!
//! Limits:
//! - A consumer wants two connections (pages and acknowledgements; lease), a transactional one as many more as attempts at a
//!   time. They must be direct: prepared statements fail behind a pooler in transaction mode. Its role needs the rights to
//!   read the outbox, to change the tables of groups, and to execute `pgherald.trim_outbox`, which the installing role has.
//! - Code that blocks its thread for longer than the lease loses its slices. While a plain handler still works for an owner
//!   that was stalled, the next owner may handle the same row.
//! - A row that fails keeps no other waiting, until 100,000 rows do: then nothing new is read by that consumer, and its log
//!   says so. Up to 4,096 events are taken in at a time, and nothing more while those have 64 MiB; a page has up to 16 MiB and
//!   the row that exceeds them. A slice that is held up keeps what was taken in of it beside that, so a database that refuses
//!   to note anything of any slice may have a consumer hold 64 MiB for each. A single event counts as 32 MiB at
//!   most, so a larger one keeps no others waiting while it is handled. An event that fails is parked by the server, from the
//!   outbox. If it was trimmed meanwhile, it is sent back as JSON, which has to fit into a text of PostgreSQL, 1 GB.
//! - Who writes a million rows in one transaction makes every look at the outbox go through them, at some 0.1 s a million,
//!   until it commits.
//! - The outbox is kept for a group that nobody runs any more, up to the cap: [delete](Group::delete) such.
//! - While a transaction stays open for hours, the versions of cursors cannot be vacuumed: a few hundred bytes for each
//!   event of a transactional handler, else for each slice and acknowledgement.
//! - In a database that was restored from a dump, or copied, what a group had not read becomes parked events: they are handled
//!   before newer ones of their key. A resync ([`Restored`](crate::ResyncReason::Restored)) stands for the rest, once for each
//!   group.

mod batch;
mod consumer;
mod engine;
mod handle;
mod job;
mod leases;
mod link;
mod operations;
mod options;
mod parked;
mod plain;
mod rehearsal;
mod requirements;
mod runner;
mod session;
mod slices;
mod store;
mod tick;
mod transactional;

pub use batch::{Batch, BatchHandler};
pub use consumer::Consumer;
pub use handle::{ConsumerHandle, ConsumerReport};
pub use operations::{Group, GroupStatus, ParkedEvent, Seek};
pub use options::Durable;
pub use rehearsal::rehearse;
pub use transactional::TransactionalHandler;
