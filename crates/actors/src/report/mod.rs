//! The reports in which actors answer. The messages name them as their answers, and the actors
//! make them.

mod handler;
mod herald;
mod listener;

pub use handler::HandlerReport;
pub use herald::HeraldReport;
pub use listener::{ShutdownReport, SubscriptionReport};
