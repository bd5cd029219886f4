//! What goes wrong during a check.

use std::fmt;
use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::time::{sleep, timeout};

use super::clients::Clients;
use super::run::Run;
use super::writer::{RAISE, acknowledge};
use crate::{Error, FaultProxy, Postgres};

/// What the server shows as the listener's `application_name`.
pub(super) const LISTENER: &str = "coherence-listener";

/// How long it takes until a fault is noticed, with some to spare.
const NOTICE: Duration = Duration::from_secs(2);

/// How many events a flood has: more than a source brings at once, which is taken whole.
const FLOOD: i64 = 1_200;

/// Something that goes wrong during a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// The listener's connection is ended by an administrator.
    TerminateListener,
    /// All connections are ended by an administrator.
    TerminateAll,
    /// The server is shut down and started again.
    Restart,
    /// The server is killed and started again.
    Kill,
    /// The listener's connection is reset on its way.
    Cut,
    /// The listener's connection is reset, and new ones are refused for a while.
    Refuse,
    /// The listener's connection stays open and silent for a while.
    Stall,
    /// A transaction changes so many rows that a short queue overflows.
    Overflow,
}

impl Fault {
    /// All of them.
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
        })
    }
}

/// Brings faults about, and puts an end to them.
pub(super) struct Saboteur<'a> {
    pub(super) server: &'a Postgres,
    pub(super) proxy: &'a FaultProxy,
    pub(super) random: fastrand::Rng,
}

impl Saboteur<'_> {
    /// Something goes wrong. It lasts until [`repair`](Self::repair).
    pub(super) async fn inject(
        &mut self,
        fault: Fault,
        run: &Run,
        clients: &Clients,
    ) -> Result<(), Error> {
        run.tally.fault(fault);
        tracing::debug!(%fault, "fault");
        match fault {
            Fault::TerminateListener => {
                self.server.terminate_backends(Some(LISTENER)).await?;
            }
            Fault::TerminateAll => {
                self.server.terminate_backends(None).await?;
            }
            Fault::Restart => self.server.stop().await?,
            Fault::Kill => self.server.kill().await?,
            Fault::Cut => self.proxy.cut(),
            Fault::Refuse => {
                self.proxy.refuse();
                self.proxy.cut();
            }
            Fault::Stall => self.proxy.stall(),
            Fault::Overflow => self.flood(run, clients).await,
        }
        Ok(())
    }

    /// It is over. What broke is left broken.
    pub(super) async fn repair(&self) -> Result<(), Error> {
        self.proxy.resume();
        self.server.start_again().await
    }

    /// For how long a fault lasts: not at all, for a moment, or until it was noticed.
    pub(super) async fn linger(&mut self, fault: Fault, run: &Run) {
        let notice = match fault {
            Fault::Overflow => return,
            // Over in itself.
            Fault::TerminateListener | Fault::TerminateAll | Fault::Cut => 0,
            Fault::Restart | Fault::Kill | Fault::Refuse | Fault::Stall => 2,
        };
        match self.random.u8(0..=2 + notice) {
            0 => {}
            1 | 2 => sleep(Duration::from_millis(self.random.u64(1..50))).await,
            _ => {
                run.liveness.not_live(NOTICE).await;
                sleep(Duration::from_millis(self.random.u64(1..100))).await;
            }
        }
    }

    async fn flood(&mut self, run: &Run, clients: &Clients) {
        let ranges = self.ranges(run.settings.keys);
        match timeout(run.settings.deadline, flood(run, clients, &ranges)).await {
            Ok(Ok(())) => {}
            // No matter: a flood is over when the server is.
            Ok(Err(error)) => tracing::debug!(%error, "a flood failed"),
            Err(_) => tracing::warn!("a flood did not end in time"),
        }
    }

    /// Ranges of up to half of the keys, as many as it takes.
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

/// Raises the versions in all ranges in one transaction, so that its events arrive all at once.
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
        Ok::<_, tokio_postgres::Error>(raised)
    };
    let raised = transaction.await.map_err(Error::during("a flood failed"))?;
    for rows in raised {
        acknowledge(run, &rows)?;
    }
    Ok(())
}
