//! What the other crates of pgherald need of this one, and users do not.

pub use crate::error::host as errors;
