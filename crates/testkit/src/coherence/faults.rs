//! What goes wrong during a check.

use std::fmt;
use std::time::{Duration, Instant};

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

/// When a fault that did not work is tried again.
const AGAIN: Duration = Duration::from_millis(10);

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
    /// What is left of the round.
    pub(super) round: Vec<Fault>,
}

impl Saboteur<'_> {
    /// The next fault. They come in rounds, each of which has all `kinds` in an order by chance.
    pub(super) fn deal(&mut self, kinds: &[Fault]) -> Option<Fault> {
        if self.round.is_empty() {
            self.round.extend_from_slice(kinds);
            self.random.shuffle(&mut self.round);
        }
        self.round.pop()
    }

    /// Something goes wrong. It lasts until [`repair`](Self::repair).
    ///
    /// Tried, unless the check is done, until it works; it counts only then.
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
                    "{fault} could not be brought about within {limit:?}"
                )));
            }
            sleep(AGAIN).await;
        }
        run.tally.fault(fault);
        Ok(())
    }

    /// Whether it worked: there may be no connection to end, or no listener to hear a flood.
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
        }
        Ok(true)
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

    /// Whether all of it was committed while the source was live.
    async fn flood(&mut self, run: &Run, clients: &Clients) -> bool {
        let limit = run.settings.deadline;
        if !run.liveness.live(limit).await {
            return false;
        }
        let since = run.liveness.live_since();
        let ranges = self.ranges(run.settings.keys);
        match timeout(limit, flood(run, clients, &ranges)).await {
            Ok(Ok(())) => since.is_some() && run.liveness.live_since() == since,
            // No matter: a flood is over when the server is.
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
