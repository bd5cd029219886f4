//! The settings that all sources have in common.

use std::time::Duration;

use crate::backoff::Backoff;
use crate::connect::ConnectConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::trigger::TriggerSpec;

// The limits of intervals, deadlines and timeouts.
const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Clone, Debug)]
pub(super) struct Options {
    pub(super) config: ConnectConfig,
    pub(super) specs: Vec<TriggerSpec>,
    pub(super) heartbeat_interval: Duration,
    pub(super) heartbeat_deadline: Duration,
    pub(super) connect_timeout: Duration,
    pub(super) backoff: Backoff,
}

impl Options {
    pub(super) fn new(config: ConnectConfig) -> Self {
        Self {
            config,
            specs: Vec::new(),
            heartbeat_interval: Duration::from_secs(10),
            heartbeat_deadline: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(10),
            backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(30)),
        }
    }

    /// Checks the options, and adjusts the connection settings for listening.
    pub(super) fn check(&mut self) -> Result<()> {
        for (name, value) in [
            ("heartbeat interval", self.heartbeat_interval),
            ("heartbeat deadline", self.heartbeat_deadline),
            ("connect timeout", self.connect_timeout),
            ("longest backoff", self.backoff.ceiling(u32::MAX)),
        ] {
            check_span(name, value)?;
        }
        let silence = self.heartbeat_interval + self.heartbeat_deadline;
        self.config
            .for_listening("listener", silence, self.connect_timeout);
        Ok(())
    }
}

pub(super) fn check_span(name: &str, value: Duration) -> Result<()> {
    if value < SHORTEST || value > LONGEST {
        let message =
            format!("the {name} is {value:?}; it must be between {SHORTEST:?} and {LONGEST:?}");
        return Err(Error::new(ErrorKind::Config, message));
    }
    Ok(())
}
