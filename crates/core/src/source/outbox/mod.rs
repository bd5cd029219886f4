//! A source on the outbox: one dedicated connection, whose transactions last only as long as reading a page.
//!
//! ```text
//!            ┌──────────── error: Down, back off, keep the cursor ──────────────┐
//!            ▼                                                                  │
//!   Waiting(until) ── connect, LISTEN, check outbox and triggers ────► Open ────┤
//!                                                │                     ├─ pages: Events
//!      first time, or another history: Resync, Live                    └─ heartbeat: same outbox? triggers in order?
//!      else: Events*, Resumed, Live
//! ```
//!
//! While open, the source reads the outbox when a wake-up arrives, when the last page was not the last of its difference,
//! every few milliseconds while it is busy, and at the poll interval.
//!
//! - Writers send at most one wake-up every 50 ms, all writers together. Changes that are committed shortly after a wake-up
//!   are not announced, so the source stays busy for twice as long after the last event.
//! - Any role can send wake-ups. Only one per 25 ms causes an immediate read. The frequent reads of the busy source cover the
//!   others.
//! - A wake-up is lost if the writer that was to send it rolls back. The read at the poll interval finds the changes of the
//!   other writers.
//!
//! Polling [`Source::next`] drives the connection. There is no background task. The source keeps a cursor in memory. The
//! cursor advances with each page, and survives the loss of the connection.
//!
//! Guarantees:
//! - Changes that are committed while there is no connection arrive as events after the reconnect, in order, before `Resumed`
//!   and `Live`. Subscribers need not read anything again.
//! - If the source cannot guarantee that, it emits a `Resync`: rows were trimmed before they were read, triggers were
//!   disabled or altered, or the *history* has changed. A cursor is meaningless for an outbox that was created anew, a
//!   replica that was promoted, or a server that has crashed, because such servers assign transaction ids a second time.
//! - A position that goes back (after a sequence was set back, for example) also causes a `Resync`, and is a separate [kind
//!   of error](crate::ErrorKind::History).
//! - `Live` is emitted after a difference that was read to its end within a second. The remaining events are then young.
//! - The source is live only while the triggers of every watched table are in place, as with NOTIFY.
//! - A row that fails to decode becomes a `Resync` in its place, which also covers later such rows of its table in the page.
//!   The first row per heartbeat interval is logged, and the others are counted.
//! - A transaction that stays open does not delay the events of other transactions.
//! - The source never gives up: it reconnects with capped exponential backoff and full jitter.

mod builder;
mod pace;
mod page;
mod session;

use crate::ErrorKind;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

pub use builder::OutboxSourceBuilder;
use builder::Settings;
use page::PageOfSignals;
use session::{Opened, Position, Received, Session};

use super::Source;
use super::drift::{compare, log_harmless_drift, restored};
use crate::connect::ConnectConfig;
use crate::error::{Error, Result};
use crate::outbox::position::Lineage;
use crate::reconnect::{Reconnecting, within_limit};
use crate::signal::{Resync, ResyncReason, Signal};
use crate::trigger::Check;

/// The maximum number of rows in a page.
const PAGE: usize = 512;

/// The source has caught up if it read a difference within this time: everything it has not read yet is about as young.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(1);

/// A source that turns the rows of tables in [outbox mode](crate::trigger::TriggerSpec::outbox) into signals.
///
/// A lost connection loses no events: the source continues from its cursor. The cursor is in memory, so a new source starts
/// with a resync and the changes committed from then on. The source emits the rows of all tables that share the outbox,
/// watched or not. Use [`Filter`](crate::Filter)s to select them.
///
/// The role must be able to read the tables of schema `pgherald`. Connect directly, or through a pooler that keeps sessions:
/// a pooler in transaction mode is [refused](crate::ErrorKind::Pooler) at each attempt.
///
/// ```
/// use std::time::Duration;
/// use pgherald_core::trigger::TriggerSpec;
/// use pgherald_core::{ConnectConfig, OutboxSource, TableName};
///
/// let config: ConnectConfig = "postgresql://app@localhost/shop".parse()?;
/// let orders = TriggerSpec::new(TableName::new("public", "orders")?).outbox();
/// let source = OutboxSource::builder(config)
///     .watch(orders)
///     .poll_interval(Duration::from_secs(2))
///     .build()?;
/// # Ok::<(), pgherald_core::Error>(())
/// ```
#[derive(Debug)]
pub struct OutboxSource {
    settings: Arc<Settings>,
    session: Reconnecting<Opening, Open>,
    /// Signals to emit before anything else happens.
    pending: VecDeque<Signal>,
    /// State from this session or the previous one.
    known: Option<Known>,
    /// Whether signals were emitted since `progress` was last advanced.
    has_emitted: bool,
    /// The number of rows in the pages of the next session.
    page_size: usize,
}

#[derive(Debug)]
struct Known {
    /// Where to continue reading. `None` after a position of the outbox went back.
    position: Option<Position>,
    /// The result of the last check of the triggers.
    check: Check,
}

type Opening = Pin<Box<dyn Future<Output = Result<Opened>> + Send>>;

