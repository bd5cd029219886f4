//! The messages of one client of `/v1`.

use std::collections::VecDeque;
use std::future::pending;
use std::time::Duration;

use pgherald_core::__private::host::outbox::{Live, Position, Seam};
use pgherald_core::{Delivery, Event, Filter, Health, Resync, ResyncReason, Subscription};
use tokio::sync::{mpsc, watch};
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::access::{Grant, Validity, View};
use crate::limits::{Limits, WhenSlow};
use crate::message::{Message, has_lagged};
use crate::phase::{Announcement, Phase, Waiting};
use crate::refusal::Refusal;
use crate::replays::{Replays, Step};
use crate::telemetry;

/// What to send to a client.
#[derive(Debug)]
pub(crate) enum Next {
    Message(Message),
    /// The stream ends.
    Close(Closing),
}

/// Why the server ends a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closing {
    /// The server shuts down. The client should come back after this time.
    Shutdown { retry: Duration },
    /// The client was too slow. It should come back and read again.
    Lagged,
    /// The client's token is not valid any more. It should come back with another one.
    Expired,
    /// The database was lost, and the protocol of the stream cannot report it.
    Disconnected,
}

impl Closing {
    /// Returns the last message of the stream.
    pub(crate) fn message(self) -> Message {
        let retry = match self {
            Self::Shutdown { retry } => retry,
            Self::Lagged | Self::Expired | Self::Disconnected => Duration::ZERO,
        };
        Message::closing(self.reason(), retry)
    }

    /// Returns the word for messages and metrics.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Shutdown { .. } => "shutdown",
            Self::Lagged => "lagged",
            Self::Expired => "expired",
            Self::Disconnected => "disconnected",
        }
    }

    /// Returns the answer to a request that has no stream yet.
    pub(crate) fn refusal(self) -> Refusal {
        match self {
            Self::Expired => Refusal::expired(),
            Self::Shutdown { .. } | Self::Lagged | Self::Disconnected => Refusal::shutting_down(),
        }
    }
}

/// Tells a stream that the distributor shuts down, or that the client's token is not valid any more.
#[derive(Clone, Debug)]
pub(crate) struct Switch {
    receiver: watch::Receiver<bool>,
    validity: Validity,
    spread: Duration,
}

impl Switch {
    pub(crate) fn new(
        receiver: watch::Receiver<bool>,
        validity: Validity,
        spread: Duration,
    ) -> Self {
        Self {
            receiver,
            validity,
            spread,
        }
    }

    /// Waits for the end of the stream. Cancel safe.
    pub(crate) async fn off(&mut self) -> Closing {
        tokio::select! {
            biased;
            () = self.validity.over() => return Closing::Expired,
            // An error means that the distributor is gone, which no route can outlive.
            _ = self.receiver.wait_for(|is_off| *is_off) => {}
        }
        self.closing()
    }

    fn closing(&self) -> Closing {
        let spread = u64::try_from(self.spread.as_millis()).unwrap_or(u64::MAX);
        Closing::Shutdown {
            retry: Duration::from_millis(fastrand::u64(0..=spread)),
        }
    }
}

/// What the events of a client continue from.
#[derive(Debug)]
pub(crate) struct Continued {
    pub(crate) replays: Replays,
    pub(crate) filter: Filter,
    /// The position that the client has sent. A text that is no position is one that is not valid any more.
    pub(crate) since: Option<String>,
}

/// How far a feed has come with a position that the client has sent.
#[derive(Debug)]
enum Catching {
    /// The source is not live, or has not begun the subscription. Events that arrive until then will be replayed.
    Waiting(Position),
    /// The subscription waits. `None` is the end without a seam.
    Replaying(mpsc::Receiver<Step>),
    /// Nothing is left to do but to skip what was replayed, up to the seam.
    Done(Option<Seam>),
}

/// The messages of one client, from its subscription, the health of the source and the time.
#[derive(Debug)]
pub(crate) struct Feed {
    subscription: Subscription,
    /// `None` if events of the filter are not recorded, so no position says everything about them.
    continued: Option<Continued>,
    catching: Catching,
    /// Whether the subscription has begun.
    has_begun: bool,
    health: watch::Receiver<Health>,
    switch: Switch,
    grant: Grant,
    /// Events of the present delivery whose tables were reported by a resync.
    reported: Vec<Event>,
    heartbeat: Interval,
    when_slow: WhenSlow,
    phase: Phase,
    /// Messages to send before anything else happens.
    pending: VecDeque<Message>,
    closing: Option<Closing>,
}

