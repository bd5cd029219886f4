//! PostgreSQL changes through NATS JetStream.
//!
//! ```text
//!   PostgreSQL ── outbox ──► Relay ── atomic batches ──► stream ──► any NATS client
//!                              └───── heartbeats ───────────────►
//! ```
//!
//! - [`Relay`] stores events in a stream; [`RelayActor`] runs it on an arbiter.
//! - [`telemetry`] names the metrics.
//! - [`contract`] describes subjects, headers, payloads and heartbeats.
//! - [`NatsSource`] reads the events that a relay has stored, for caches and handlers on machines without access to the database.
//! - [`NatsConfig`] has the servers, the credentials and the TLS options.
#![doc = "\n\n"]
#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod config;
pub mod contract;
mod relay;
mod source;
pub mod telemetry;

pub use config::NatsConfig;
pub use relay::{
    Relay, RelayActor, RelayHandle, RelayOptions, RelayReport, StreamOptions, StreamStatus,
};
pub use source::{NatsSource, NatsSourceBuilder};
