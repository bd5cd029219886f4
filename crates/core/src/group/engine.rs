//! The loop of a node: it joins the parts that decide, and the requests that do I/O.
//!
//! ```text
//!          ┌──────────── requests, while the connections last ────────────┐
//!          │  tick         read          fetch                   write    │
//!          └────┬────────────┬─────────────┬───────────────────────▲──────┘
//!               ▼            ▼ pages       ▼ parked events         │
//!          Membership      Intake ─────────┴──► Attempts ──► Acknowledger
//!               └────────────┴───── ledger ────────┴───────────────┘
//!                             slices, parked events
//! ```
//!
//! **States.** The node is *disconnected* (it waits, or opens its connections) or *connected*. Apart from that, it *runs* until
//! it is asked to *stop*. It has *ended* when all slices were given back, or at the deadline. See [`connection`] and
//! [`membership`].
//!
//! **Owners.** Each part owns its state, and no other part writes to it. A part asks another one for something by a [`Command`].
//! The [`Ledger`] has the events of the node's slices. Its documentation lists which part writes which of its data.
//!
//! | part | owns | decides |
//! |---|---|---|
//! | [`Connection`] | the connections with their requests, the server's history | when to connect again |
//! | [`Membership`] | the node's id, lease, pause, stop | which slices the node has; when to tick, confirm and trim |
//! | [`Intake`] | the filter, the times of pages | what to read and fetch, and when |
//! | [`Attempts`] | jobs, running attempts, the user's handler | which job begins, and what follows from its outcome |
//! | [`Relays`], in place of attempts if the group is a relay | batches, and what is expected at the destination | which batch is stored, and what follows from its outcome |
//! | [`Acknowledger`] | settlements, held-up slices | what to write, and when |
//! | [`Published`] | gauges | |
//!
//! **Guarantees.**
//! - The loop is one task. It waits only in [`next_input`](Engine::next_input), so parts never see each other half changed.
//! - Events that were taken in survive a lost connection, because epochs fence their later acknowledgement. Slices with an
//!   unanswered write do not survive it: the node claims them again, so that the server refuses the write if it
//!   is late.
//! - After the server's history has changed, the node drops all events, and continues from the cursors in the database.
//! - A panic of a part restarts the node under a new id, as after the end of the process.

mod acknowledger;
mod attempts;
mod command;
mod connection;
mod due;
mod intake;
mod lifecycle;
mod membership;
mod outcomes;
mod polling;
mod published;
mod relays;
mod work;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use self::acknowledger::Acknowledger;
pub(super) use self::attempts::Attempts;
use self::command::{Command, Commands, Ledger};
use self::connection::{Connection, ConnectionEvent};
use self::intake::Intake;
use self::membership::Membership;
use self::polling::Polling;
use self::published::Published;
pub(super) use self::relays::Relays;
pub(super) use self::work::Work;
use super::connections::Connections;
use super::handle::Shared;
use super::options::DurableOptions;
use super::requests::Answer;
use super::runner::ExecutionMode;
use crate::filter::Filter;
use crate::panic::message;

pub(super) struct Engine<W> {
    options: Arc<DurableOptions>,
    shared: Arc<Shared>,
    ledger: Ledger,
    connection: Connection,
    membership: Membership,
    intake: Intake,
    attempts: W,
    acknowledger: Acknowledger,
    published: Published,
}

enum Input<E> {
    Ended(E),
    Connection(ConnectionEvent),
    Alarm,
    Stop(Option<Instant>),
}

impl<W: Work> Engine<W> {
    pub(super) fn new(
        connections: Connections,
        options: Arc<DurableOptions>,
        (filter, attempts): (Filter, W),
        shared: Arc<Shared>,
    ) -> Self {
        let (now, group) = (Instant::now(), &options.group);
        let by_themselves = W::MODE == ExecutionMode::Transactional;
        let polling = Polling::new(now, connections.made_at());
        Self {
            ledger: Ledger::new(W::MODE),
            connection: Connection::new(connections, Arc::clone(&options)),
            membership: Membership::new(Arc::clone(&options), now),
            intake: Intake::new(Arc::clone(&options), filter, W::MODE, polling),
            attempts,
            acknowledger: Acknowledger::new(Arc::clone(group), by_themselves, now),
            published: Published::new(Arc::clone(group), Arc::clone(&shared)),
            shared,
            options,
        }
    }

    pub(super) async fn run(mut self) {
        // Panics of user code are contained elsewhere, so a panic here is a bug of the engine.
        while let Err(panic) = AssertUnwindSafe(self.work()).catch_unwind().await {
            let message = message(panic);
            let group = &*self.options.group;
            tracing::error!(group, message, "consumer panicked and restarts");
            self.restart(&message);
        }
        self.end().await;
    }

