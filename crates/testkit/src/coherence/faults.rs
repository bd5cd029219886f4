//! The faults of a check.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use tokio::time::{sleep, timeout};

use super::clients::Clients;
use super::report::Rule;
use super::run::Run;
use super::writer::{RAISE, acknowledge};
use crate::{Error, FaultProxy, Postgres};

/// The listener's `application_name`.
pub(super) const LISTENER: &str = "coherence-listener";

/// The number of events in a flood. A queue takes any batch of the source as a whole, so this is more than one batch.
const FLOOD: i64 = 1_200;

/// The delay before a fault that could not be injected is tried again.
const RETRY_DELAY: Duration = Duration::from_millis(10);

/// A fault of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// The backend of the listener is terminated.
    TerminateListener,
    /// The backends of all clients are terminated.
    TerminateAll,
    /// The server is shut down and started again.
    Restart,
    /// The server is killed and started again.
    Kill,
    /// The listener's connection is reset by the proxy.
    Cut,
    /// The listener's connection is reset, and new ones are refused for a while.
    Refuse,
    /// The listener's connection stays open and silent for a while.
    Stall,
    /// A transaction changes so many rows that a short queue overflows.
    Overflow,
    /// A fault that the check was [given](super::CoherenceCheck::custom_faults), by its name.
    Custom(&'static str),
}

impl Fault {
    /// All faults that a check can inject by itself.
    pub const ALL: [Self; 8] = [
        Self::TerminateListener,
        Self::TerminateAll,
        Self::Restart,
        Self::Kill,
        Self::Cut,
        Self::Refuse,
        Self::Stall,
        Self::Overflow,
    ];
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TerminateListener => "terminate_listener",
            Self::TerminateAll => "terminate_all",
            Self::Restart => "restart",
            Self::Kill => "kill",
            Self::Cut => "cut",
            Self::Refuse => "refuse",
            Self::Stall => "stall",
            Self::Overflow => "overflow",
            Self::Custom(name) => name,
        })
    }
}

/// Injects the custom fault of a name, or ends all of them.
pub(super) type Custom =
    Box<dyn Fn(Option<&'static str>) -> Pin<Box<dyn Future<Output = Result<(), Error>>>>>;

pub(super) struct FaultInjector<'a> {
    pub(super) server: &'a Postgres,
    pub(super) proxy: &'a FaultProxy,
    pub(super) custom: Option<&'a Custom>,
    pub(super) random: fastrand::Rng,
    /// The remaining faults of the current round.
    pub(super) round: Vec<Fault>,
}

