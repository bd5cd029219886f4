//! Until when a grant is valid.

use std::future::pending;
use std::time::{Duration, SystemTime};

use tokio::time::sleep;

use super::tokens::Line;

/// How long a stream waits at most before it reads the clock again, because the clock may be set while it waits.
const CLOCK: Duration = Duration::from_secs(60);

/// Until when a grant is valid.
#[derive(Clone, Debug, Default)]
pub(crate) struct Validity {
    expires: Option<SystemTime>,
    line: Option<Line>,
}

impl Validity {
    /// Makes a validity that ends when a file of tokens loses this line.
    pub(crate) fn of_line(line: Line) -> Self {
        Self {
            expires: None,
            line: Some(line),
        }
    }

    /// Limits the validity. An earlier limit stays.
    pub(crate) fn until(mut self, expires: SystemTime) -> Self {
        self.expires = Some(self.expires.map_or(expires, |earlier| earlier.min(expires)));
        self
    }

    /// Whether the grant is not valid any more.
    pub(crate) fn is_over(&self) -> bool {
        let is_expired = |expires| expires <= SystemTime::now();
        self.expires.is_some_and(is_expired) || self.line.as_ref().is_some_and(Line::is_gone)
    }

    /// Waits until the grant is not valid any more. Cancel safe.
    pub(crate) async fn over(&mut self) {
        let Self { expires, line } = self;
        tokio::select! {
            () = expired(*expires) => {}
            () = gone(line) => {}
        }
    }
}

async fn expired(expires: Option<SystemTime>) {
    let Some(expires) = expires else {
        return pending().await;
    };
    while let Ok(left) = expires.duration_since(SystemTime::now()) {
        if left.is_zero() {
            return;
        }
        sleep(left.min(CLOCK)).await;
    }
}

async fn gone(line: &mut Option<Line>) {
    match line {
        Some(line) => line.gone().await,
        None => pending().await,
    }
}