#[derive(Debug)]
struct Open {
    session: Box<Session>,
    /// The start of the current difference, while the source is still catching up.
    catching_up: Option<Instant>,
}

impl OutboxSource {
    /// Starts building a source on the database of `config`.
    pub fn builder(config: ConnectConfig) -> OutboxSourceBuilder {
        OutboxSourceBuilder::new(config)
    }

    fn new(settings: Arc<Settings>) -> Self {
        Self {
            session: Reconnecting::new(settings.options.backoff),
            settings,
            pending: VecDeque::new(),
            known: None,
            has_emitted: false,
            page_size: PAGE,
        }
    }

    fn connect(settings: &Arc<Settings>, known: Option<&Known>, page_size: usize) -> Opening {
        let settings = Arc::clone(settings);
        let position = known.and_then(|known| known.position.clone());
        Box::pin(async move {
            let options = &settings.options;
            let opening = Box::pin(Session::open(&settings, position, page_size));
            within_limit(options.connect_timeout, &options.config, opening).await
        })
    }

    fn opened(&mut self, opened: Opened) {
        let Opened {
            session,
            check,
            position,
            resumes,
        } = opened;
        let before = self.known.take().map(|known| known.check);
        if resumes {
            self.pending
                .extend(before.and_then(|before| restored(&before, &check)));
        } else {
            let reason = match before {
                Some(_) => ResyncReason::Reconnected,
                None => ResyncReason::Started,
            };
            log_harmless_drift(&check);
            self.pending.push_back(Signal::Resync(Resync::new(reason)));
            self.pending.push_back(live(&check));
        }
        self.known = Some(Known {
            position: Some(position),
            check,
        });
        self.note_lineage();
        self.session.keep(Open {
            session: Box::new(session),
            catching_up: resumes.then(Instant::now),
        });
    }

    fn take_in(&mut self, received: Received) {
        let open = self.session.session_mut();
        let (Some(known), Some(Open { catching_up, .. })) = (&mut self.known, open) else {
            return;
        };
        match received {
            Received::Page(PageOfSignals {
                signals,
                cursor,
                is_last,
                ..
            }) => {
                self.page_size = PAGE;
                if let Some(position) = &mut known.position {
                    position.cursor = cursor;
                }
                self.has_emitted = true;
                self.pending.extend(signals);
                let now = Instant::now();
                match catching_up {
                    Some(since) if is_last && now - *since < CATCH_UP_LIMIT => {
                        *catching_up = None;
                        if known.check.lost_changes().is_none() {
                            self.pending.push_back(Signal::Resumed);
                        }
                        self.pending.push_back(live(&known.check));
                    }
                    Some(since) if is_last => *since = now,
                    _ => {}
                }
            }
            Received::Checked(now) => {
                if known.check == now {
                    return;
                }
                let before = std::mem::replace(&mut known.check, now);
                match catching_up {
                    Some(_) => self.pending.extend(restored(&before, &known.check)),
                    None => self.pending.extend(compare(&before, &known.check)),
                }
                self.note_lineage();
            }
        }
    }

    /// The history or the check is another one. The position is known again when the signals about that have been emitted.
    fn note_lineage(&mut self) {
        if let Some(Known {
            position: Some(position),
            check,
        }) = &self.known
        {
            let lineage = Lineage::new(&position.history, check);
            self.settings.progress.set_lineage(lineage);
            self.has_emitted = true;
        }
    }

    /// The caller has published all signals, because it wants the next one.
    fn note_progress(&mut self) {
        if std::mem::take(&mut self.has_emitted)
            && let Some(position) = self
                .known
                .as_ref()
                .and_then(|known| known.position.as_ref())
        {
            self.settings.progress.advance(&position.cursor);
        }
    }

    /// Drops the session and schedules the next attempt.
    fn lose(&mut self, error: Error) -> Signal {
        if error.kind() == ErrorKind::History
            && let Some(known) = &mut self.known
        {
            known.position = None;
        }
        // The page may be too large to arrive before the deadline of the heartbeat.
        if let Some(Open { session, .. }) = self.session.session()
            && session.has_not_read_a_page()
        {
            self.page_size = (self.page_size / 4).max(1);
        }
        self.settings.progress.lose();
        self.session.lost(&error);
        Signal::Down(error)
    }
}

impl Source for OutboxSource {
    async fn next(&mut self) -> Signal {
        loop {
            if let Some(signal) = self.pending.pop_front() {
                return signal;
            }
            self.note_progress();
            let Some(Open { session, .. }) = self.session.session_mut() else {
                let known = self.known.as_ref();
                let open = || Self::connect(&self.settings, known, self.page_size);
                match self.session.opened(open).await {
                    Ok(opened) => self.opened(opened),
                    Err(error) => return self.lose(error),
                }
                continue;
            };
            match session.next().await {
                Ok(received) => self.take_in(received),
                Err(error) => return self.lose(error),
            }
        }
    }
}

/// Returns the signal after a resync or the end of catching up: `Down` if the triggers lose changes.
fn live(check: &Check) -> Signal {
    check.lost_changes().map_or(Signal::Live, Signal::Down)
}
