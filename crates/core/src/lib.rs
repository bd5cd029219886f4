//! pgherald-core

mod error;
pub mod trigger;

pub use error::{Error, Result};