    async fn work(&mut self) {
        let mut stop = self.shared.stop.subscribe();
        // The caller may have asked for the stop before this subscription.
        if let Some(at) = *stop.borrow_and_update() {
            self.on_input(Input::Stop(Some(at)));
        }
        while !self.has_ended(Instant::now()) {
            self.advance(Instant::now());
            self.publish();
            let input = self.next_input(&mut stop).await;
            self.on_input(input);
        }
    }

    /// Waits for the next input. Cancel-safe.
    async fn next_input(&mut self, stop: &mut watch::Receiver<Option<Instant>>) -> Input<W::Ended> {
        let alarm = self.alarm(Instant::now());
        tokio::select! {
            ended = self.attempts.next_ended() => Input::Ended(ended),
            event = self.connection.next_event() => Input::Connection(event),
            () = sleep_until(alarm) => Input::Alarm,
            // The sender is in `shared`.
            _ = stop.changed() => Input::Stop(*stop.borrow_and_update()),
        }
    }

    fn on_input(&mut self, input: Input<W::Ended>) {
        let (now, mut queue) = (Instant::now(), Commands::new());
        let (ledger, commands) = (&mut self.ledger, &mut queue);
        match input {
            Input::Ended(ended) => self.attempts.ended(ended, now, ledger, commands),
            Input::Connection(ConnectionEvent::Opened(requests)) => self.opened(requests, now),
            Input::Connection(ConnectionEvent::Lost(error)) => self.lost(&error, now),
            Input::Connection(ConnectionEvent::Answered(answer)) => match answer {
                Answer::Page(page) => self.intake.take_in(*page, now, ledger, commands),
                Answer::Fetched(fetched) => self.intake.fetched(fetched, now, ledger, commands),
                Answer::Recorded => self.intake.on_wake_up(now),
                Answer::Found => self.intake.read_on(now),
                Answer::Ticked(tick) => {
                    let settled = |event| self.acknowledger.was_settled(event);
                    self.membership.ticked(tick, now, settled, ledger, commands);
                }
                Answer::Confirmed(true) => {
                    commands.extend([Command::NotifyOthers, Command::TickNow]);
                }
                Answer::Confirmed(false) => {}
                Answer::Trimmed(trimmed) => self.membership.trimmed(trimmed),
                Answer::Control => self.membership.on_control(now),
                Answer::Written(sent, written) => {
                    let acknowledger = &mut self.acknowledger;
                    acknowledger.answered(sent, written, now, ledger, commands);
                }
            },
            Input::Alarm => {}
            Input::Stop(at) => {
                self.membership.stop(at, &mut ledger.slices);
                commands.push(Command::WriteNow);
            }
        }
        self.execute(queue, now);
    }

    fn execute(&mut self, commands: Commands, now: Instant) {
        for command in commands {
            match command {
                Command::Handle(job) => self.attempts.handle(job),
                Command::Settle(settlement) => self.acknowledger.settle(settlement),
                Command::Write => self.acknowledger.note_progress(),
                Command::WriteNow => self.acknowledger.write_now(now),
                Command::Read => self.intake.read_on(now),
                Command::TickNow => self.membership.tick_now(now),
                Command::TickSoon => self.membership.tick_soon(now),
                Command::Released(parked) => self.membership.released(parked),
                Command::NotifyOthers => {
                    if let Some(requests) = self.connection.requests() {
                        tokio::spawn(requests.notify_others());
                    }
                }
                Command::Live if self.attempts.are_impaired() => {}
                Command::Live => match self.intake.full(&self.ledger) {
                    Some(error) => self.published.degraded(&error),
                    None => self.published.live(self.membership.node()),
                },
                Command::Degrade(error) => self.published.degraded(&error),
                Command::Disconnect(error) => {
                    if self.connection.requests().is_some() {
                        self.lost(&error, now);
                    }
                }
            }
        }
    }

    /// Starts everything that may start now.
    fn advance(&mut self, now: Instant) {
        self.acknowledger.forget_lost(&self.ledger.slices);
        let mut commands = Commands::new();
        // Transactional attempts need connections of their own, and an unreachable server accepts none.
        let is_reachable =
            W::MODE != ExecutionMode::Transactional || self.connection.requests().is_some();
        if is_reachable && self.membership.may_begin(now) {
            self.attempts.begin(now, &mut self.ledger, &mut commands);
        }
        self.attempts.watch(now);
        self.execute(commands, now);
        let commands = self.send(now);
        self.execute(commands, now);
    }
}
