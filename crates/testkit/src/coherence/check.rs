//! The builder of a check.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use pgherald_actors::ListenerActor;
use pgherald_core::__private::host::events::{Split, Watches};
use pgherald_core::NotifySourceBuilder;
use pgherald_core::trigger::TriggerSpec;

use super::faults::Custom;
use super::followers::Followers;
use super::settings::{NotLive, Settings};
use super::stage::{MakeListener, Stage, source};
use super::{CoherenceContext, CoherenceReport, Fault, Subject, lifecycle};
use crate::Error;

/// How often the outbox is read without a wake-up. Short, so that a missed wake-up does not delay the check.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Configures and runs a check of a cache's coherence; see the [module](super) for its rules and an example.
///
/// The check ends when the configured numbers of reads and faults, and the duration, have been reached.
#[must_use = "call run() to run the check"]
pub struct CoherenceCheck {
    settings: Settings,
    listener: MakeListener,
    custom: Option<Custom>,
}

impl Default for CoherenceCheck {
    fn default() -> Self {
        Self::new()
    }
}

impl CoherenceCheck {
    /// Makes a check with 10,000 reads and 10 faults on 100 keys, by 6 readers on two threads and 2 writers, with a random
    /// seed.
    pub fn new() -> Self {
        Self {
            settings: Settings::default(),
            listener: on_the_source(of_either_mode),
            custom: None,
        }
    }

    /// Sets the seed of the random choices. The same seed repeats the choices of another check, but not always its outcome,
    /// which also depends on threads and network.
    pub fn seed(mut self, seed: u64) -> Self {
        self.settings.seed = seed;
        self
    }

    /// Sets the number of rows. Half of the reads and writes concern the first four.
    pub fn keys(mut self, keys: u32) -> Self {
        self.settings.keys = keys.into();
        self
    }

    /// Sets the number of readers, on all threads together.
    pub fn readers(mut self, readers: usize) -> Self {
        self.settings.readers = readers;
        self
    }

    /// Sets the number of reader threads, besides the thread of the check, the listener and the writers. Default: 1.
    pub fn threads(mut self, threads: usize) -> Self {
        self.settings.threads = threads;
        self
    }

    /// Sets the number of writers.
    pub fn writers(mut self, writers: usize) -> Self {
        self.settings.writers = writers;
        self
    }

    /// Sets the number of reads before the check ends.
    pub fn reads(mut self, reads: u64) -> Self {
        self.settings.reads = reads;
        self
    }

    /// Sets the number of faults before the check ends. Each [kind](Self::kinds) occurs if this is at least the number of
    /// kinds. Faults that could not be injected do not count.
    pub fn faults(mut self, faults: u64) -> Self {
        self.settings.faults = faults;
        self
    }

    /// Sets the kinds of faults. They are injected in rounds: each round has every kind once, in random order. Default: all.
    pub fn kinds(mut self, kinds: impl IntoIterator<Item = Fault>) -> Self {
        self.settings.kinds.clear();
        for kind in kinds {
            if !self.settings.kinds.contains(&kind) {
                self.settings.kinds.push(kind);
            }
        }
        self
    }

    /// Adds faults of something between the database and the listener, such as a distributor. They are injected like the others.
    ///
    /// `inject` gets the name of the fault to inject, or `None` to end all of them: it then waits until everything runs again. A
    /// fault lasts until then, and the listener must not stay live.
    pub fn custom_faults<I, E>(
        mut self,
        names: impl IntoIterator<Item = &'static str>,
        inject: impl Fn(Option<&'static str>) -> I + 'static,
    ) -> Self
    where
        I: Future<Output = Result<(), E>> + 'static,
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        let names = names.into_iter().map(Fault::Custom);
        self.settings.kinds.extend(names);
        self.custom = Some(Box::new(move |fault| {
            let outcome = inject(fault);
            Box::pin(async move {
                let failed = || fault.unwrap_or("the end of custom faults");
                let cannot = format!("cannot inject {}", failed());
                outcome.await.map_err(Error::during(cannot))
            })
        }));
        self
    }

    /// Sets the shortest duration of the check. Default: zero.
    pub fn duration(mut self, duration: Duration) -> Self {
        self.settings.duration = duration;
        self
    }

