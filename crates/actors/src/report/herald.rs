//! The report of a herald's shutdown.

use std::fmt;

use super::{HandlerReport, ShutdownReport};

/// The report of a herald's shutdown.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HeraldReport {
    /// The listener and its subscriptions.
    pub listener: ShutdownReport,
    /// The handlers, in the order in which they were started.
    pub handlers: Vec<HandlerReport>,
}

impl HeraldReport {
    /// Returns whether the listener's report [is complete](ShutdownReport::is_complete) and no handler has dropped tasks. Failed
    /// tasks do not count; see the reports of the [handlers](Self::handlers).
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.listener.is_complete() && self.handlers.iter().all(|report| report.dropped == 0)
    }
}

/// One line for the listener, for each subscription and for each handler.
impl fmt::Display for HeraldReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.listener.fmt(f)?;
        self.handlers
            .iter()
            .try_for_each(|report| write!(f, "\n{report}"))
    }
}