impl Feed {
    pub(crate) fn new(
        subscription: Subscription,
        mut health: watch::Receiver<Health>,
        switch: Switch,
        grant: Grant,
        limits: &Limits,
        mut continued: Option<Continued>,
    ) -> Self {
        let mut heartbeat = interval(limits.heartbeat);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first tick comes at once.
        heartbeat.reset();
        health.mark_changed();
        let resumable = continued.is_some();
        let since = continued.as_mut().and_then(|from| from.since.take());
        let (catching, lost) = match since.map(|since| since.parse()) {
            None => (Catching::Done(None), None),
            Some(Ok(position)) => (Catching::Waiting(position), None),
            Some(Err(_)) => (Catching::Done(None), Some(Message::position_lost())),
        };
        let hello = Message::hello(limits.heartbeat, resumable);
        Self {
            subscription,
            continued,
            catching,
            has_begun: false,
            health,
            switch,
            grant,
            reported: Vec::new(),
            heartbeat,
            when_slow: limits.when_slow,
            phase: Phase::default(),
            pending: [hello].into_iter().chain(lost).collect(),
            closing: None,
        }
    }

    /// Waits for what to send next. Cancel safe.
    pub(crate) async fn next(&mut self) -> Next {
        loop {
            if let Some(message) = self.pending.pop_front() {
                return Next::Message(message);
            }
            if let Some(closing) = self.closing {
                return Next::Close(closing);
            }
            tokio::select! {
                biased;
                closing = self.switch.off() => self.closing = Some(closing),
                () = changed(&mut self.health) => self.on_health(),
                _ = self.heartbeat.tick() => {
                    let here = self.here();
                    self.pending.push_back(Message::heartbeat(here.as_ref()));
                }
                step = step(&mut self.catching) => self.on_step(step),
                delivery = self.subscription.recv(), if !self.catching.is_replaying() => match delivery {
                    Some(delivery) => self.on_delivery(&delivery),
                    // The herald was shut down.
                    None => self.closing = Some(self.switch.closing()),
                },
            }
        }
    }

    fn on_health(&mut self) {
        let health = self.health.borrow_and_update().clone();
        match &health {
            Health::Live { .. } => {
                let waiting = self.waiting();
                let announced = self.phase.on_live(waiting);
                self.announce(announced);
                self.replay_if_possible();
            }
            Health::Degraded { cause, .. } => {
                let announced = self.phase.on_down();
                let message = |down| Message::announcement(down, Some(cause));
                self.pending.extend(announced.map(message));
            }
            // Not live yet: the client waits for its first resync.
            _ => {}
        }
    }

    fn on_delivery(&mut self, delivery: &Delivery) {
        // The source has changed its health before it published this.
        if self.health.has_changed().unwrap_or_default() {
            self.on_health();
        }
        if matches!(self.catching, Catching::Waiting(_)) {
            match delivery.resync() {
                // The beginning of the subscription. The replay reads everything before it.
                Some(resync) if only_began(resync) => self.has_begun = true,
                // Changes that no row of the outbox shows.
                Some(_) => self.catching = Catching::Done(None),
                None => {}
            }
            self.replay_if_possible();
            if !matches!(self.catching, Catching::Done(_)) {
                return;
            }
        }
        if let Some(resync) = delivery.resync() {
            telemetry::lagged(resync.lost());
            self.pending
                .extend(Message::resync(resync, self.grant.is_unlimited()));
            if has_lagged(resync) && self.when_slow == WhenSlow::Disconnect {
                self.closing = Some(Closing::Lagged);
                return;
            }
            if resync.channel().is_none() {
                let announced = self.phase.on_resync();
                self.announce(announced);
            }
        }
        self.reported.clear();
        for event in delivery.events().iter() {
            self.on_event(event);
        }
        let events = delivery.events().len() as u64;
        let announced = self.phase.on_delivery(events, self.waiting().resync);
        self.announce(announced);
    }

    fn waiting(&self) -> Waiting {
        let stats = self.subscription.stats();
        Waiting {
            events: stats.queued,
            resync: stats.resync_queued,
        }
    }

