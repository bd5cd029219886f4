//! The actor that runs a user's [`EventHandler`].
//!
//! ```text
//!   Events ──► Schedule ──► attempt ──► done
//!    (credit)     ▲            │
//!                 │            ├─ failed, attempts left: back off ──┐
//!                 └────────────┼────────────────────────────────────┘
//!                              └─ failed finally: given_up
//! ```
//!
//! Owner: the actor owns the handler's value. It calls the user's factory before the first attempt, and again after
//! each panic.

mod options;

use std::time::{Duration, SystemTime};

use actix::{
    Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, Context, Handler, MessageResult,
    ResponseActFuture, WrapFuture,
};
use pgherald_core::__private::host::handler::{Instances, Lane, Schedule, contain, contained, run};
use pgherald_core::__private::host::telemetry::{
    FailedAttempt, FailureLog, HandlerMetrics, attempt_span, dropped,
};
use pgherald_core::handler::{Failure, GivenUp, Task};

use pgherald_core::{Attempt, Event, EventHandler, FromEvent};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::Instrument;

pub use options::EphemeralOptions;

use crate::messages::{Drain, Events, GetReport, Subscribe};
use crate::report::HandlerReport;

/// The number of tasks that may be held although they cannot run now: they back off, or wait behind a task of the same row
/// that does.
const MAX_HELD: usize = 1_024;

/// Runs a user's [`EventHandler`] as an *ephemeral* handler.
///
/// Unfinished tasks live in memory, and are lost when the process ends. The next start begins with a resync, in which the
/// handler can catch up.
///
/// States: working, draining, and stopped when [`Drain`] is answered.
///
/// Guarantees:
/// - Events of one row are handled one at a time, in commit order. While an event backs off, later events of its row
///   wait and other rows continue. A resync runs alone, in its place in the order.
/// - A panic, a timeout or an error fails one attempt at one task.
/// - Each task is counted as handled, given up, or dropped at the end of draining.
/// - The handler takes no further batch while the tasks that run or could run exceed twice its concurrency, or while more
///   than 1,024 tasks beyond these are held because they back off or wait behind one that does. Events then wait in the
///   subscription's queue, under its overflow policy.
///
/// ```
/// use actix::Actor;
/// use pgherald_actors::{HandlerActor, EphemeralOptions};
/// use pgherald_core::{Attempt, Event, EventHandler, HandlerResult};
///
/// struct Print;
/// impl EventHandler for Print {
///     type Event = Event;
///     async fn handle(&self, event: Event, _: Attempt) -> HandlerResult {
///         println!("{event}");
///         Ok(())
///     }
/// }
///
/// # #[actix::main]
/// # async fn main() {
/// let options = EphemeralOptions::new("print").concurrency(4);
/// let print = HandlerActor::new(options, || Print).start();
/// # let _ = print;
/// # }
/// ```
pub struct HandlerActor<H: EventHandler> {
    options: EphemeralOptions,
    instances: Instances<H>,
    schedule: Schedule<Job>,
    report: HandlerReport,
    metrics: HandlerMetrics,
    failure_log: FailureLog,
    /// One for each batch that is not acknowledged yet: the pump sends no further batch before that.
    unacknowledged: Vec<oneshot::Sender<()>>,
    /// Notified when no task is left.
    draining: Vec<oneshot::Sender<()>>,
    /// Whether new batches are ignored.
    closing: bool,
}

struct Job {
    task: Task,
    /// The number of attempts begun, without snoozed ones.
    attempts: u32,
}

impl<H: EventHandler> HandlerActor<H> {
    /// Makes a handler. The actor calls `factory` before the first attempt, and again after each panic.
    pub fn new(mut options: EphemeralOptions, factory: impl Fn() -> H + 'static) -> Self {
        options.concurrency = options.concurrency.max(1);
        Self {
            instances: Instances::new(factory),
            schedule: Schedule::new(options.concurrency),
            metrics: HandlerMetrics::new(&options.name),
            failure_log: FailureLog::of_handler(&options.name),
            report: HandlerReport {
                name: options.name.clone(),
                ..HandlerReport::default()
            },
            unacknowledged: Vec::new(),
            draining: Vec::new(),
            closing: false,
            options,
        }
    }

