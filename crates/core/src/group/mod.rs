//! Durable handlers.
mod batch;
mod consumer;
mod engine;
mod handle;
mod job;
mod link;
mod operations;
mod options;
mod parked;
mod plain;
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
pub use transactional::TransactionalHandler;
