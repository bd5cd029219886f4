//! Handlers: which task may run, how an attempt runs, and what follows a failure.
//!
//! [`EventHandler`] is the trait that users implement. Its `given_up` receives a [`GivenUp`]: the [`Task`] that is not tried again,
//! and the last [`Failure`].

// A host of handlers, ephemeral or durable, combines three parts: `Schedule` decides which tasks may run now, `contain` runs one
// attempt and contains panics and timeouts, and `RetryPolicy` decides what follows a failure.

pub(crate) mod contain;
pub(crate) mod event_handler;
pub(crate) mod failure;
pub(crate) mod instance;
pub(crate) mod retry;
pub(crate) mod schedule;

pub(crate) use contain::contain;
pub use failure::{Failure, GivenUp, Task};
pub(crate) use instance::Instances;

pub(crate) use schedule::Schedule;

pub(crate) use event_handler::{
    Attempt, EventHandler, HandlerResult, IdempotencyKey, rows_unknown, run_durable,
};
pub(crate) use failure::HandlerError;
pub(crate) use retry::RetryPolicy;
