//! The threads on which a herald's actors run.
//!
//! ```text
//!   under actix                               under plain tokio
//!   caches: an arbiter of their own           caches:   a thread ─┐ each runs a LocalSet
//!   handlers: the arbiter that started        handlers: a thread ─┘ on the program's runtime
//! ```
//!
//! Caches and handlers run on different threads, so a handler that blocks its thread delays no cache.
//!
//! Under plain tokio the threads use the runtime that starts the herald. So a connection that a handler or a loader takes from
//! a pool belongs to the program's runtime, and outlives the herald.
//!
//! Lifetime: a place ends with [`Place::stop`], or with the runtime that started it. A task on that runtime, the *tether*, holds
//! a guard: if the runtime drops the task, the guard ends the place.

use std::convert::Infallible;
use std::sync::Arc;
use std::thread;

use actix_rt::{Arbiter, ArbiterHandle};
use pgherald_core::__private::host::errors;
use pgherald_core::__private::host::handler::contained;
use pgherald_core::{Error, Result};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, LocalSet};

/// The number of jobs that may wait for a thread. The callers of further jobs wait.
const JOBS: usize = 16;

type Job = Box<dyn FnOnce() + Send>;

/// A thread on which actors can be started. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Place {
    jobs: Jobs,
    /// `None` for a thread that the herald did not start.
    tether: Option<Arc<Tether>>,
}

#[derive(Clone, Debug)]
enum Jobs {
    Arbiter(ArbiterHandle),
    Thread(mpsc::Sender<Job>),
}

/// The task that keeps a thread alive.
#[derive(Debug)]
struct Tether(AbortHandle);

impl Place {
    /// The arbiter of the current thread.
    pub(super) fn current() -> Option<Self> {
        Arbiter::try_current().map(|arbiter| Self {
            jobs: Jobs::Arbiter(arbiter),
            tether: None,
        })
    }

    /// Starts a thread for the actors of `role`.
    ///
    /// # Errors
    /// If the operating system refuses the thread, or neither an actix system nor a tokio runtime runs on this thread.
    pub(super) fn new(role: &str) -> Result<Self> {
        match Arbiter::try_current() {
            Some(_) => Self::new_arbiter(),
            None => Self::new_thread(role),
        }
    }

    fn new_arbiter() -> Result<Self> {
        let arbiter = Arbiter::try_new().map_err(errors::no_thread)?.handle();
        let guard = StopOnDrop(arbiter.clone());
        let tether = actix_rt::spawn(hold(guard));
        Ok(Self {
            jobs: Jobs::Arbiter(arbiter),
            tether: Some(Arc::new(Tether(tether.abort_handle()))),
        })
    }

    fn new_thread(role: &str) -> Result<Self> {
        let runtime = Handle::try_current().map_err(|_| errors::no_runtime())?;
        let (jobs, received) = mpsc::channel(JOBS);
        let (guard, ended) = oneshot::channel::<Infallible>();
        let tether = runtime.spawn(hold(guard));
        thread::Builder::new()
            .name(format!("pgherald {role}"))
            .spawn(move || {
                runtime.block_on(LocalSet::new().run_until(work(received, ended)));
            })
            .map_err(errors::no_thread)?;
        Ok(Self {
            jobs: Jobs::Thread(jobs),
            tether: Some(Arc::new(Tether(tether.abort_handle()))),
        })
    }

    /// Runs `job` on the thread, and returns its result.
    ///
    /// # Errors
    /// If the thread has ended, or the job panics.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let (sender, result) = oneshot::channel();
        let job: Job = Box::new(move || {
            // Fails if the caller was cancelled.
            let _ = sender.send(contained(job));
        });
        let is_sent = match &self.jobs {
            Jobs::Arbiter(arbiter) => arbiter.spawn_fn(job),
            Jobs::Thread(jobs) => jobs.send(job).await.is_ok(),
        };
        match is_sent {
            true => {
                let result = result.await.map_err(|_| Error::shut_down())?;
                result.map_err(|message| errors::start_panicked(&message))
            }
            false => Err(Error::shut_down()),
        }
    }

    /// Ends the thread and everything that runs on it, if the herald started it.
    pub(super) fn stop(&self) {
        if let Some(tether) = &self.tether {
            tether.0.abort();
        }
    }
}

/// Holds the guard until its task is aborted, or dropped by its runtime.
async fn hold<G>(guard: G) {
    let _guard = guard;
    std::future::pending::<()>().await;
}

/// Runs jobs until the tether's guard is dropped.
async fn work(mut jobs: mpsc::Receiver<Job>, ended: oneshot::Receiver<Infallible>) {
    let run_all = async {
        while let Some(job) = jobs.recv().await {
            // Does not panic: `run` contains the panics of jobs.
            job();
        }
        // The herald was dropped. Its actors continue until the runtime ends.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = run_all => {}
        _ = ended => {}
    }
}

struct StopOnDrop(ArbiterHandle);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

#[cfg(test)]
mod tests {
    use pgherald_core::ErrorKind;

    use super::Place;

    async fn reports_panics(place: Place) {
        let failed = place.run::<()>(|| panic!("no such file")).await;
        let error = failed.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Panic, "{error}");
        assert!(error.to_string().contains("no such file"), "{error}");
        assert_eq!(place.run(|| 7).await.unwrap(), 7, "the thread goes on");
        place.stop();
    }

    #[test]
    fn a_job_that_panics_on_a_thread_is_reported() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async { reports_panics(Place::new("test").unwrap()).await });
    }

    #[test]
    fn a_job_that_panics_on_an_arbiter_is_reported() {
        let system = actix_rt::System::new();
        system.block_on(async { reports_panics(Place::new("test").unwrap()).await });
    }
}
