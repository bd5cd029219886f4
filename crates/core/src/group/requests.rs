//! The connections of a node, and its requests: at most one page, one write, one fetch of parked events and one tick at a time.
//!
//! Requests for pages, writes and parked events share one connection, and the server answers them in order. Ticks have another
//! connection, so that renewing the lease does not wait behind pages. Trimming uses that one too; the server cancels it before a
//! renewal is late. Other consumers of the process may [share](super::connections) both.
//!
//! This module only sends requests and returns their answers. The parts of the [engine](super::engine) decide when to send which.

mod reading;
mod writing;

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, pending};

pub(super) use self::reading::{Fetched, PageRead};
use self::reading::{Fetching, Reading};
use self::writing::Writing;
pub(super) use self::writing::{Refusal, Sent, Written};
use super::connections::{Connections, Link};
use super::job::Row;
use super::members::{CONTROL, Member};

use super::options::DurableOptions;
use super::requirements;
use super::slices::Turn;
use super::store;
use super::tick::{NodeState, Tick, tick};
use crate::error::{ErrorKind, Result};
use crate::outbox::{History, OutboxReader, WAKE_UP_CHANNEL, trim_within};
use crate::trigger::Checker;

/// The shortest time that the server has to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A request that may be running.
type Request<T> = Option<LocalBoxFuture<'static, T>>;

pub(super) struct Requests {
    link: Arc<Link>,
    /// This consumer, for its notifications.
    member: Arc<Member>,
    /// The server's history that cursors in memory belong to.
    pub(super) history: History,
    /// Whether the database can store any character.
    pub(super) is_utf8: bool,
    options: Arc<DurableOptions>,
    checker: Arc<Checker>,
    reading: Reading,
    writing: Writing,
    fetching: Fetching,
    upkeep: Upkeep,
}

/// Retires a link on which the server does not answer a consumer that joins, so that the next attempt opens another one.
struct Joining<'a>(Option<&'a Link>);

impl Drop for Joining<'_> {
    fn drop(&mut self) {
        if let Some(link) = self.0 {
            link.retire();
        }
    }
}

/// Requests that keep the membership and the outbox up to date.
#[derive(Default)]
struct Upkeep {
    ticking: Request<Result<Tick>>,
    confirming: Request<Result<bool>>,
    trimming: Request<Result<u32>>,
}

/// An answer to a request, or a notification.
pub(super) enum Answer {
    Page(Box<PageRead>),
    Ticked(Tick),
    /// A write was answered, or has failed.
    Written(Sent, Result<Written>),
    Fetched(Fetched),
    /// The requirements are met. `true`: the group received a resync.
    Confirmed(bool),
    /// The number of parts of the outbox that were emptied. A failure does not end the connections.
    Trimmed(Result<u32>),
    /// The outbox may have new rows.
    Recorded,
    /// Another consumer of this process has read new rows.
    Found,
    /// The state of the group has changed.
    Control,
}

/// Requests without an answer when the connection was lost.
pub(super) struct Unfinished {
    pub(super) sent: Sent,
    pub(super) fetching: Vec<(Row, i64)>,
}

impl Requests {
    pub(super) async fn open(
        connections: &Connections,
        options: Arc<DurableOptions>,
    ) -> Result<Self> {
        let link = connections.open().await?;
        let mut joining = Joining(Some(&link));
        let opened = Self::on(Arc::clone(&link), options).await;
        // The server has answered, or has refused something.
        if opened
            .as_ref()
            .err()
            .is_none_or(|error| error.kind() != ErrorKind::Disconnected)
        {
            joining.0 = None;
        }
        opened
    }

    async fn on(link: Arc<Link>, options: Arc<DurableOptions>) -> Result<Self> {
        let member = link.join(Arc::clone(&options.group), options.lease);
        let history = History::of(&link.client).await?;
        link.check(&history)?;
        let is_utf8 = store::is_utf8(&link.client).await?;
        let mut reader = OutboxReader::new(Arc::clone(&link.client));
        store::open(&link.client, &mut reader, &options).await?;
        requirements::store(&link.client, &options.group, &options.requirements).await?;
        let checker = Checker::new(&options.requirements);
        requirements::confirm(&link.client, &options.group, &checker).await?;
        Ok(Self {
            link,
            member,
            history,
            is_utf8,
            options,
            checker: Arc::new(checker),
            reading: Reading::new(reader),
            writing: Writing::default(),
            fetching: Fetching::default(),
            upkeep: Upkeep::default(),
        })
    }

    /// Waits for the next answer or notification. Fails if a request has failed, or a connection has ended. Cancel-safe.
    pub(super) async fn next_answer(&mut self) -> Result<Answer> {
        tokio::select! {
            page = self.reading.answer() => page.map(|page| Answer::Page(Box::new(page))),
            (sent, written) = self.writing.answer() => Ok(Answer::Written(sent, written)),
            tick = answer(&mut self.upkeep.ticking) => tick.map(Answer::Ticked),
            has_parked = answer(&mut self.upkeep.confirming) => has_parked.map(Answer::Confirmed),
            fetched = self.fetching.answer() => fetched.map(Answer::Fetched),
            trimmed = answer(&mut self.upkeep.trimming) => Ok(Answer::Trimmed(trimmed)),
            () = self.member.recorded.notified() => Ok(Answer::Recorded),
            () = self.member.found.notified() => Ok(Answer::Found),
            () = self.member.control.notified() => Ok(Answer::Control),
            error = self.link.ended() => Err(error),
        }
    }