    fn announce(&mut self, announced: Vec<Announcement>) {
        for announced in announced {
            let message = match announced {
                Announcement::Live => Message::live(self.here().as_ref()),
                other => Message::announcement(other, None),
            };
            self.pending.push_back(message);
        }
    }
}

impl Feed {
    /// Starts the replay once the source is live and the subscription has begun: everything that the subscription does not have
    /// was then committed before.
    fn replay_if_possible(&mut self) {
        let (Catching::Waiting(position), Some(from)) = (&self.catching, &self.continued) else {
            return;
        };
        if self.has_begun && self.health.borrow().is_live() {
            let steps = from.replays.start(position.clone(), from.filter.clone());
            self.catching = Catching::Replaying(steps);
        }
    }

    fn on_step(&mut self, step: Step) {
        let announced = match step {
            Step::Events(events) => {
                self.reported.clear();
                events.iter().for_each(|event| self.push(event, None));
                return;
            }
            Step::Lost => {
                self.catching = Catching::Done(None);
                self.pending.push_back(Message::position_lost());
                self.phase.on_resync()
            }
            Step::End(seam) => {
                self.catching = Catching::Done(Some(seam));
                let waiting = self.waiting();
                self.phase.on_replayed(waiting)
            }
        };
        self.announce(announced);
    }

    /// Sends an event of the subscription, unless the replay has had it.
    fn on_event(&mut self, event: &Event) {
        let Catching::Done(Some(seam)) = &self.catching else {
            return self.push(event, None);
        };
        match seam.place(event) {
            Live::Replayed => {}
            Live::Overlapping(position) => self.push(event, Some(position)),
            Live::Beyond => {
                self.catching = Catching::Done(None);
                self.push(event, None);
            }
        }
    }

    /// Sends what the client may receive of an event. `position` is the one that the event has for this client alone.
    fn push(&mut self, event: &Event, position: Option<Position>) {
        let columns = match self.grant.view(event) {
            View::Event(columns) => columns,
            View::Hidden => return,
            View::Resync => {
                // All changes of a delivery are committed, so one resync of a table stands for all of them.
                let reported = &mut self.reported;
                if !reported.iter().any(|known| is_of_same_table(known, event)) {
                    reported.push(event.clone());
                    self.pending.push_back(Message::resync_of_table(event));
                }
                return;
            }
        };
        let message = match position {
            Some(position) => Message::event_at(event, Some(position), columns),
            None => Message::event(event, columns),
        };
        match message {
            Some(message) => self.pending.push_back(message),
            // Decoding has checked that columns are JSON.
            None => tracing::error!(%event, "the event cannot be encoded"),
        }
    }

    /// Returns the position after everything that was sent, if the client has everything up to it.
    fn here(&self) -> Option<Position> {
        // Read before the queue: the source has published everything up to its position.
        let position = self.continued.as_ref()?.replays.progress().position()?;
        let waiting = self.waiting();
        match &self.catching {
            _ if waiting != Waiting::NOTHING => None,
            Catching::Done(Some(seam)) if !seam.is_behind(&position) => Some(seam.position()),
            Catching::Done(_) => Some(position),
            Catching::Waiting(_) | Catching::Replaying(_) => None,
        }
    }
}

impl Catching {
    fn is_replaying(&self) -> bool {
        matches!(self, Self::Replaying(_))
    }
}

/// Waits for the next step of a replay, if there is one. Cancel safe.
async fn step(catching: &mut Catching) -> Step {
    match catching {
        // The task ends without a last step only if its thread ends.
        Catching::Replaying(steps) => steps.recv().await.unwrap_or(Step::Lost),
        _ => pending().await,
    }
}

/// Whether a resync says only that a subscription begins.
fn only_began(resync: &Resync) -> bool {
    let mut reasons = resync.reasons().iter();
    reasons.all(|reason| matches!(reason, ResyncReason::Started))
}

fn is_of_same_table(one: &Event, other: &Event) -> bool {
    (one.schema(), one.table()) == (other.schema(), other.table())
}

/// Waits until the health has changed. A listener that is gone does not change any more.
async fn changed(health: &mut watch::Receiver<Health>) {
    if health.changed().await.is_err() {
        pending::<()>().await;
    }
}
