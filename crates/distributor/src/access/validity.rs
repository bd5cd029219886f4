//! Until when a grant is valid.

use std::future::pending;
use std::time::{Duration, SystemTime};

use tokio::time::sleep;

/// How long a stream waits at most before it reads the clock again, because the clock may be set while it waits.
const CLOCK: Duration = Duration::from_secs(60);

/// Until when a grant is valid.
#[derive(Clone, Debug, Default)]
pub(crate) struct Validity {
    expires: Option<SystemTime>,
}

impl Validity {
    /// Limits the validity. An earlier limit stays.
    pub(crate) fn until(mut self, expires: SystemTime) -> Self {
        self.expires = Some(self.expires.map_or(expires, |earlier| earlier.min(expires)));
        self
    }

    /// Whether the grant is not valid any more.
    pub(crate) fn is_over(&self) -> bool {
        self.expires
            .is_some_and(|expires| expires <= SystemTime::now())
    }

    /// Waits until the grant is not valid any more. Cancel safe.
    pub(crate) async fn over(&mut self) {
        let Some(expires) = self.expires else {
            return pending().await;
        };
        while let Ok(left) = expires.duration_since(SystemTime::now()) {
            if left.is_zero() {
                return;
            }
            sleep(left.min(CLOCK)).await;
        }
    }
}
