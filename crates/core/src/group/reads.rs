//! Reads the outbox for all consumers of a link.
//!
//! Consumers that are caught up are at the same position, the *tail*. They look for new rows at short intervals after an event.
//! One look serves all of them, and so does one page:
//!
//! - A consumer that is behind the tail reads up to the tail, so it is in step with the others after that.
//! - While several consumers share the link, pages at the tail are read with all keys and kept for a while. Each consumer gets
//!   its share of them.
//! - A look that found nothing also answers the requests of other consumers that were made before it, or within [`LOOK`] after it
//!   began, unless a wake-up has arrived since. Idle consumers make their requests at the same moments.
//! - When one consumer finds rows, the others are notified.
//!
//! One task owns this state. It reads for one consumer at a time. A single consumer reads as if it had a reader of its own.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_postgres::Client;

use super::members::{Member, Members};
use crate::error::{Error, ErrorKind, Result};
use crate::outbox::{
    Cursor, Difference, OutboxReader, PageRows, Point, Reading, Recorded, Rows, Share,
};

/// For how long after the begin of a look that found nothing requests of other consumers need no look of their own.
const LOOK: Duration = Duration::from_millis(5);
/// The most pages that are kept, and the most bytes of them.
const MAX_PAGES: usize = 32;
const MAX_BYTES: usize = 8 << 20;
/// The most consumers that may wait for the task.
const QUEUE: usize = 64;

/// What to read, see [`OutboxReader::rows`].
pub(super) struct Request {
    pub(super) cursor: Cursor,
    pub(super) share: Share,
    pub(super) until: Option<Point>,
    pub(super) limit: usize,
    pub(super) requested_at: Instant,
    pub(super) member: Arc<Member>,
}

/// The handle of the task. The task ends with it.
pub(super) struct Reads(mpsc::Sender<(Request, oneshot::Sender<Result<Rows>>)>);

impl Reads {
    /// Starts the task on the current runtime.
    pub(super) fn new(client: Arc<Client>, members: Arc<Members>) -> Self {
        let (requests, mut received) = mpsc::channel(QUEUE);
        let mut tail = Tail::new(OutboxReader::new(client), members);
        tokio::spawn(async move {
            while let Some((request, answer)) = received.recv().await {
                let answer: oneshot::Sender<Result<Rows>> = answer;
                if !answer.is_closed() {
                    // Fails if the consumer has gone.
                    let _ = answer.send(tail.rows(request).await);
                }
            }
        });
        Self(requests)
    }

    pub(super) async fn rows(&self, request: Request) -> Result<Rows> {
        let ended = || {
            Error::new(
                ErrorKind::Disconnected,
                "the reader of the outbox has ended",
            )
        };
        let (answer, answered) = oneshot::channel();
        let sent = self.0.send((request, answer)).await;
        sent.map_err(|_| ended())?;
        answered.await.unwrap_or_else(|_| Err(ended()))
    }
}

struct Tail {
    reader: OutboxReader,
    members: Arc<Members>,
    /// The furthest point of a consumer.
    furthest: Option<Point>,
    /// The difference that ends at `furthest`, if it was found here.
    last: Option<(Point, Point)>,
    pages: VecDeque<Kept>,
    nothing: Option<Nothing>,
}

/// A page of all keys.
struct Kept {
    done: Point,
    reading: Reading,
    page: PageRows,
    bytes: usize,
}

/// A look at the furthest point that found nothing.
struct Nothing {
    at: Point,
    began: Instant,
    wake_ups: u64,
    closed: i64,
    trimmed: i64,
    member: Arc<Member>,
}

impl Tail {
    fn new(reader: OutboxReader, members: Arc<Members>) -> Self {
        Self {
            reader,
            members,
            furthest: None,
            last: None,
            pages: VecDeque::new(),
            nothing: None,
        }
    }

