//! The contract between relays and the programs that read a stream: subjects, headers, payloads and heartbeats.
//!
//! **Subjects.** A relay stores the events of a row at `PREFIX.SLICE.SCHEMA.TABLE.OPERATION`, and announcements at
//! `PREFIX.SLICE.$control`. All events of a row are in one slice, so the order of a slice's sequences is the commit order of each of
//! its rows. The subjects of the stream are `PREFIX.>`. See [`EventSubject`] for how names become tokens.
//!
//! **Payloads** are the messages of the distributor's `/v1`: `{"type":"event","event":{…}}`, and at the control subject
//! `{"type":"resync","reasons":["trimmed"],"lost":0,"scope":{}}`. Readers skip types and fields that they do not know. Before a
//! resync, changes within its scope may be missing, so a reader that keeps state reads the tables again after it. A resync whose
//! scope has neither `slice` nor `tables` concerns all slices, although it is stored in one of them. So read the control subjects
//! of all slices.
//!
//! **Headers** are listed in [`headers`].
//!
//! **Heartbeats** are messages of core NATS that no stream stores, at `PREFIX-heartbeat.SLICE`; see [`Heartbeat`].

pub mod headers;
mod heartbeat;
pub(crate) mod payload;
mod prefix;
mod subject;

pub use heartbeat::Heartbeat;
pub use prefix::Prefix;
pub use subject::{EventSubject, Subject, SubjectFilter};
pub(crate) use subject::{escape, unescape};
