//! Catches up from a position that the client has sent, before the events of its subscription.
//!
//! ```text
//!   Waiting ── subscription has begun, source is live ──► Replaying ── end ──► Done
//!      │                                                     │
//!      └── resync with another reason than the beginning     └── position lost: resync ──► Done
//! ```
//!
//! The replay begins when the source is live. So everything that the subscription had before was committed before the replay, and
//! is read by it. While it runs, the subscription's events wait in its queue. The replay ends between two commits, and the queue has
//! events from both sides of its end. The position that the client has reached decides which of them it has had, until the first event
//! beyond.
//!
//! A replay may read what the source has not read yet, because it has connections of its own. So the source may also emit events that
//! the client has had if its next connection begins with a resync.

use std::future::pending;

use pgherald_core::__private::host::outbox::{Live, Located, Position};
use pgherald_core::{Delivery, Event, Filter, Resync, ResyncReason};
use tokio::sync::mpsc;

use super::Feed;
use crate::message::Message;
use crate::phase::Waiting;
use crate::replays::{Replays, Step};

/// What the events of a client continue from.
#[derive(Debug)]
pub(crate) struct Continued {
    pub(crate) replays: Replays,
    /// Everything that the client has asked for and may receive.
    pub(crate) filter: Filter,
    /// The position that the client has sent. A text that is no position is one that is not valid any more.
    pub(crate) since: Option<String>,
}

/// How far a feed has come with a position that the client has sent.
#[derive(Debug)]
pub(super) enum Catching {
    /// The source is not live, or has not begun the subscription. Events that arrive until then will be replayed.
    Waiting { from: Position, has_begun: bool },
    /// The events of the subscription wait.
    Replaying(mpsc::Receiver<Step>),
    /// The client has caught up, or reads its state again.
    Done,
}

impl Catching {
    pub(super) fn is_replaying(&self) -> bool {
        matches!(self, Self::Replaying(_))
    }
}

impl Feed {
    /// Starts the replay if it may begin.
    pub(super) fn replay_if_possible(&mut self) {
        let Catching::Waiting {
            from,
            has_begun: true,
        } = &self.catching
        else {
            return;
        };
        if let Some(continued) = &self.continued
            && self.health.borrow().is_live()
        {
            let filter = continued.filter.clone();
            let steps = continued.replays.start(from.clone(), filter);
            self.catching = Catching::Replaying(steps);
        }
    }

    /// Takes in a delivery before the replay. Returns whether the replay covers it.
    pub(super) fn is_replayed(&mut self, delivery: &Delivery) -> bool {
        let Catching::Waiting { has_begun, .. } = &mut self.catching else {
            return false;
        };
        match delivery.resync() {
            Some(resync) if only_began(resync) => *has_begun = true,
            // The outbox has no events of other channels.
            Some(resync) if resync.channel().is_some() => {
                let messages = Message::resync(resync, self.grant.is_unlimited());
                self.pending.extend(messages);
            }
            // Changes that no row of the outbox shows.
            Some(_) => {
                self.catching = Catching::Done;
                return false;
            }
            None => {}
        }
        self.replay_if_possible();
        true
    }

    pub(super) fn on_step(&mut self, step: Step) {
        let announced = match step {
            Step::Events(events) => {
                self.on_events(&events);
                if let Some(position) = events.last().and_then(Located::position) {
                    self.reached = Some(position);
                }
                return;
            }
            Step::Lost | Step::WentBack => {
                self.catching = Catching::Done;
                if matches!(step, Step::WentBack) {
                    // The ids of what the client has had are assigned a second time.
                    self.reached = None;
                }
                self.is_covered = true;
                self.pending.push_back(Message::position_lost());
                self.phase.on_resync()
            }
            Step::End(end) => {
                self.catching = Catching::Done;
                self.reached = Some(end);
                self.is_covered = true;
                let waiting = self.waiting();
                self.phase.on_replayed(waiting)
            }
        };
        self.announce(announced);
    }

    /// Decides about an event of the subscription or of a replay.
    pub(super) fn place(&mut self, event: &Event) -> Live {
        let reached = self.reached.as_ref();
        let Some(reached) = reached.filter(|_| matches!(self.catching, Catching::Done)) else {
            return Live::Elsewhere;
        };
        let place = reached.place(event);
        if place == Live::Beyond {
            self.reached = None;
        }
        place
    }

    /// Returns the position after everything that was sent, if the client has everything up to it.
    pub(super) fn here(&self) -> Option<Position> {
        let continued = self.continued.as_ref().filter(|_| self.is_covered)?;
        // Read before the queue: the source has published everything up to its position.
        let progress = continued.replays.progress();
        let position = progress.position()?;
        if self.waiting() != Waiting::NOTHING {
            return None;
        }
        let here = match (&self.catching, &self.reached) {
            (Catching::Waiting { .. } | Catching::Replaying(_), _) => return None,
            // The client has had events that the source has not emitted yet.
            (Catching::Done, Some(reached)) if !progress.is_past(reached) => Some(reached)
                .filter(|reached| reached.is_between_spans())?
                .in_lineage_of(&position),
            (Catching::Done, _) => position,
        };
        // The source may have published events that its position does not include yet.
        let includes_last = self.last.as_ref().is_none_or(|last| here.includes(last));
        includes_last.then_some(here)
    }
}

/// Waits for the next step of a replay, if there is one. Cancel safe.
pub(super) async fn step(catching: &mut Catching) -> Step {
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
