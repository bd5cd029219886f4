//! Waiting until a cache has applied a commit of the caller's own.
//!
//! ```text
//!   token taken ── announced in the transaction ── commit ──► NOTIFY, behind the transaction's own events
//!                                                                │
//!   applied() waits ◄── the driver handles it, once it holds no event that came before it
//! ```
//!
//! Notifications arrive in the order of commits, and those of one transaction in the order in which they were sent. So
//! when the token arrives, every event of the transaction's writes before the announcement has arrived. If a resync
//! comes between, the token may be lost. The resync invalidates everything, and `applied` makes sure that this happens
//! after the commit.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, Key};
use crate::name::{ChannelName, TableName};

/// The table that tokens appear to come from.
pub(super) const SCHEMA: &str = "pgherald";
pub(super) const TABLE: &str = "write_token";

/// The interval at which to check whether reads bypass the cache.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

const SQL: &str = "SELECT pg_catalog.pg_notify($1, $2)";

/// Lets a writer wait until a cache has applied its commit.
///
/// Take it before the commit, announce it in the transaction after the last write, and wait for it after the commit.
/// The announcement may also be made after the commit, on its own. Writes of deferred triggers come after the
/// announcement and are not waited for. If only the keys that were written matter, call
/// [`invalidate`](crate::CacheHandle::invalidate) for them after the commit: that needs no wait.
///
/// The token is a notification, so it does not wait for changes that are recorded in the outbox. For a table in [outbox
/// mode](crate::trigger::TriggerSpec::outbox), invalidate the keys after the commit instead.
///
/// ```no_run
/// # async fn example(users: &pgherald_core::CacheHandle<i64, String>, client: &mut tokio_postgres::Client)
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

/// The operations of a cache that a token needs, independent of the cache's types.
pub(super) trait Cache: Send + Sync {
    /// Invalidates everything.
    fn flush(&self);

    /// Whether cached values may be served as current.
    fn is_open(&self) -> bool;

    /// Whether reads bypass it at the moment.
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

    /// Announces the token in the transaction whose commit the caller waits for, after the last statement that writes.
    ///
    /// # Errors
    /// If the statement fails.
    pub async fn announce(&self, transaction: &impl tokio_postgres::GenericClient) -> Result<()> {
        let (channel, payload) = self.parameters();
        transaction
            .query_one(SQL, &[&channel, &payload])
            .await
            .map(drop)
            .map_err(|cause| Error::of_statement("cannot announce a write token", cause))
    }

    /// Returns the statement that [`announce`](Self::announce) executes, for other database libraries.
    #[must_use]
    pub const fn sql() -> &'static str {
        SQL
    }

    /// Returns the two parameters of [`sql`](Self::sql), both text.
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

    /// Waits until everything up to the commit has taken effect in the cache: reads that begin afterwards see it. Call
    /// it after the commit.
    ///
    /// It waits as long as a strategy holds events. It does not wait for events that a strategy ignores, because they
    /// have no effect. It returns at once while reads bypass the cache, because they then read the database. A cache
    /// with [`Refresh`](crate::Refresh) may still serve the old values: use
    /// [`invalidate`](crate::CacheHandle::invalidate) there.
    ///
    /// # Errors
    /// If the token did not arrive within `limit`: the listener is behind, or does not listen to the channel on which
    /// the token was announced. At once, if the changes of a table that the cache depends on are recorded in the
    /// outbox.
    pub async fn applied(self, limit: Duration) -> Result<()> {
        if let Some(table) = self.marks.outrun.get() {
            let message = format!(
                "a write token would not wait for changes of {table}, which are recorded in the outbox; call \
                 invalidate() for the keys after the commit instead"
            );
            return Err(Error::new(ErrorKind::Config, message));
        }
        if self.cache.is_bypassed() {
            // The cache may be about to answer. It must not keep values that were read before the commit.
            self.cache.flush();
            return Ok(());
        }
        let Some(reached) = self.marks.wait_for(self.id) else {
            // A resync came since the token was taken. The token may be lost, and the resync may have come before the
            // commit.
            self.cache.flush();
            return Ok(());
        };
        let arrived = async {
            // The source may go down meanwhile, and reads then bypass the cache.
            while tokio::time::timeout(LOOK_AGAIN, reached.notified())
                .await
                .is_err()
            {
                if self.cache.is_bypassed() {
                    return self.cache.flush();
                }
            }
            if !self.cache.is_open() {
                // The cache serves values from before, up to an age, and tokens announced now may be lost.
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
        Err(Error::new(ErrorKind::Timeout, message))
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

/// Returns the token that an event announces, if any.
pub(super) fn token_of(event: &Event) -> Option<u128> {
    let announces = event.table() == TABLE && event.schema() == Some(SCHEMA);
    let text = announces.then(|| event.key().and_then(String::from_row_key))??;
    u128::from_str_radix(&text, 16).ok()
}

/// The tokens that were taken from a cache, and their state.
#[derive(Debug, Default)]
pub(super) struct Marks {
    taken: Mutex<HashMap<u128, Mark>>,
    /// A table of the cache whose changes do not come with tokens, but by the outbox, and may arrive after them.
    outrun: OnceLock<TableName>,
}

#[derive(Debug)]
struct Mark {
    /// Holds a permit once the token was reached.
    reached: Arc<Notify>,
    waited_for: bool,
    /// Everything was invalidated for a resync before `applied` was called.
    resynced: bool,
}

impl Marks {
    /// Records that changes of `table`, on which the cache depends, are in the outbox.
    pub(super) fn outrun(&self, table: &TableName) {
        // The error names only one such table.
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

    /// Returns what to wait for; `None` if a resync came first.
    fn wait_for(&self, id: u128) -> Option<Arc<Notify>> {
        let mut marks = self.taken.lock();
        let mark = marks.get_mut(&id)?;
        mark.waited_for = true;
        (!mark.resynced).then(|| Arc::clone(&mark.reached))
    }

    fn forget(&self, id: u128) {
        self.taken.lock().remove(&id);
    }

    /// Whether this token was taken from this cache, and was not dropped.
    pub(super) fn is_expected(&self, id: u128) -> bool {
        self.taken.lock().contains_key(&id)
    }

    /// Records that the events before the token have taken effect.
    pub(super) fn reached(&self, id: u128) {
        if let Some(mark) = self.taken.lock().get(&id) {
            mark.reached.notify_one();
        }
    }

    /// Records that tokens may have been lost. If the result is not empty, everything must be invalidated now.
    pub(super) fn resyncing(&self) -> Resyncing {
        let mut waiting = Vec::new();
        for mark in self.taken.lock().values_mut() {
            match mark.waited_for {
                // The commit came before the wait, and the wait before the flush.
                true => waiting.push(Arc::clone(&mark.reached)),
                false => mark.resynced = true,
            }
        }
        Resyncing(waiting)
    }
}

/// The waits for tokens that began before everything was invalidated.
#[must_use]
pub(super) struct Resyncing(Vec<Arc<Notify>>);

impl Resyncing {
    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Wakes them, after everything was invalidated.
    pub(super) fn done(self) {
        for reached in self.0 {
            reached.notify_one();
        }
    }
}
