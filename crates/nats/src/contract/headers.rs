//! The headers of stored messages.
//!
//! | header | on | value |
//! |---|---|---|
//! | [`EVENT`] | events | the id of the event in the outbox. Unique as long as the outbox is not restored or copied. |
//! | [`TRANSACTION`] | events | the id of the transaction that made the change |
//! | [`RECORDED`] | events | when the change was recorded: microseconds since 1970 |
//! | [`KEY`] | events | a hash of table and key, as 8 hexadecimal digits |
//! | [`TRACEPARENT`] | events | a [trace context](https://www.w3.org/TR/trace-context/): events of one transaction have one trace id |
//! | [`TRUNCATED`] | events | `columns`, if the event was too large for the server: it has its key, but no columns |
//! | [`GROUP`] | the last message of a batch | the group of the relay. Characters are escaped as in subjects. |
//! | [`SLICES`] | the last message of a batch | the number of slices of the group |
//! | [`CURSOR`] | the last message of a batch | the position of the slice after the batch, for relays |
//! | [`HISTORY`] | the last message of a batch | the history of the outbox that the cursor belongs to, for relays |
//! | [`LISTED`] | the last message of some batches | earlier messages whose events the cursor does not cover, as a range, for relays |

/// The id of the event in the outbox.
pub const EVENT: &str = "Pgherald-Event";
/// The id of the transaction that made the change.
pub const TRANSACTION: &str = "Pgherald-Transaction";
/// When the change was recorded, in microseconds since 1970.
pub const RECORDED: &str = "Pgherald-Recorded";
/// A hash of table and key, as 8 hexadecimal digits.
pub const KEY: &str = "Pgherald-Key";
/// The trace context of the change.
pub const TRACEPARENT: &str = "traceparent";
/// The part that was left out of an event that was too large for the server: `columns`.
pub const TRUNCATED: &str = "Pgherald-Truncated";
/// The group of the relay that has stored the batch.
pub const GROUP: &str = "Pgherald-Group";
/// The number of slices of the group.
pub const SLICES: &str = "Pgherald-Slices";
/// The position of the slice after the batch.
pub const CURSOR: &str = "Pgherald-Cursor";
/// The history of the outbox that the cursor belongs to.
pub const HISTORY: &str = "Pgherald-History";
/// The range of earlier messages whose events the cursor does not cover: their first and last sequence, as `FIRST-LAST`.
pub const LISTED: &str = "Pgherald-Listed";
