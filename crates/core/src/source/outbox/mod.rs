//! The outbox as a source: one dedicated connection that is never in a transaction for longer than a page takes.
//!
//! ```text
//!            ┌──────────── error: Down, back off, keep the cursor ──────────────┐
//!            ▼                                                                  │
//!   Waiting(until) ── connect, LISTEN, look at outbox and triggers ──► Open ────┤
//!                                                │                     ├─ pages: Events
//!      first time, or another history: Resync, Live                    └─ heartbeat: same outbox? triggers in order?
//!      else: Events*, Resumed, Live
//! ```
//!
//! While open it *reads* when a wake-up says so, when the page before was not the last one, every few milliseconds while
//! there was something lately, and now and then in any case:
//!
//! - Writers wake readers up at most every 50 ms, all of them together: what is committed right after a wake-up is not
//!   announced. So after the last event it goes on looking for twice as long.
//! - Any role can send wake-ups. More than one in 25 ms are answered by the looks that follow each other every few milliseconds.
//! - A wake-up goes astray if the writer that was to send it rolls back. What it would have announced is found when the
//!   failsafe interval is over.
//!
//! Owner: whoever polls [`Source::next`] drives the connection; there is no task behind it. The source keeps a cursor in
//! memory; it moves on when a page has been taken in, and outlives the connection.
//!
//! Guarantees:
//! - What is committed while there is no connection comes as events once there is one again, in order, before `Resumed`
//!   and `Live`. So nobody has to read anything again.
//! - Unless that cannot be promised; then there is a `Resync`: rows were trimmed before they were read, triggers were off
//!   or altered meanwhile, or the *history* is another one. A cursor means nothing to an outbox that was made anew, a
//!   replica that was promoted, or a server that has crashed: such servers give out transaction ids a second time.
//! - A position that went back (a sequence that was set back, say) becomes a `Resync` as well, and is an
//!   [error of its own](Error::is_history).
//! - `Live` is said when a difference was read to its end within a second: what is still to come is young.
//! - `Live` holds only while every watched table's triggers are in place, as with NOTIFY.
//! - A row that cannot be understood becomes a `Resync` in its place, which also stands for further ones of its table and page.
//!   The log has the first row of each heartbeat interval, and a count of the others.
//! - Nobody who keeps a transaction open delays what others commit.
//! - It never gives up: attempts follow each other with capped exponential backoff and full jitter.

mod builder;
mod pace;
mod page;
mod session;

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

pub use builder::OutboxSourceBuilder;
use builder::Settings;
use page::Page;
use session::{News, Opened, Place, Session};

use super::Source;
use super::attempts::{Attempts, within_limit};
use super::drift::{compare, restored, warn_of_untidiness};
use crate::connect::ConnectConfig;
use crate::error::{Error, Result};
use crate::signal::{Resync, ResyncReason, Signal};
use crate::trigger::Check;

/// How many rows a page has at most.
const PAGE: usize = 512;

/// What took longer to catch up on has left behind something that is not young.
const YOUNG: Duration = Duration::from_secs(1);

/// Turns what tables in [outbox mode](crate::trigger::TriggerSpec::outbox) record into signals.
///
/// While it lives, nothing is lost with a connection: it goes on from where it was. It keeps that in memory, so a new one
/// begins with what is committed from then on, and a resync. Rows of all tables that share the outbox are passed on,
/// whether they are watched or not; [`Filter`](crate::Filter)s sort them out.
///
/// The role that connects needs the right to read the tables of schema `pgherald`. The connection must be direct, or go
/// through a pooler that keeps sessions: a pooler in transaction mode is [refused](crate::Error::is_pooled) at each attempt.
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
    state: State,
    /// Said one after the other before anything else happens.
    pending: VecDeque<Signal>,
    attempts: Attempts,
    /// What it knows from the session before, or this one.
    known: Option<Known>,
    /// How many rows the pages of the next session have.
    page_size: usize,
}

#[derive(Debug)]
struct Known {
    /// Where to read on; nowhere after the outbox went back.
    place: Option<Place>,
    /// How the triggers were when last looked at.
    check: Check,
}

/// An attempt to open a session. Kept between polls, so that dropping a call of `next` does not end it.
type Opening = Pin<Box<dyn Future<Output = Result<Opened>> + Send>>;

enum State {
    Waiting {
        until: Instant,
    },
    Connecting {
        opening: Opening,
    },
    Open {
        session: Box<Session>,
        since: Instant,
        /// Since when the difference is being read with whose end it will have caught up, if it has not yet.
        catching_up: Option<Instant>,
    },
}