    async fn rows(&mut self, request: Request) -> Result<Rows> {
        if !self.members.are_several() {
            self.pages.clear();
            let Request {
                cursor,
                share,
                until,
                limit,
                ..
            } = request;
            return self
                .reader
                .rows(&cursor, &share, until.as_ref(), limit)
                .await;
        }
        let done = request.cursor.done.clone();
        let reading = match (request.cursor.reading.clone(), request.until.clone()) {
            (Some(reading), _) => reading,
            (None, Some(until)) => Reading::of(until),
            (None, None) => match self.look(&done, &request).await? {
                Difference::Something(to) => Reading::of(to),
                Difference::Nothing { closed, trimmed } => {
                    return Ok(request.cursor.found_nothing(closed, trimmed));
                }
            },
        };
        if let Some(kept) = self.kept(&done, &reading, request.limit) {
            let page = kept.page.of(&request.share);
            return Ok(request.cursor.after(reading, page));
        }
        let is_last = |(from, to): &(Point, Point)| from.is_at(&done) && to.is_at(&reading.to);
        let is_shared = request.share.is_everything() || self.last.as_ref().is_some_and(is_last);
        let share = match is_shared {
            true => Share::all(),
            false => request.share.clone(),
        };
        let page = self
            .reader
            .page(&done, &reading, &share, request.limit)
            .await?;
        if !is_shared {
            return Ok(request.cursor.after(reading, page));
        }
        if !page.rows.is_empty() {
            self.members.found(&request.member);
        }
        let part = page.of(&request.share);
        self.keep(done, reading.clone(), page);
        Ok(request.cursor.after(reading, part))
    }

    /// Returns the end of the next difference.
    async fn look(&mut self, done: &Point, request: &Request) -> Result<Difference> {
        let member = &request.member;
        let is_furthest = match &self.furthest {
            Some(furthest) if done.is_at(furthest) => true,
            // If the points are not in order, the server's history has changed, which the reader finds out.
            Some(furthest) if done.is_before(furthest) && furthest.check_follows(done).is_ok() => {
                return Ok(Difference::Something(furthest.clone()));
            }
            Some(furthest) => furthest.is_before(done),
            None => true,
        };
        if !is_furthest {
            return self.reader.difference(done).await;
        }
        let wake_ups = self.members.wake_ups();
        if let Some(nothing) = &self.nothing
            && nothing.at.is_at(done)
            && nothing.wake_ups == wake_ups
            && request.requested_at < nothing.began + LOOK
            // The consumer itself looks again when it likes.
            && !Arc::ptr_eq(&nothing.member, member)
        {
            return Ok(Difference::Nothing {
                closed: nothing.closed,
                trimmed: nothing.trimmed,
            });
        }
        let began = Instant::now();
        let found = self.reader.difference(done).await?;
        // Not before: a position that is ahead of the server is an error, and must not mislead the others.
        if self
            .furthest
            .as_ref()
            .is_none_or(|furthest| !done.is_at(furthest))
        {
            self.move_to(done.clone(), None);
        }
        match &found {
            Difference::Something(to) => self.move_to(to.clone(), Some(done.clone())),
            Difference::Nothing { closed, trimmed } => {
                self.nothing = Some(Nothing {
                    at: done.clone(),
                    began,
                    wake_ups,
                    closed: *closed,
                    trimmed: *trimmed,
                    member: Arc::clone(member),
                });
            }
        }
        Ok(found)
    }

    fn move_to(&mut self, furthest: Point, from: Option<Point>) {
        self.last = from.map(|from| (from, furthest.clone()));
        self.furthest = Some(furthest);
        self.nothing = None;
    }

    fn kept(&self, done: &Point, reading: &Reading, limit: usize) -> Option<&Kept> {
        self.pages.iter().find(|kept| {
            kept.done.is_at(done)
                && kept.reading.to.is_at(&reading.to)
                && kept.reading.position == reading.position
                && kept.page.rows.len() <= limit
        })
    }

    fn keep(&mut self, done: Point, reading: Reading, page: PageRows) {
        let bytes = page.rows.iter().map(Recorded::bytes).sum();
        if bytes > MAX_BYTES {
            return;
        }
        let mut sum: usize = self.pages.iter().map(|kept| kept.bytes).sum();
        while self.pages.len() >= MAX_PAGES || sum + bytes > MAX_BYTES {
            let Some(oldest) = self.pages.pop_front() else {
                break;
            };
            sum -= oldest.bytes;
        }
        self.pages.push_back(Kept {
            done,
            reading,
            page,
            bytes,
        });
    }
}
