//! The messages of one client of `/v1`.

mod catching;

use std::collections::VecDeque;
use std::future::pending;
use std::time::Duration;

use pgherald_core::__private::host::outbox::{Live, Located, Mark, Position};
use pgherald_core::{Delivery, Event, Health, Resync, Subscription};
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior, interval};

pub(crate) use catching::Continued;
use catching::{Catching, step};

use crate::access::{Grant, Validity, View};
use crate::limits::{Limits, WhenSlow};
use crate::message::{Message, is_overflow};
use crate::phase::{Announcement, Phase, Waiting};
use crate::refusal::Refusal;
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
    /// The distributor shuts down. The client reconnects after this time.
    Shutdown { retry: Duration },
    /// The client was too slow. It reconnects and reads its state again.
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

/// Notifies a stream of the shutdown of the distributor, and of the end of the client's token.
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

/// The messages of one client, from its subscription, the health of the source and the time.
#[derive(Debug)]
pub(crate) struct Feed {
    subscription: Subscription,
    /// `None` if some events of the filter are not recorded, so a position does not cover them.
    continued: Option<Continued>,
    catching: Catching,
    /// How far the client has come, until the source is past it.
    reached: Option<Position>,
    /// Whether a resync of everything or the end of a replay was sent. Until then, the client has nothing that it could continue
    /// from.
    is_covered: bool,
    /// The last event that was sent.
    last: Option<Mark>,
    health: watch::Receiver<Health>,
    switch: Switch,
    grant: Grant,
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
        let since: Option<Result<Position, _>> = since.map(|since| since.parse());
        let lost = matches!(since, Some(Err(_))).then(Message::position_lost);
        let reached = since.and_then(Result::ok);
        let catching = match reached.clone() {
            None => Catching::Done,
            Some(from) => Catching::Waiting {
                from,
                has_begun: false,
            },
        };
        let hello = Message::hello(limits.heartbeat, resumable);
        Self {
            subscription,
            continued,
            catching,
            reached,
            is_covered: false,
            last: None,
            health,
            switch,
            grant,
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
                () = changed(&mut self.health) => self.on_health(Waiting::NOTHING),
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

    /// Takes in the health of the source. `in_hand` was taken from the queue and not sent yet.
    fn on_health(&mut self, in_hand: Waiting) {
        let health = self.health.borrow_and_update().clone();
        match &health {
            Health::Live { .. } => {
                let waiting = self.waiting().and(in_hand);
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
        let in_hand = Waiting {
            events: delivery.events().len() as u64 + delivery.resync().map_or(0, Resync::lost),
            resync: delivery.resync().is_some(),
        };
        // Before a replay may begin: everything that was taken from the queue until then is part of it.
        let is_replayed = self.is_replayed(delivery);
        if self.health.has_changed().unwrap_or_default() {
            self.on_health(in_hand);
        }
        if !is_replayed && !self.send(delivery) {
            return;
        }
        if !self.phase.is_live() {
            let waits = self.waiting().resync;
            let announced = self.phase.on_delivery(in_hand.events, waits);
            self.announce(announced);
        }
    }

    /// Sends what a delivery has for the client. Returns false if the stream ends.
    fn send(&mut self, delivery: &Delivery) -> bool {
        if let Some(resync) = delivery.resync() {
            telemetry::lagged(resync.lost());
            self.pending
                .extend(Message::resync(resync, self.grant.is_unlimited()));
            if resync.reasons().iter().any(is_overflow) && self.when_slow == WhenSlow::Disconnect {
                self.closing = Some(Closing::Lagged);
                return false;
            }
            if resync.channel().is_none() {
                self.is_covered = true;
                let announced = self.phase.on_resync();
                self.announce(announced);
            }
        }
        self.on_events(delivery.events());
        true
    }

    /// Sends events, except those that a replay has already sent.
    fn on_events(&mut self, events: &[Event]) {
        let mut reported = Vec::new();
        for event in events {
            let place = self.place(event);
            if place != Live::Replayed {
                self.push(event, &place, &mut reported);
            }
        }
    }

    /// Sends what the client may receive of an event that it has not had.
    fn push(&mut self, event: &Event, place: &Live, reported: &mut Vec<Event>) {
        let columns = match self.grant.view(event) {
            View::Event(columns) => columns,
            View::Hidden => return,
            View::Resync => {
                // All changes of a delivery are committed, so one resync of a table stands for all of them.
                if !is_reported(event, reported) {
                    self.pending.push_back(Message::resync_of_table(event));
                    reported.push(event.clone());
                }
                return;
            }
        };
        let message = match place {
            Live::Overlapping(position) => Message::event_at(event, columns, position.as_ref()),
            // During a replay, the positions of its events are those of the client.
            _ if self.is_covered || self.catching.is_replaying() => Message::event(event, columns),
            _ => Message::event_at(event, columns, None),
        };
        self.last = event.mark();
        match message {
            Some(message) => self.pending.push_back(message),
            // Decoding has checked that columns are JSON.
            None => tracing::error!(%event, "the event cannot be encoded"),
        }
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

/// Whether a message has announced that rows of the event's table have changed.
fn is_reported(event: &Event, reported: &[Event]) -> bool {
    reported
        .iter()
        .any(|known| (known.schema(), known.table()) == (event.schema(), event.table()))
}

/// Waits until the health has changed. Never returns if the listener has ended.
async fn changed(health: &mut watch::Receiver<Health>) {
    if health.changed().await.is_err() {
        pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pgherald_core::__private::host::errors;
    use pgherald_core::__private::host::outbox::Progress;
    use pgherald_core::{
        Event, Filter, Listener, Operation, Resync, ResyncReason, Signal, SubscriptionOptions,
    };
    use tokio::sync::watch;

    use super::{Catching, Continued, Feed, Switch};
    use crate::access::Grant;
    use crate::limits::Limits;
    use crate::replays::Replays;

    const POSITION: &str = "a1b2c3d4e5f6.0123456789ab.9f3c41d2a1b0c8e7.731:731:.140.731.0";

    /// The feed of a client that continues, from a database that cannot be reached, and the switch that ends it.
    fn continued(listener: &mut Listener) -> (Feed, watch::Sender<bool>) {
        let options = SubscriptionOptions::new("client");
        let subscription = listener.subscribe(Filter::new(), options).unwrap();
        let grant = Grant::everything();
        let (off, receiver) = watch::channel(false);
        let switch = Switch::new(receiver, grant.validity().clone(), Duration::ZERO);
        let database = "postgresql://app@127.0.0.1:1/app".parse().unwrap();
        let continued = Continued {
            replays: Replays::new(database, Progress::default(), Vec::new(), 100),
            filter: Filter::new(),
            since: Some(POSITION.to_owned()),
        };
        let health = listener.health();
        let limits = Limits::default();
        let feed = Feed::new(
            subscription,
            health,
            switch,
            grant,
            &limits,
            Some(continued),
        );
        (feed, off)
    }

    #[actix_web::test]
    async fn a_delivery_in_hand_when_a_replay_begins_is_part_of_it() {
        let mut listener = Listener::new();
        listener.publish(&Signal::Resync(Resync::new(ResyncReason::Started)));
        listener.publish(&Signal::Live);
        let (mut feed, _off) = continued(&mut listener);
        listener.publish(&Signal::Down(errors::bad_limit("away".to_owned())));
        // `hello` and `down`; then the feed takes the resync that begins the subscription.
        for _ in 0..2 {
            feed.next().await;
        }
        let begin = feed.subscription.recv().await.unwrap();
        feed.on_delivery(&begin);
        assert!(matches!(
            feed.catching,
            Catching::Waiting {
                has_begun: true,
                ..
            }
        ));
        // The source catches up, and is live when the feed has taken the events from its queue.
        let event = Event::builder("public", "users", Operation::Insert).key(7);
        listener.publish(&Signal::Events([event.build()].into()));
        let events = feed.subscription.recv().await.unwrap();
        listener.publish(&Signal::Resumed);
        listener.publish(&Signal::Live);
        feed.on_delivery(&events);
        assert!(feed.catching.is_replaying());
        assert!(feed.pending.is_empty(), "{:?}", feed.pending);
    }
}