impl OutboxSource {
    /// Starts describing a source on the database of `config`.
    pub fn builder(config: ConnectConfig) -> OutboxSourceBuilder {
        OutboxSourceBuilder::new(config)
    }

    fn new(settings: Arc<Settings>) -> Self {
        Self {
            settings,
            state: State::Waiting {
                until: Instant::now(),
            },
            pending: VecDeque::new(),
            attempts: Attempts::default(),
            known: None,
            page_size: PAGE,
        }
    }

    fn connect(&self) -> Opening {
        let settings = Arc::clone(&self.settings);
        let place = self.known.as_ref().and_then(|known| known.place.clone());
        let page_size = self.page_size;
        Box::pin(async move {
            let opening = Box::pin(Session::open(&settings, place, page_size));
            within_limit(&settings.terms, opening).await
        })
    }

    fn opened(&mut self, opened: Opened) {
        let Opened {
            session,
            check,
            place,
            goes_on,
        } = opened;
        let since = Instant::now();
        let before = self.known.take().map(|known| known.check);
        if goes_on {
            self.pending
                .extend(before.and_then(|before| restored(&before, &check)));
        } else {
            let reason = match before {
                Some(_) => ResyncReason::Reconnected,
                None => ResyncReason::Started,
            };
            warn_of_untidiness(&check);
            self.pending.push_back(Signal::Resync(Resync::new(reason)));
            self.pending.push_back(live(&check));
        }
        self.known = Some(Known {
            place: Some(place),
            check,
        });
        self.state = State::Open {
            session: Box::new(session),
            since,
            catching_up: goes_on.then_some(since),
        };
    }

    fn take_in(&mut self, news: News) {
        let (Some(known), State::Open { catching_up, .. }) = (&mut self.known, &mut self.state)
        else {
            return;
        };
        match news {
            News::Page(Page {
                signals,
                cursor,
                is_last,
                ..
            }) => {
                self.page_size = PAGE;
                if let Some(place) = &mut known.place {
                    place.cursor = cursor;
                }
                self.pending.extend(signals);
                let now = Instant::now();
                match catching_up {
                    Some(since) if is_last && now - *since < YOUNG => {
                        *catching_up = None;
                        if known.check.deafness().is_none() {
                            self.pending.push_back(Signal::Resumed);
                        }
                        self.pending.push_back(live(&known.check));
                    }
                    Some(since) if is_last => *since = now,
                    _ => {}
                }
            }
            News::Checked(now) => {
                let before = std::mem::replace(&mut known.check, now);
                match catching_up {
                    Some(_) => self.pending.extend(restored(&before, &known.check)),
                    None => self.pending.extend(compare(&before, &known.check)),
                }
            }
        }
    }

    /// Drops what is left of the session and schedules the next attempt.
    fn lose(&mut self, error: Error) -> Signal {
        if error.is_history()
            && let Some(known) = &mut self.known
        {
            known.place = None;
        }
        let mut opened = None;
        if let State::Open { session, since, .. } = &self.state {
            opened = Some(*since);
            // Perhaps because it is more than comes through before the heartbeat loses patience.
            if session.has_not_read_a_page() {
                self.page_size = (self.page_size / 4).max(1);
            }
        }
        self.state = State::Waiting {
            until: self.attempts.next(&self.settings.terms, opened, &error),
        };
        Signal::Down(error)
    }
}

impl Source for OutboxSource {
    async fn next(&mut self) -> Signal {
        loop {
            if let Some(signal) = self.pending.pop_front() {
                return signal;
            }
            match &mut self.state {
                State::Waiting { until } => {
                    sleep_until(*until).await;
                    self.state = State::Connecting {
                        opening: self.connect(),
                    };
                }
                State::Connecting { opening } => match opening.await {
                    Ok(opened) => self.opened(opened),
                    Err(error) => return self.lose(error),
                },
                State::Open { session, .. } => match session.next().await {
                    Ok(news) => self.take_in(news),
                    Err(error) => return self.lose(error),
                },
            }
        }
    }
}

/// What to say when nothing is missing but, perhaps, triggers.
fn live(check: &Check) -> Signal {
    check.deafness().map_or(Signal::Live, Signal::Down)
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waiting { until } => f.debug_struct("Waiting").field("until", until).finish(),
            Self::Connecting { .. } => f.write_str("Connecting"),
            Self::Open {
                since, catching_up, ..
            } => f
                .debug_struct("Open")
                .field("since", since)
                .field("catching_up", catching_up)
                .finish(),
        }
    }
}
