//! Durable handlers: groups of consumers that read the [outbox](crate::outbox).
//!
//! ```text
//!   pgherald.outbox ── pages ──► Consumer ──► handler ──► effects
//!                                  ▲   │
//!      other consumers of the      │   └── acknowledgements: cursors of its slices, parked events
//!      group: leases, slices ──────┘                     (pgherald.consumer_cursor, parked_event)
//! ```
//!
//! A side effect must happen even if the process was down when the row changed. So a *group* has a name, and stores its
//! progress in the database. Run any number of [`Consumer`]s, in any number of processes: they share the group's work.
//!
//! - **Slices.** A group spreads the keys of rows over a fixed number of slices by their hash. Each slice has one owner at a
//!   time and a cursor, which is a position in the outbox. Every event before the cursor was handled or parked.
//! - **Leases.** A consumer is a node of the group. It has a lease by the server's clock, and renews it three times during the
//!   lease. A node that finds an expired lease deletes the node that held it, and the slices of that node are then free. Nodes
//!   claim free slices up to an equal share. A node gives back a slice beyond its share once none of the slice's events is being
//!   handled.
//! - **Epochs.** The epoch is the fencing token of a slice: each change of owner raises it. A consumer writes about a slice only
//!   if the epoch is still that of its claim. So a consumer that was stopped, or cut off, for longer than its lease can
//!   neither acknowledge nor commit after the next owner has claimed the slice.
//! - **Parked events.** If an attempt fails, the event is written to `pgherald.parked_event`, in the statement that moves the
//!   cursor past it, and retried from there. Later events of the same row are parked behind it. Other rows do not wait.
//!
//! Guarantees:
//! - Each event that is committed after the group was created is handled at least once. It is retried until an attempt succeeds,
//!   or until the [policy](DurableOptions::retry) makes it a dead letter, to be [inspected, retried or discarded](Group).
//! - Events of one row are handled one after the other in commit order. A dead letter leaves that order.
//! - The effects of a [`TransactionalHandler`] through its transaction are committed exactly once, even if processes or
//!   connections are killed. The effects of an [`EventHandler`](crate::EventHandler) or [`BatchHandler`] may be repeated for
//!   events that were handled, but not yet acknowledged, when a process or connection died. Those are usually the events of
//!   about 50 ms. A repeated event has the same [idempotency key](crate::Attempt::idempotency_key).
//! - An open transaction neither hides nor delays changes that other transactions commit.
//!
//! **Resyncs.** A new group begins with changes that are committed after its creation. It receives one resync
//! ([`ResyncReason::Started`](crate::ResyncReason::Started)), because there may be earlier changes, unless it begins with
//! [everything that the outbox still holds](DurableOptions::from_beginning). If the outbox was trimmed before a group had read it,
//! because it was [too large](crate::outbox::Retention), the group receives one resync
//! ([`Trimmed`](crate::ResyncReason::Trimmed)). A group that declares what it [requires](DurableOptions::requires) also receives
//! one after triggers were missing, disabled or altered, and after DDL that may have changed rows. It is not live while less is
//! installed than it requires. A resync is handled like an event: by one consumer, with all attempts, while other consumers
//! handle events. If the handler does not implement `resync`, the resync becomes a dead letter, except the first one of the
//! group.
//!
//! **Attempts.** The handler's result decides what follows. `Ok` acknowledges the event. Any error is retried after the
//! policy's delay, or [after a stated time](crate::HandlerError::retry_after). A [snooze](crate::HandlerError::snooze) costs no
//! attempt. A [permanent](crate::HandlerError::permanent) error makes the event a dead letter at once, as does an event that does
//! not fit the handler's type. Panics and timeouts are failed attempts. An attempt that was running when its process died is
//! not counted.
//!
//! **Unreadable data.** A row that the triggers cannot have written becomes a dead letter with the reason, and with the values
//! that can be kept. A cursor that fails to parse is logged, with its slice. The next consumer that connects reads all events
//! in the outbox again for that slice, after a resync. Until then, the outbox is only trimmed if it is too large. If
//! the database refuses to store the progress of a slice, for example because of a constraint or a trigger, only that slice is held
//! up; see [`held_up`](ConsumerReport::held_up).
//!
//! **Relays.** A relay is a group whose consumers store each event at a destination instead of running a handler; the crate
//! `pgherald-nats` has one for NATS JetStream. The position of a slice is stored with the events, so each event is stored exactly
//! once, and the cursor in the database follows behind. Failures of the destination cost no attempts: events wait.
//!
//! Limits:
//! - A consumer needs two connections: one for pages and acknowledgements, one for the lease. Consumers of one process can
//!   [share](Connections) them. A transactional consumer needs one more for each concurrent attempt. They must be direct, because
//!   prepared statements fail behind a pooler in transaction mode. The role needs the rights to read the outbox, to change the
//!   tables of groups, and to execute `pgherald.trim_outbox`. The installing role has them.
//! - A consumer whose code blocks its thread for longer than the lease loses its slices. A plain handler of that consumer may
//!   then still handle a row while the next owner handles the same row.
//! - A failing row blocks no other row, until there are 100,000 failing rows. The consumer then reads nothing new, and is
//!   not live.
//! - A consumer takes in up to 4,096 events at a time, and nothing more while those have 64 MiB. A page has up to 16 MiB,
//!   plus the row that crosses this limit. The events of a slice that is held up are kept in addition, so a consumer may
//!   hold 64 MiB for each slice if the database refuses to store the progress of every slice. A single event counts as 32 MiB
//!   at most, so that a larger event does not block other events while it is handled.
//! - The server parks a failed event by a copy from the outbox. If the row was trimmed meanwhile, the consumer sends the event
//!   back as JSON, which has to fit into one PostgreSQL text of 1 GB.
//! - The outbox keeps events for an unused group, up to the cap: [delete](Group::delete) such groups.
//! - While a transaction stays open for hours, the row versions of cursors cannot be vacuumed: a few hundred bytes for each
//!   event of a transactional handler, else for each slice and acknowledgement.
//! - In a database that was restored from a dump, or copied, the unread events of a group become parked events: they are
//!   handled before newer ones of their key. A resync ([`Restored`](crate::ResyncReason::Restored)) stands for the rest, once
//!   for each group.

mod batch;
mod connections;
mod consumer;
pub(crate) mod destination;
mod engine;
mod handle;
mod job;
mod leases;
mod members;
mod opening;
pub(crate) mod operations;
pub(crate) mod options;
mod parked;
mod patience;
mod plain;
mod reads;
pub(crate) mod rehearsal;
mod requests;
mod requirements;
mod runner;
mod session;
mod slices;
mod store;
mod tick;
mod transactional;
pub(crate) mod trial;

pub use batch::{Batch, BatchHandler};
pub use connections::Connections;
pub use consumer::Consumer;
pub use handle::{ConsumerHandle, ConsumerReport};
pub use operations::{Group, GroupStatus, ParkedEvent, Seek, SeekPlan, SeekRange};
pub(crate) use options::DurableOptions;
pub use transactional::TransactionalHandler;
