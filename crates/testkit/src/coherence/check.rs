//! What is asked for, step by step.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use pgherald_actors::ListenerActor;
use pgherald_core::NotifySourceBuilder;
use pgherald_core::trigger::TriggerSpec;

use super::followers::Followers;
use super::settings::{NotLive, Settings};
use super::stage::Stage;
use super::{CoherenceContext, CoherenceReport, Fault, Subject, course};
use crate::Error;

/// How often the outbox is looked into, so that what nobody was woken up for does not hold up the check.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

pub(super) type MakeListener =
    Box<dyn FnOnce(NotifySourceBuilder) -> pgherald_core::Result<ListenerActor> + 'static>;

/// Describes a check of a cache's coherence; see the [module](super) for what it is and an example.
///
/// It ends when reads, faults and duration have all been reached.
#[must_use = "call run() to run the check"]
pub struct CoherenceCheck {
    settings: Settings,
    listener: MakeListener,
}

impl Default for CoherenceCheck {
    fn default() -> Self {
        Self::new()
    }
}

impl CoherenceCheck {
    /// 10,000 reads and 10 faults on 100 keys, by 6 readers on two threads and 2 writers; a seed by chance.
    pub fn new() -> Self {
        Self {
            settings: Settings::default(),
            listener: Box::new(of_either_mode),
        }
    }

    /// Makes the same random choices as another check. Threads and network add chance of their own: a seed
    /// repeats what was tried, not always what came of it.
    pub fn seed(mut self, seed: u64) -> Self {
        self.settings.seed = seed;
        self
    }

    /// How many rows there are. Half of reads and writes are about the first four.
    pub fn keys(mut self, keys: u32) -> Self {
        self.settings.keys = keys.into();
        self
    }

    /// How many readers there are, on all threads together.
    pub fn readers(mut self, readers: usize) -> Self {
        self.settings.readers = readers;
        self
    }

    /// How many threads read besides the one that the check, listener and writers run on. Default: 1.
    pub fn threads(mut self, threads: usize) -> Self {
        self.settings.threads = threads;
        self
    }

    /// How many writers there are.
    pub fn writers(mut self, writers: usize) -> Self {
        self.settings.writers = writers;
        self
    }

    /// How many reads there must have been.
    pub fn reads(mut self, reads: u64) -> Self {
        self.settings.reads = reads;
        self
    }

    /// How many faults there must have been. With as many as there are [kinds](Self::kinds), or more, each
    /// kind occurs. One that fails does not count.
    pub fn faults(mut self, faults: u64) -> Self {
        self.settings.faults = faults;
        self
    }

    /// Which faults there are. They come in rounds, each of which has every kind once, in an order by chance.
    /// Default: all.
    pub fn kinds(mut self, kinds: impl IntoIterator<Item = Fault>) -> Self {
        self.settings.kinds.clear();
        for kind in kinds {
            if !self.settings.kinds.contains(&kind) {
                self.settings.kinds.push(kind);
            }
        }
        self
    }

    /// How long it must have taken. Default: as long as it takes.
    pub fn duration(mut self, duration: Duration) -> Self {
        self.settings.duration = duration;
        self
    }

    /// How long a read or write may take (R4); loads are given up after half of it. Default: 10 s.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.settings.deadline = deadline;
        self
    }

    /// The capacity of the queue in [`CoherenceContext::subscription`]. Default: 16 events.
    pub fn capacity(mut self, events: usize) -> Self {
        self.settings.capacity = events;
        self
    }

    /// What the subject may answer while its source is not live (R3). Default: [`NotLive::Bypass`].
    pub fn when_not_live(mut self, policy: NotLive) -> Self {
        self.settings.not_live = policy;
        self
    }

    /// Checks R7 as well: that the end of an outage opens the cache only when it has forgotten what the
    /// outage may have outdated.
    ///
    /// For caches that store nothing while the source is not live. One that learns of the end of an outage
    /// by its mailbox or queue, while it goes by the listener's health, does not keep to this.
    pub fn reopening(mut self) -> Self {
        self.settings.reopening = true;
        self
    }

    /// Records changes in the outbox, and reads them from there, instead of announcing them.
    ///
    /// Not together with [`reopening`](Self::reopening): there, the end of an outage opens a cache that knows of what was
    /// committed up to a moment before.
    pub fn outbox(mut self) -> Self {
        self.settings.outbox = true;
        self
    }

    /// Checks R8 as well: that handlers read nothing through the subject that is older than their event.
    ///
    /// For caches that are driven by a [`CacheDriver`](pgherald_core::CacheDriver): only these apply events before handlers
    /// receive them.
    pub fn handlers(mut self) -> Self {
        self.settings.handlers = true;
        self
    }

    /// Ends at the first violation, or after `limit` without one, whatever else was asked for. For tests
    /// that expect one.
    pub fn until_violation(mut self, limit: Duration) -> Self {
        self.settings.until_violation = Some(limit);
        self
    }

    /// Makes the listener in another way, with a source of one's own around the given one, say.
    pub fn listener(
        mut self,
        make: impl FnOnce(NotifySourceBuilder) -> pgherald_core::Result<ListenerActor> + 'static,
    ) -> Self {
        self.listener = Box::new(make);
        self
    }

    /// Starts server, proxy and listener, makes the subject, and checks it. Needs an actix system, whose
    /// current arbiter is the thread of the check.
    ///
    /// # Errors
    /// If something cannot be set up, the subject cannot be made, the server does not come back, or a fault
    /// cannot be brought about. What the subject does wrong is in the report.
    pub async fn run<S, E>(
        self,
        make: impl AsyncFnOnce(CoherenceContext) -> Result<S, E>,
    ) -> Result<CoherenceReport, Error>
    where
        S: Subject,
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        // Boxed: these are large, and a test's own future would hold them.
        let stage = Box::pin(Stage::set_up(self.settings.checked()?, self.listener)).await?;
        // Before the cache is registered: its order is no excuse.
        let followers = match stage.run.settings.handlers {
            true => Some(Followers::start(&stage).await?),
            false => None,
        };
        let subject = Box::pin(make(stage.context()))
            .await
            .map_err(Error::during("the subject cannot be made"))?;
        stage.live().await?;
        Box::pin(course::run(stage, subject, followers)).await
    }
}

fn of_either_mode(source: NotifySourceBuilder) -> pgherald_core::Result<ListenerActor> {
    Ok(match source.watched().iter().any(TriggerSpec::is_outbox) {
        false => ListenerActor::new(source.factory()?),
        true => ListenerActor::new(
            source
                .split_outbox()
                .1
                .poll_interval(POLL_INTERVAL)
                .factory()?,
        ),
    })
}

impl fmt::Debug for CoherenceCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CoherenceCheck")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
