//! Attempts at one event at a time, by an [`EventHandler`].

use std::rc::Rc;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;

use super::job::{Finished, Job, Outcome};
use super::options::DurableOptions;
use super::runner::{Assignment, ExecutionMode, Runner, undecodable};
use crate::event::FromEvent;
use crate::filter::Filter;
use crate::handler::{EventHandler, Failure, GivenUp, Instances, contain, run_durable};
use crate::panic::contained;

pub(super) struct Plain<H> {
    instances: Rc<Instances<H>>,
    options: Arc<DurableOptions>,
}

impl<H: EventHandler> Plain<H> {
    pub(super) fn new(options: Arc<DurableOptions>, factory: impl Fn() -> H + 'static) -> Self {
        let instances = Rc::new(Instances::new(factory));
        Self { instances, options }
    }
}

impl<H: EventHandler> Runner for Plain<H> {
    const MODE: ExecutionMode = ExecutionMode::OneByOne;

    fn narrow(filter: Filter) -> Filter {
        H::Event::narrow(filter)
    }

    fn attempt(&self, jobs: Vec<Assignment>) -> LocalBoxFuture<'static, Vec<Finished>> {
        let (instances, options) = (Rc::clone(&self.instances), Arc::clone(&self.options));
        async move {
            let mut finished = Vec::with_capacity(jobs.len());
            for Assignment { job, .. } in jobs {
                let outcome = match attempt(&instances, &options, &job).await {
                    Ok(()) => Outcome::Done,
                    Err(failure) => Outcome::Failed(failure),
                };
                finished.push(Finished { job, outcome });
            }
            finished
        }
        .boxed_local()
    }

    fn give_up(&self, given_up: &GivenUp) {
        call_hook(&self.instances, |handler| handler.given_up(given_up));
    }
}

async fn attempt<H: EventHandler>(
    instances: &Instances<H>,
    options: &DurableOptions,
    job: &Job,
) -> Result<(), Failure> {
    let task = job.task.as_ref().map_err(undecodable)?;
    with(instances, async |handler| {
        contain(
            || run_durable(handler, task, job.attempt(options)),
            options.timeout,
        )
        .await
    })
    .await
}

/// Runs `attempt` with the handler's instance, which is replaced after a panic.
pub(super) async fn with<H, T>(
    instances: &Instances<H>,
    attempt: impl AsyncFnOnce(&H) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let instance = instances
        .get()
        .map_err(|message| Failure::Panicked(format!("in the factory: {message}")))?;
    let outcome = match instance.get() {
        Some(handler) => attempt(handler).await,
        // An instance has its value until it is dropped, so this does not happen. If it did, nothing was handled.
        None => Err(Failure::Panicked("the handler has no value".to_owned())),
    };
    if let Err(Failure::Panicked(_)) = outcome {
        instances.replace(&instance);
    }
    outcome
}

/// Calls a hook of the handler, and contains its panics.
pub(super) fn call_hook<H>(instances: &Instances<H>, hook: impl FnOnce(&H)) {
    let Ok(instance) = instances.get() else {
        return;
    };
    if let Err(message) = contained(|| instance.get().map(hook)) {
        instances.replace(&instance);
        tracing::error!(message, "a hook of a handler panicked");
    }
}