    /// Sets the time limit of a read, write or confirmation (R4). Loads fail after half of it. Default: 10 s.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.settings.deadline = deadline;
        self
    }

    /// Sets how old an answer may be while the source is live. Set it for a source that keeps the order of changes only per key: then the
    /// arrival of one row's last change says nothing of other rows, so they are compared until they agree, up to this time. Default: 0.
    pub fn max_lag(mut self, max_lag: Duration) -> Self {
        self.settings.max_lag = max_lag;
        self
    }

    /// Sets the capacity of the queue in [`CoherenceContext::subscription`]. Default: 16 events.
    pub fn capacity(mut self, events: usize) -> Self {
        self.settings.capacity = events;
        self
    }

    /// Sets what the subject may return while its source is not live (R3). Default: [`NotLive::Bypass`].
    pub fn when_not_live(mut self, policy: NotLive) -> Self {
        self.settings.not_live = policy;
        self
    }

    /// Also checks R7: after an outage, the cache must not answer before it has discarded values that may be outdated.
    ///
    /// For caches that store nothing while the source is not live. A cache that opens by the listener's health, but learns
    /// of the end of the outage through a mailbox or queue, violates this rule.
    pub fn reopening(mut self) -> Self {
        self.settings.reopening = true;
        self
    }

    /// Uses outbox mode: changes are recorded in the outbox and read from there.
    ///
    /// Do not combine this with [`reopening`](Self::reopening): after an outage in outbox mode, a cache opens when it has
    /// applied the changes up to shortly before, not all of them.
    pub fn outbox(mut self) -> Self {
        self.settings.outbox = true;
        self
    }

    /// Also checks R8: handlers must not read versions through the subject that are older than their event.
    ///
    /// For caches with a [`CacheDriver`](pgherald_core::CacheDriver). Only these apply events before handlers receive them.
    pub fn handlers(mut self) -> Self {
        self.settings.handlers = true;
        self
    }

    /// Ends the check at the first violation, or after `limit`, regardless of the other settings. For tests that expect a
    /// violation.
    pub fn until_violation(mut self, limit: Duration) -> Self {
        self.settings.until_violation = Some(limit);
        self
    }

    /// Sets the function that makes the listener. For example, to wrap the given source.
    pub fn listener(
        mut self,
        make: impl FnOnce(NotifySourceBuilder) -> pgherald_core::Result<ListenerActor> + 'static,
    ) -> Self {
        self.listener = on_the_source(make);
        self
    }

    /// Sets the function that makes the listener, from the URL of the database and the triggers of the table. For example, to
    /// listen through another process. The connection behind the listener must use this URL, on which faults act, and should detect
    /// faults and reconnect within a second.
    pub fn listener_at(
        mut self,
        make: impl FnOnce(&str, TriggerSpec) -> pgherald_core::Result<ListenerActor> + 'static,
    ) -> Self {
        self.listener = Box::new(make);
        self
    }

    /// Starts server, proxy and listener, makes the subject, and checks it. Needs an actix system. The check runs on the
    /// current arbiter.
    ///
    /// # Errors
    /// If the setup or `make` fails, the server does not restart, or a fault cannot be injected. Violations are no errors: they
    /// are in the report.
    pub async fn run<S, E>(
        self,
        make: impl AsyncFnOnce(CoherenceContext) -> Result<S, E>,
    ) -> Result<CoherenceReport, Error>
    where
        S: Subject,
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        // Boxed, because these futures are large and would be a part of the test's future.
        let stage = Stage::set_up(self.settings.checked()?, self.listener, self.custom);
        let stage = Box::pin(stage).await?;
        // Before the cache is registered: it must apply events first even if the handlers have subscribed earlier.
        let followers = match stage.run.settings.handlers {
            true => Some(Followers::start(&stage).await?),
            false => None,
        };
        let subject = Box::pin(make(stage.context()))
            .await
            .map_err(Error::during("cannot make the subject"))?;
        stage.live().await?;
        Box::pin(lifecycle::run(stage, subject, followers)).await
    }
}

fn on_the_source(
    make: impl FnOnce(NotifySourceBuilder) -> pgherald_core::Result<ListenerActor> + 'static,
) -> MakeListener {
    Box::new(|url, spec| make(source(url)?.watch(spec)))
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