    pub(super) fn link(&self) -> Arc<Link> {
        Arc::clone(&self.link)
    }

    /// Makes the node open other connections next time.
    pub(super) fn retire(&self) {
        self.link.retire();
    }

    /// Takes the requests that were not answered.
    pub(super) fn unfinished(&mut self) -> Unfinished {
        Unfinished {
            sent: self.writing.take(),
            fetching: self.fetching.take(),
        }
    }

    /// A server that does not answer a read or a write within this time counts as disconnected.
    fn limit(&self) -> Duration {
        (self.options.lease * 3).max(PATIENCE)
    }

    // Pages, writes and parked events.

    pub(super) fn is_reading(&self) -> bool {
        self.reading.is_running()
    }

    pub(super) fn read(&mut self, turn: Turn, rows: usize) {
        let (limit, caches) = (self.limit(), self.options.caches.clone());
        let from = (Arc::clone(&self.link), Arc::clone(&self.member));
        self.reading.start(from, turn, rows, limit, caches);
    }

    pub(super) fn is_writing(&self) -> bool {
        self.writing.is_running()
    }

    /// The parked events whose settlements are being written.
    pub(super) fn settling(&self) -> impl Iterator<Item = i64> {
        self.writing.settling()
    }

    pub(super) fn write(&mut self, sent: Sent) {
        let (options, limit) = (Arc::clone(&self.options), self.limit());
        self.writing.start(&self.link, options, limit, sent);
    }

    pub(super) fn is_fetching(&self) -> bool {
        self.fetching.is_running()
    }

    pub(super) fn fetch(&mut self, requested: Vec<(Row, i64)>, slices: Vec<i32>) {
        let (options, limit) = (Arc::clone(&self.options), self.limit());
        self.fetching
            .start(&self.link, options, limit, requested, slices);
    }

    // Upkeep.

    pub(super) fn is_ticking(&self) -> bool {
        self.upkeep.ticking.is_some()
    }

    pub(super) fn tick(&mut self, state: NodeState) {
        let (client, options) = (Arc::clone(&self.link.upkeep), Arc::clone(&self.options));
        let history = self.history.clone();
        let lease = options.lease;
        let found = self.link.run(async move {
            // Data may be restored into a database while consumers are connected.
            history.confirm(&client).await?;
            tick(client, &options, state).await
        });
        let request = store::answer_within(lease, found);
        self.upkeep.ticking = Some(request.boxed_local());
    }

    /// Whether the group's requirements may be compared with what is installed.
    pub(super) fn may_confirm(&self) -> bool {
        self.upkeep.confirming.is_none() && !self.options.requirements.is_empty()
    }

    /// Compares the group's requirements with what is installed.
    pub(super) fn confirm(&mut self) {
        let (client, options) = (Arc::clone(&self.link.client), Arc::clone(&self.options));
        let (checker, limit) = (Arc::clone(&self.checker), self.limit());
        let confirmed = self
            .link
            .run(async move { requirements::confirm(&client, &options.group, &checker).await });
        let request = store::answer_within(limit, confirmed);
        self.upkeep.confirming = Some(request.boxed_local());
    }

    pub(super) fn is_trimming(&self) -> bool {
        self.upkeep.trimming.is_some()
    }

    /// Trims the outbox, unless a consumer on the same connections has trimmed it lately.
    pub(super) fn trim(&mut self) {
        let Some(limit) = self.link.may_trim() else {
            return;
        };
        let client = Arc::clone(&self.link.upkeep);
        let trimming = async move { trim_within(&client, limit).await };
        self.upkeep.trimming = Some(trimming.boxed_local());
    }

    /// Notifies the other nodes, so that they tick. Does nothing unless the returned future is polled.
    pub(super) fn notify_others(&self) -> impl Future<Output = ()> + Send + 'static {
        let client = Arc::clone(&self.link.upkeep);
        let group = Arc::clone(&self.options.group);
        async move {
            let sql = "SELECT pg_catalog.pg_notify($1, $2)";
            let call = format!("{CONTROL} {group}");
            // Without the notification, they tick within a third of their lease.
            let _ = client.execute(sql, &[&WAKE_UP_CHANNEL, &call]).await;
        }
    }

    /// Leaves the group, and notifies the other nodes. A tick that is running ends before, because it may join the group.
    pub(super) async fn leave(&mut self, node: i64) -> Result<()> {
        if let Some(ticking) = self.upkeep.ticking.take() {
            // Whether it succeeds or not, it joins no more after this.
            let _ = ticking.await;
        }
        let left = store::leave(&self.link.upkeep, &self.options.group, node).await;
        self.notify_others().await;
        left
    }
}

/// Waits for the answer to a request. Waits forever if there is no request.
async fn answer<T>(request: &mut Option<impl Future<Output = T> + Unpin>) -> T {
    let answer = match request {
        Some(future) => future.await,
        None => pending().await,
    };
    *request = None;
    answer
}
