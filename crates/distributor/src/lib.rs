//! Sends the events of a herald to clients without database access, over WebSocket and Server-Sent Events.
//!
//! ```text
//!                  ┌── Subscription ──► Feed ──► socket │ sse ──► client      /v1/ws, /v1/events
//!   Herald ────────┤   (one bounded queue per client)
//!   Channels ──────┴── Payloads ────────────────► socket ──► client           /pgpubsub/{channel}
//! ```
//!
//! Parts and what they own:
//! - [`Distributor`] owns the routes and what all clients share: the [`Herald`](pgherald_actors::Herald), the
//!   [`Channels`](pgherald_core::Channels), the limits, and the switch that ends all streams.
//! - `access` decides who may use the distributor, and what each client may receive: tokens, tickets, origins, rights. `front`
//!   surrounds each route with the headers for pages of other origins, the access log and a span.
//! - `clients` admits clients, counts them in total and per address, and frees their place when their connection ends. `connected`
//!   describes them for people.
//! - `request` turns a query into a [`Filter`](pgherald_core::Filter), or into a `Refusal` with status and
//!   cause.
//! - `feed` owns one client's subscription and turns its deliveries, the health of the source and the time into messages. `phase`
//!   decides when a stream is live. It is pure. `feed/catching` continues from a position of the client, with `replays`, which reads
//!   the outbox for all clients.
//! - `message` has the messages. The message of an event is encoded once for each set of columns that clients may receive (`forms`),
//!   and all of these clients share its bytes.
//! - `socket` and `sse` send a feed to one client, each in one task per client, on the worker that accepted the connection.
//! - `page` is the live page with its API, if the distributor was [built with one](DistributorBuilder::page).
//!
//! States of a client: admitted, streaming, closed. A stream is live or not; see `phase`.
//!
//! Guarantees:
//! - A WebSocket on a channel is accepted after the server has confirmed LISTEN. Each later payload arrives as one text frame, byte
//!   for byte and in order, or the socket is closed.
//! - After `live`, no change is missed without `resync`, `lagged` or `down`, in the order of the source.
//! - A client that does not read costs the other clients nothing. Its queue is bounded. The client receives the number of dropped
//!   events, or is disconnected.
//! - At a shutdown, each client receives a random time after which to reconnect.
//! - Each route asks `access` for the [`Grant`] of its client. Events that the grant does not permit neither enter the queue of the
//!   client nor count as lost. The end of the grant ends the stream.
//!
//! Without [`Access`], only clients on the same machine are served.
#![doc = "\n\n"]
#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod access;
mod builder;
mod clients;
mod connected;
mod distributor;
mod feed;
mod file;
mod forms;
mod front;
mod limits;
mod message;
mod page;
mod pattern;
mod phase;
mod process;
mod refusal;
mod replays;
mod request;
mod routes;
mod socket;
mod sse;
pub mod telemetry;
mod ticket;

pub use access::{Access, Grant, Rights, TableRights, TokenLine};
pub use builder::DistributorBuilder;
pub use distributor::Distributor;
pub use limits::{Limits, WhenSlow};
pub use page::LivePage;

/// Items that only the `pgherald` command uses. Not for other use: they change without notice.
#[doc(hidden)]
pub mod __private {
    pub use crate::file::FileState;
    pub use crate::pattern::TablePattern;
}
