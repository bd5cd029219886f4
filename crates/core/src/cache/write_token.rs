//! Reading one's own write: waiting until a commit has been applied to a cache.
//!
//! ```text
//!   token taken ── announced in the transaction ── commit ──► NOTIFY, behind the transaction's own events
//!                                                                │
//!   applied() waits ◄── the driver comes upon it, and nothing before it is held any more
//! ```
//!
//! Notifications arrive in the order of commits, and those of one transaction in the order of their sending: once the
//! token has arrived, so has every event of what the transaction wrote before announcing it. If a resync comes between, the token may be lost with
//! it; but then everything was invalidated, and `applied` sees to it that this happened after the commit.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::error::{Error, Kind, Result};
use crate::event::{Event, Key};
use crate::name::{ChannelName, TableName};

/// The table that tokens pretend to come from.
pub(super) const SCHEMA: &str = "pgherald";
pub(super) const TABLE: &str = "write_token";

/// How often to see whether there still is something to wait for.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

const SQL: &str = "SELECT pg_catalog.pg_notify($1, $2)";

/// What a writer takes to see its own commit in a cache.
///
/// Taken before the commit, announced in the transaction after its last write, waited for after the commit. (What
/// deferred triggers write comes later still, and is not waited for.) It may also be announced by itself, after the
/// commit. Where only the keys that
/// were written matter, calling [`invalidate`](super::CacheHandle::invalidate) for them after the commit does
/// as well, without waiting.
///
/// It is a notification, and says nothing of changes that are recorded in the outbox. A cache on a table in
/// [outbox mode](crate::trigger::TriggerSpec::outbox) has no use for it: there, invalidate the keys after the commit.
///
/// ```no_run
/// # async fn example(users: &pgherald_core::cache::CacheHandle<i64, String>, client: &mut tokio_postgres::Client)
/// #     -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
///
/// let transaction = client.transaction().await?;
/// transaction.execute("UPDATE users SET name = 'Ada' WHERE id = 7", &[]).await?;
/// let token = users.write_token();
/// token.announce(&transaction).await?;
/// transaction.commit().await?;
/// token.applied(Duration::from_secs(1)).await?; // from here on, reads see Ada
/// # Ok(())
/// # }
/// ```
#[must_use = "announce it in the transaction, and wait for it after the commit"]
pub struct WriteToken {
    id: u128,
    marks: Arc<Marks>,
    channel: ChannelName,
    cache: Box<dyn Cache>,
}

/// What a token asks of its cache, whatever its types are.
pub(super) trait Cache: Send + Sync {
    /// Invalidates everything.
    fn flush(&self);

    /// Whether it answers as if it were the database.
    fn is_open(&self) -> bool;

    /// Whether reads go past it at the moment.
    fn is_bypassed(&self) -> bool;
}

impl WriteToken {
    pub(super) fn new(marks: &Arc<Marks>, channel: ChannelName, cache: Box<dyn Cache>) -> Self {
        let id = fastrand::u128(..);
        marks.expect(id);
        Self {
            id,
            marks: Arc::clone(marks),
            channel,
            cache,
        }
    }

    /// Announces it, in the transaction whose commit is to be waited for, after the last statement that writes.
    ///
    /// # Errors
    /// If the statement fails.
    pub async fn announce(&self, transaction: &impl tokio_postgres::GenericClient) -> Result<()> {
        let (channel, payload) = self.parameters();
        transaction
            .query_one(SQL, &[&channel, &payload])
            .await
            .map(drop)
            .map_err(|cause| {
                Error::with_source(Kind::Query, "cannot announce a write token", cause)
            })
    }

