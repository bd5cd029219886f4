//! Tests of durable handlers against a real database.
//!
//! ```text
//!   TestDatabase ── handler │ transactional │ batches ──► HandlerTest
//!                                                           │ sql:    a consumer handles what a statement changes
//!                                                           │ events: attempts at events of the test's own
//!                                                           ▼
//!                                                        Outcome    handled, failures
//! ```

mod database;
mod outcome;
mod test;

pub use database::TestDatabase;
pub use outcome::{FailedEvent, Outcome};
pub use test::HandlerTest;
