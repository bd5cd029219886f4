//! pgherald-core

mod error;
mod name;
mod operation;
pub mod trigger;

pub use error::{Error, Result};
pub use name::{ChannelName, MAX_IDENTIFIER_BYTES, TableName};
pub use operation::{Operation, OperationSet};
