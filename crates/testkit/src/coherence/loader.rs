//! Loads with random delays.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::clients::Clients;
use super::run::Run;
use super::subject::ReadFailure;

/// Loads a version from the database, on a connection without the proxy.
///
/// Most loads return at once, some a few milliseconds later, and few tens of milliseconds later: the version may then be
/// outdated. Few loads fail at random.
#[derive(Clone)]
pub struct Loader {
    run: Arc<Run>,
    clients: Arc<Clients>,
    count: Arc<AtomicU64>,
    prompt: bool,
}

impl Loader {
    pub(super) fn new(run: Arc<Run>, clients: Arc<Clients>) -> Self {
        Self {
            run,
            clients,
            count: Arc::default(),
            prompt: false,
        }
    }

    /// Returns a loader without delays and random failures.
    pub(super) fn prompt(&self) -> Self {
        Self {
            prompt: true,
            ..self.clone()
        }
    }

    /// Loads the version of `key`.
    ///
    /// # Errors
    /// If the database does not answer, or at random.
    pub async fn load(&self, key: i64) -> Result<i64, LoadFailure> {
        let tally = &self.run.tally;
        tally.loads.add(1);
        let limit = self.run.settings.deadline / 2;
        let loaded = match timeout(limit, self.clients.version(key)).await {
            Ok(loaded) => loaded.map_err(|error| error.to_string()),
            Err(_) => Err(format!("the database did not answer within {limit:?}")),
        };
        let outcome = match loaded {
            Ok(version) => self.delay(version).await,
            Err(error) => Err(error),
        };
        outcome.map_err(|message| {
            tally.failed_loads.add(1);
            LoadFailure(message)
        })
    }

    async fn delay(&self, version: i64) -> Result<i64, String> {
        if self.prompt {
            return Ok(version);
        }
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let mut random = self.run.random(count);
        match random.u8(..100) {
            0..90 => {}
            90..98 => sleep(Duration::from_micros(random.u64(..5_000))).await,
            _ => sleep(Duration::from_millis(random.u64(10..40))).await,
        }
        match random.u16(..500) {
            0 => Err("a random failure of the check".to_owned()),
            _ => Ok(version),
        }
    }
}

impl fmt::Debug for Loader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Loader")
    }
}

/// The error of a failed load.
#[derive(Clone, Debug)]
pub struct LoadFailure(String);

impl fmt::Display for LoadFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for LoadFailure {}

impl From<LoadFailure> for ReadFailure {
    fn from(LoadFailure(message): LoadFailure) -> Self {
        Self::new(message)
    }
}
