//! The connection, and the node's membership of the group: its lease and its slices.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use tokio::time::{Instant, timeout};

use super::{CONNECT, Engine, State, new_node};
use crate::backoff::Backoff;
use crate::error::{Error, ErrorKind as Kind};
use crate::group::runner::Runner;
use crate::group::session::Session;
use crate::group::tick::{NodeState, Tick, TickResult};
use crate::signal::Health;

/// The pauses between attempts to connect.
const RECONNECT: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));

impl<R: Runner> Engine<R> {
    pub(super) fn connect(&mut self, now: Instant) {
        if !matches!(self.state, State::Waiting(until) if until <= now) {
            return;
        }
        let (config, options) = (self.config.clone(), Rc::clone(&self.options));
        let opening = async move {
            let opening = Session::open(&config, options);
            timeout(CONNECT, opening).await.unwrap_or_else(|_| {
                let message = format!("no session with {config} within {CONNECT:?}");
                Err(Error::new(Kind::Connect, message))
            })
        };
        self.state = State::Opening(opening.boxed_local());
    }

    pub(super) fn opened(&mut self, session: Box<Session>) {
        self.is_utf8 = session.is_utf8;
        self.runner.set_history(&session.history);
        let before = self.history.replace(session.history.clone());
        if before.is_some_and(|before| !session.history.continues(&before)) {
            // The server may assign ids again, so drop everything that was read before. The cursors in the database are consistent
            // with its present history.
            let group = &*self.options.group;
            tracing::warn!(
                group,
                "the server has crashed, or was promoted or restored; continuing from the cursors in the database"
            );
            self.drop_work();
        }
        self.state = State::Open(session);
    }

    pub(super) fn lose_session(&mut self, error: &Error) {
        let group = Arc::clone(&self.options.group);
        let group = &*group;
        if let State::Open(session) = &mut self.state {
            if session.has_lasted() {
                self.failures = 0;
            }
            let unfinished = session.unfinished();
            self.not_answered(&unfinished.acknowledgements, unfinished.settlements);
            for (row, id) in unfinished.fetching {
                self.parked.put_back(&row, id, Instant::now());
            }
            self.resume_deferred();
        }
        let delay = RECONNECT.delay(self.failures);
        self.failures = self.failures.saturating_add(1);
        self.state = State::Waiting(Instant::now() + delay);
        let (chain, hint) = (error.chain(), error.hint());
        // Warn once for each outage, as listeners do.
        match &*self.shared.health.borrow() {
            Health::Live { .. } => {
                tracing::warn!(group, error = %chain, hint, ?delay, "consumer no longer live");
            }
            Health::Connecting => {
                tracing::warn!(group, error = %chain, hint, ?delay, "consumer could not become live");
            }
            _ => tracing::info!(group, error = %chain, hint, ?delay, "consumer still not live"),
        }
        self.degrade(error);
    }

    pub(super) fn degrade(&self, error: &Error) {
        let degraded = |health: &mut Health| *health = health.degraded_by(error.clone());
        self.shared.health.send_modify(degraded);
    }

    /// Starts a tick if one is due, and a comparison of the requirements if one is due.
    pub(super) fn tick(&mut self, now: Instant) {
        let State::Open(session) = &mut self.state else {
            return;
        };
        session.confirm(now);
        if !session.is_tick_due(now) {
            return;
        }
        let state = NodeState {
            node: self.node,
            has_joined: self.has_joined,
            is_stopping: self.stop_at.is_some(),
            owned: self.slices.epochs().collect(),
            expired: self.leases.expired(now),
            revision: self.revision,
        };
        let unwritten = self.settlements.iter().map(|one| one.id);
        self.settled = unwritten.chain(session.settling()).collect();
        session.tick(now, state);
    }

    pub(super) fn ticked(&mut self, tick: Tick) {
        let group = Arc::clone(&self.options.group);
        let group = &*group;
        let TickResult {
            began,
            membership,
            share,
            claimed,
            parked,
            has_all_parked,
        } = match tick {
            Tick::Renewed(found) => found,
            Tick::Removed => {
                tracing::warn!(
                    group,
                    "the lease has expired and all slices are lost; joining again"
                );
                self.forget_all();
                (self.node, self.has_joined) = (new_node(), false);
                if let Some(session) = self.session() {
                    session.tick_now();
                }
                return;
            }
        };
        self.leases.record(Instant::now(), &membership.nodes);
        if !self.shared.health.borrow().is_live() && self.too_many_connections.is_none() {
            tracing::info!(group, node = self.node, "consumer live");
            let since = SystemTime::now();
            self.shared.health.send_replace(Health::Live { since });
        }
        if !std::mem::replace(&mut self.has_joined, true)
            && let Some(session) = self.session()
        {
            // The other nodes have more than their share now.
            tokio::spawn(session.notify_others());
        }
        self.lease_until = began + self.options.lease;
        self.is_paused = membership.is_paused;
        let lost = self
            .slices
            .epochs()
            .filter(|ours| !membership.owned.contains(ours));
        let lost: Vec<i32> = lost.map(|(slice, _)| slice).collect();
        for slice in lost {
            tracing::info!(group, slice, "slice lost to another consumer or a seek");
            self.forget(slice);
        }
        for (slice, epoch, cursor) in &claimed {
            self.forget(*slice);
            self.slices
                .insert(membership.slices, *slice, *epoch, cursor);
        }
        let is_claimed = |slice| claimed.iter().any(|(number, ..)| *number == slice);
        let mut has_passed_over = false;
        for event in parked {
            let (row, id) = (&event.row, event.id);
            // An event that this node does not know may have been settled meanwhile, and must not return.
            let may_come_back = !is_claimed(event.slice)
                && !self.parked.is_known(row, id)
                && (self.settled.contains(&id) || self.held_up.contains_key(&event.slice));
            match may_come_back {
                true => has_passed_over = true,
                false => self.parked.found(row, event.slice, id, event.due),
            }
        }
        // Otherwise the next tick reads all parked events again.
        if has_all_parked && !has_passed_over {
            self.revision = Some(membership.revision);
        }
        match self.stop_at {
            Some(_) => self.slices.release(usize::MAX),
            None => self
                .slices
                .release(self.slices.kept().saturating_sub(share)),
        }
        self.note_progress();
        if let Some(session) = self.session() {
            session.read_on();
        }
    }

    /// Drops a slice that another node owns, or may own.
    pub(super) fn forget(&mut self, slice: i32) {
        self.slices.forget(slice);
        self.parked.forget(slice);
        self.held_up.remove(&slice);
        // Jobs that wait for a write of this slice must not wait any longer.
        self.resume_deferred();
    }

    fn forget_all(&mut self) {
        for slice in self.slices.numbers() {
            self.forget(slice);
        }
    }
}