    /// The statement that [`announce`](Self::announce) executes, for other database libraries.
    #[must_use]
    pub const fn sql() -> &'static str {
        SQL
    }

    /// The two parameters of [`sql`](Self::sql), both text.
    #[must_use]
    pub fn parameters(&self) -> (&str, String) {
        let sent_at = jiff::Timestamp::now();
        let payload = format!(
            "{{\"v\":1,\"operation\":\"insert\",\"schema\":\"{SCHEMA}\",\"table\":\"{TABLE}\",\
             \"sent_at\":\"{sent_at}\",\"key\":[\"id\"],\"keys\":[\"{:032x}\"]}}",
            self.id
        );
        (self.channel.as_str(), payload)
    }

    /// Waits until everything up to the commit has taken effect in the cache: reads that begin afterwards see it. To be
    /// called after the commit.
    ///
    /// A strategy that holds events back makes this wait as long; events that it ignores have no effect. Returns at once while reads go past the
    /// cache, because then they see the database. A cache with [`Refresh`](super::Refresh) may still serve what was
    /// before; there, [`invalidate`](super::CacheHandle::invalidate) helps.
    ///
    /// # Errors
    /// If that is not so after `limit`: the listener is behind, or does not listen to the channel the token was
    /// announced on. At once, if the changes of a table that the cache depends on are recorded in the outbox.
    pub async fn applied(self, limit: Duration) -> Result<()> {
        if let Some(table) = self.marks.outrun.get() {
            let message = format!(
                "a write token would not wait for changes of {table}, which are recorded in the outbox; call \
                 invalidate() for the keys after the commit instead"
            );
            return Err(Error::new(Kind::Config, message));
        }
        if self.cache.is_bypassed() {
            // It may be about to open; and what was read before the commit must not come in then.
            self.cache.flush();
            return Ok(());
        }
        let Some(reached) = self.marks.wait_for(self.id) else {
            // A resync came between taking the token and now. It may have swallowed the token, and it is not known
            // whether that was before the commit.
            self.cache.flush();
            return Ok(());
        };
        let arrived = async {
            // The source may go down meanwhile, and reads past the cache with it.
            while tokio::time::timeout(LOOK_AGAIN, reached.notified())
                .await
                .is_err()
            {
                if self.cache.is_bypassed() {
                    return self.cache.flush();
                }
            }
            if !self.cache.is_open() {
                // It serves what was before, up to some age; and of what is announced now, some may be missing.
                self.cache.flush();
            }
        };
        if tokio::time::timeout(limit, arrived).await.is_ok() {
            return Ok(());
        }
        if self.cache.is_bypassed() {
            self.cache.flush();
            return Ok(());
        }
        let message = format!(
            "a write was not applied to the cache within {limit:?} (announced on channel {:?})",
            self.channel.as_str()
        );
        Err(Error::new(Kind::Deadline, message))
    }
}

impl Drop for WriteToken {
    fn drop(&mut self) {
        self.marks.forget(self.id);
    }
}

impl fmt::Debug for WriteToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteToken")
            .field("id", &format_args!("{:032x}", self.id))
            .field("channel", &self.channel)
            .finish_non_exhaustive()
    }
}

/// The token that an event announces, if it announces one.
pub(super) fn token_of(event: &Event) -> Option<u128> {
    let announces = event.table() == TABLE && event.schema() == Some(SCHEMA);
    let text = announces.then(|| event.key().and_then(String::from_row_key))??;
    u128::from_str_radix(&text, 16).ok()
}

/// The tokens that somebody has taken from a cache, and what became of them.
#[derive(Debug, Default)]
pub(super) struct Marks {
    taken: Mutex<HashMap<u128, Mark>>,
    /// A table of the cache whose changes come by another way than tokens, which would arrive before them.
    outrun: OnceLock<TableName>,
}

#[derive(Debug)]
struct Mark {
    /// Holds a permit once the token was reached.
    reached: Arc<Notify>,
    waited_for: bool,
    /// Everything was invalidated for a resync before anybody waited.
    resynced: bool,
}

impl Marks {
    /// Tells that changes of `table`, on which the cache depends, are recorded in the outbox.
    pub(super) fn outrun(&self, table: &TableName) {
        // One that is named is enough.
        let _ = self.outrun.set(table.clone());
    }

    fn expect(&self, id: u128) {
        let mark = Mark {
            reached: Arc::default(),
            waited_for: false,
            resynced: false,
        };
        self.taken.lock().insert(id, mark);
    }

    /// What to wait for; `None` if a resync came first.
    fn wait_for(&self, id: u128) -> Option<Arc<Notify>> {
        let mut marks = self.taken.lock();
        let mark = marks.get_mut(&id)?;
        mark.waited_for = true;
        (!mark.resynced).then(|| Arc::clone(&mark.reached))
    }

    fn forget(&self, id: u128) {
        self.taken.lock().remove(&id);
    }

    /// Whether somebody took this token from this cache, and still has it.
    pub(super) fn is_expected(&self, id: u128) -> bool {
        self.taken.lock().contains_key(&id)
    }

    /// The events before the token have taken effect.
    pub(super) fn reached(&self, id: u128) {
        if let Some(mark) = self.taken.lock().get(&id) {
            mark.reached.notify_one();
        }
    }

    /// Tokens may have been lost. If anybody waits for one, everything has to be invalidated now.
    pub(super) fn resyncing(&self) -> Resyncing {
        let mut waiting = Vec::new();
        for mark in self.taken.lock().values_mut() {
            match mark.waited_for {
                // The commit was before the wait, which was before the flush.
                true => waiting.push(Arc::clone(&mark.reached)),
                false => mark.resynced = true,
            }
        }
        Resyncing(waiting)
    }
}

/// Those who waited for a token before everything was invalidated.
#[must_use]
pub(super) struct Resyncing(Vec<Arc<Notify>>);

impl Resyncing {
    /// Whether nobody did.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Everything was invalidated.
    pub(super) fn done(self) {
        for reached in self.0 {
            reached.notify_one();
        }
    }
}