impl FaultInjector<'_> {
    /// Returns the next fault. Each round has all `kinds` once, in random order.
    pub(super) fn next_fault(&mut self, kinds: &[Fault]) -> Option<Fault> {
        if self.round.is_empty() {
            self.round.extend_from_slice(kinds);
            self.random.shuffle(&mut self.round);
        }
        self.round.pop()
    }

    /// Injects a fault, which lasts until [`repair`](Self::repair).
    ///
    /// Tries until it succeeds or the check is done. The fault counts only if it succeeded.
    pub(super) async fn inject(
        &mut self,
        fault: Fault,
        run: &Run,
        clients: &Clients,
    ) -> Result<(), Error> {
        tracing::debug!(%fault, "fault");
        let (began, limit) = (Instant::now(), run.settings.quiet_deadline());
        while !self.attempt(fault, run, clients).await? {
            if run.is_done() {
                return Ok(());
            }
            if began.elapsed() > limit {
                return Err(Error::new(format!(
                    "the fault {fault} could not be injected within {limit:?}"
                )));
            }
            sleep(RETRY_DELAY).await;
        }
        run.tally.fault(fault);
        Ok(())
    }

    /// Returns whether the fault was injected. It was not if there is no connection to end, or the listener was not live
    /// during a flood.
    async fn attempt(&mut self, fault: Fault, run: &Run, clients: &Clients) -> Result<bool, Error> {
        match fault {
            Fault::TerminateListener => {
                return Ok(self.server.terminate_backends(Some(LISTENER)).await? > 0);
            }
            Fault::TerminateAll => return Ok(self.server.terminate_backends(None).await? > 0),
            Fault::Restart => self.server.stop().await?,
            Fault::Kill => self.server.kill().await?,
            Fault::Cut => {
                let connected = self.proxy.connections() > 0;
                self.proxy.cut();
                return Ok(connected);
            }
            Fault::Refuse => {
                self.proxy.refuse();
                self.proxy.cut();
            }
            Fault::Stall => self.proxy.stall(),
            Fault::Overflow => return Ok(self.flood(run, clients).await),
            Fault::Custom(name) => match self.custom {
                Some(custom) => custom(Some(name)).await?,
                None => {
                    let message = format!("the check was not given the fault {name}");
                    return Err(Error::new(message));
                }
            },
        }
        Ok(true)
    }

    /// Ends the fault. Lost connections stay lost.
    pub(super) async fn repair(&self) -> Result<(), Error> {
        self.proxy.resume();
        self.server.start_again().await?;
        match self.custom {
            Some(custom) => custom(None).await,
            None => Ok(()),
        }
    }

    /// Waits while a fault lasts: not at all, for a moment, or until the listener has noticed it. A listener that does not notice it
    /// would let caches answer for as long as the fault lasts.
    pub(super) async fn keep(&mut self, fault: Fault, run: &Run) {
        let detection = match fault {
            Fault::Overflow => return,
            // These do not last.
            Fault::TerminateListener | Fault::TerminateAll | Fault::Cut => 0,
            Fault::Restart | Fault::Kill | Fault::Refuse | Fault::Stall | Fault::Custom(_) => 2,
        };
        match self.random.u8(0..=2 + detection) {
            0 => {}
            1 | 2 => sleep(Duration::from_millis(self.random.u64(1..50))).await,
            _ => {
                let limit = run.settings.deadline;
                if !run.liveness.not_live(limit).await {
                    run.tally.violation(Rule::NotLive, || {
                        format!("the listener was live {limit:?} after the fault {fault} began, which still lasted")
                    });
                }
                sleep(Duration::from_millis(self.random.u64(1..100))).await;
            }
        }
    }

    /// Makes a flood of changes. Returns whether the source was live until it was committed.
    async fn flood(&mut self, run: &Run, clients: &Clients) -> bool {
        let limit = run.settings.deadline;
        if !run.liveness.live(limit).await {
            return false;
        }
        let since = run.liveness.live_since();
        let ranges = self.ranges(run.settings.keys);
        match timeout(limit, flood(run, clients, &ranges)).await {
            Ok(Ok(())) => since.is_some() && run.liveness.live_since() == since,
            // Expected: an administrator or a restart may end its connection.
            Ok(Err(error)) => {
                tracing::debug!(%error, "a flood failed");
                false
            }
            Err(_) => {
                tracing::warn!("a flood did not end in time");
                false
            }
        }
    }

    /// Returns ranges of up to half of the keys, which together have enough rows for a flood.
    fn ranges(&mut self, keys: i64) -> Vec<(i64, i64)> {
        let mut rows = 0;
        let mut ranges = Vec::new();
        while rows < FLOOD {
            let first = self.random.i64(1..=keys);
            let last = (first + self.random.i64(0..=keys / 2)).min(keys);
            rows += last - first + 1;
            ranges.push((first, last));
        }
        ranges
    }
}

/// Raises the versions in all ranges in one transaction, so that all events arrive together.
async fn flood(run: &Run, clients: &Clients, ranges: &[(i64, i64)]) -> Result<(), Error> {
    let mut client = clients.separate().await?;
    let transaction = async {
        let transaction = client.transaction().await?;
        let raise = transaction.prepare(RAISE).await?;
        let (on, raise) = (&transaction, &raise);
        let raised = try_join_all(
            ranges
                .iter()
                .map(|(first, last)| async move { on.query(raise, &[first, last]).await }),
        );
        let raised = raised.await?;
        transaction.commit().await?;
        run.flooded();
        Ok::<_, tokio_postgres::Error>(raised)
    };
    let raised = transaction.await.map_err(Error::during("a flood failed"))?;
    for rows in raised {
        acknowledge(run, &rows)?;
    }
    Ok(())
}