    /// Returns the message that subscribes the handler at `addr`. `options` are those that the handler was made with.
    pub fn subscription(addr: &Addr<Self>, options: &EphemeralOptions) -> Subscribe {
        let filter = H::Event::narrow(options.filter.clone());
        Subscribe::to(&*options.name, filter, addr.clone().recipient())
            .options(options.subscription.clone())
    }

    fn push(&mut self, task: Task) {
        let lane = match &task {
            Task::Event(event) => Lane::of(event),
            Task::Resync(_) => None,
        };
        self.report.received += 1;
        self.schedule.push(lane, Job { task, attempts: 0 });
    }

    /// Begins the attempts that may run now, and notifies the waiting pump and drains.
    fn advance(&mut self, ctx: &mut Context<Self>) {
        while let Some((lane, job)) = self.schedule.start_next() {
            self.begin(lane, job, ctx);
        }
        self.metrics.unfinished(self.schedule.len());
        if self.has_room() {
            self.unacknowledged.drain(..).for_each(notify);
        }
        if self.schedule.is_empty() {
            self.draining.drain(..).for_each(notify);
        }
    }

    fn has_room(&self) -> bool {
        let enough = self.options.concurrency.saturating_mul(2);
        self.schedule.startable() + self.schedule.running() <= enough
            && self.schedule.len() <= enough.saturating_add(MAX_HELD)
    }

    fn begin(&mut self, lane: Option<Lane>, mut job: Job, ctx: &mut Context<Self>) {
        job.attempts += 1;
        let handler = self.instances.get();
        let attempt = Attempt::new(job.attempts, self.options.retry.max_attempts());
        let limit = self.options.timeout;
        let event = match &job.task {
            Task::Event(event) => Some(event),
            Task::Resync(_) => None,
        };
        let id = event.and_then(Event::outbox_id);
        let span = attempt_span(&self.options.name, event, id, job.attempts);
        let began = Instant::now();
        let running = async move {
            let outcome = match &handler {
                Ok(instance) => match instance.get() {
                    Some(value) => contain(|| run(value, &job.task, attempt), limit).await,
                    // Unreachable: an instance has its value until it is dropped.
                    None => Err(Failure::Panicked("the handler has no value".to_owned())),
                },
                Err(message) => Err(Failure::Panicked(format!("in the factory: {message}"))),
            };
            (job, outcome, handler.ok())
        };
        ctx.spawn(running.instrument(span).into_actor(self).map(
            move |(job, outcome, used), act, ctx| {
                act.metrics.took(began.elapsed());
                if let (Err(Failure::Panicked(_)), Some(used)) = (&outcome, &used) {
                    act.instances.replace(used);
                }
                act.conclude(lane, job, outcome, ctx);
                act.advance(ctx);
            },
        ));
    }

    fn conclude(
        &mut self,
        lane: Option<Lane>,
        mut job: Job,
        outcome: Result<(), Failure>,
        ctx: &mut Context<Self>,
    ) {
        let Err(failure) = outcome else {
            self.metrics.attempted("done");
            if let Task::Event(event) = &job.task {
                self.metrics.handled(event.sent_at(), SystemTime::now());
            }
            self.report.handled += 1;
            self.schedule.finish(lane);
            return;
        };
        self.metrics.attempted(failure.label());
        match failure {
            Failure::Snoozed(delay) => {
                job.attempts -= 1;
                self.schedule.pause();
                self.resume_after(delay, lane, job, ctx);
                return;
            }
            Failure::TimedOut(_) => self.report.timeouts += 1,
            Failure::Panicked(_) => self.report.panics += 1,
            _ => self.report.errors += 1,
        }
        let next = self.options.retry.next(job.attempts, &failure);
        self.log(&job, &failure, next, ctx);
        match next {
            Some(delay) => {
                self.schedule.pause();
                self.resume_after(delay, lane, job, ctx);
            }
            None => {
                dropped(&self.options.name, failure.label(), false, 1);
                self.report.given_up += 1;
                self.call_given_up(&GivenUp::new(job.task, job.attempts, failure));
                self.schedule.finish(lane);
            }
        }
    }

