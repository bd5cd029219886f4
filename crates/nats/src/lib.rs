//! PostgreSQL changes through NATS JetStream.
//!
//! ```text
//!   PostgreSQL ── outbox ──► Relay ── atomic batches ──► stream ──► any client of NATS
//!                              └───── heartbeats ───────────────►
//! ```
//!
//! - [`Relay`] stores events in a stream; [`RelayActor`] runs it on an arbiter.
//! - [`telemetry`] names the metrics.
//! - [`contract`] describes subjects, headers, payloads and heartbeats.
//! - [`NatsSource`] reads what a relay has stored, for caches and handlers on machines without access to the database.
//! - [`NatsConfig`] has the servers and the credentials.
#![doc = "\n\n"]
#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod config;
pub mod contract;
mod relay;
mod source;
pub mod telemetry;

pub use config::NatsConfig;
pub use relay::{Relay, RelayActor, RelayHandle, RelayOptions, RelayReport, StreamOptions};
pub use source::{NatsSource, NatsSourceBuilder};