    /// Logs a failure in full, or counts it for a summary that is logged later.
    fn log(
        &mut self,
        job: &Job,
        failure: &Failure,
        next: Option<Duration>,
        ctx: &mut Context<Self>,
    ) {
        let had_begun = self.failure_log.due().is_some();
        let attempt = FailedAttempt {
            task: &job.task,
            id: None,
            attempt: job.attempts,
            failure,
            next,
        };
        self.failure_log.failed(attempt, Instant::now());
        if let Some(due) = self.failure_log.due().filter(|_| !had_begun) {
            let due = tokio::time::sleep_until(due).into_actor(self);
            ctx.spawn(due.map(|(), act, _| act.failure_log.log_all()));
        }
    }

    fn resume_after(&self, delay: Duration, lane: Option<Lane>, job: Job, ctx: &mut Context<Self>) {
        let due = tokio::time::sleep(delay).into_actor(self);
        ctx.spawn(due.map(move |(), act, ctx| {
            act.schedule.resume(lane, job);
            act.advance(ctx);
        }));
    }

    fn call_given_up(&mut self, given_up: &GivenUp) {
        let Ok(handler) = self.instances.get() else {
            return;
        };
        let outcome = contained(|| handler.get().map(|value| value.given_up(given_up)));
        if let Err(message) = outcome {
            self.report.panics += 1;
            self.instances.replace(&handler);
            let (handler, task) = (&*self.options.name, &given_up.task);
            tracing::error!(handler, %task, message, "the given_up method of the handler panicked");
        }
    }

    fn current_report(&self) -> HandlerReport {
        HandlerReport {
            unfinished: self.schedule.len() as u64,
            ..self.report.clone()
        }
    }

    /// Counts unfinished tasks as dropped. The actor stops after this.
    fn close(&mut self) -> HandlerReport {
        let count = self.schedule.len() as u64;
        if count > 0 {
            let handler = &*self.options.name;
            let reason = "drain_deadline";
            tracing::warn!(handler, count, reason, intentional = true, "tasks dropped");
            dropped(handler, reason, true, count);
        }
        HandlerReport {
            dropped: count,
            ..self.report.clone()
        }
    }
}

fn notify(waiting: oneshot::Sender<()>) {
    // Fails if the receiver is gone.
    let _ = waiting.send(());
}

impl<H: EventHandler> Actor for HandlerActor<H> {
    type Context = Context<Self>;

    fn stopped(&mut self, _: &mut Self::Context) {
        self.failure_log.log_all();
    }
}

impl<H: EventHandler> Handler<Events> for HandlerActor<H> {
    // An actor future: if the actor stops, it is dropped, and the sender gets an error.
    type Result = ResponseActFuture<Self, ()>;

    fn handle(&mut self, events: Events, ctx: &mut Self::Context) -> Self::Result {
        if self.closing {
            return Box::pin(std::future::pending().into_actor(self));
        }
        if let Some(resync) = events.resync() {
            self.push(Task::Resync(resync.clone()));
        }
        for event in events.events().iter() {
            self.push(Task::Event(event.clone()));
        }
        let (sender, room) = oneshot::channel();
        self.unacknowledged.push(sender);
        self.advance(ctx);
        let has_room = async move {
            // The sender is never dropped while the actor lives.
            let _ = room.await;
        };
        Box::pin(has_room.into_actor(self))
    }
}

impl<H: EventHandler> Handler<GetReport> for HandlerActor<H> {
    type Result = MessageResult<GetReport>;

    fn handle(&mut self, _: GetReport, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.current_report())
    }
}

impl<H: EventHandler> Handler<Drain> for HandlerActor<H> {
    type Result = ResponseActFuture<Self, HandlerReport>;

    fn handle(&mut self, message: Drain, ctx: &mut Self::Context) -> Self::Result {
        self.closing = true;
        let (sender, finished) = oneshot::channel();
        self.draining.push(sender);
        self.advance(ctx);
        let drained = async move {
            // After a timeout, the report counts the unfinished tasks as dropped.
            let _ = tokio::time::timeout(message.deadline, finished).await;
        };
        Box::pin(drained.into_actor(self).map(|(), act, ctx| {
            ctx.stop();
            act.close()
        }))
    }
}

impl<H: EventHandler> std::fmt::Debug for HandlerActor<H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HandlerActor")
            .field("report", &self.current_report())
            .finish_non_exhaustive()
    }
}
