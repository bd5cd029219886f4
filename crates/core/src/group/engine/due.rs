//! Which requests are due, and when to look again.
//!
//! Each kind of request runs at most once at a time. Its part decides when it is due; the limits of other parts apply in addition.
//! [`alarm`](Engine::alarm) has the same conditions as [`send`](Engine::send), so the loop neither spins nor sleeps too long.

use std::time::Duration;

use tokio::time::Instant;

use super::Engine;
use super::command::Commands;
use super::work::Work;

impl<W: Work> Engine<W> {
    /// Sends the requests that are due.
    pub(super) fn send(&mut self, now: Instant) -> Commands {
        let mut commands = Commands::new();
        let Some(requests) = self.connection.requests_mut() else {
            return commands;
        };
        let (ledger, bytes) = (&mut self.ledger, self.attempts.bytes());
        let of_parked = self.attempts.bytes_of_parked();
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if requests.may_confirm() && self.membership.is_confirmation_due(now) {
            requests.confirm();
        }
        if !requests.is_ticking()
            && let Some(mut state) = self.membership.due_tick(now, &ledger.slices)
        {
            state.destination = self.attempts.destination();
            self.acknowledger.tick_began(requests.settling());
            requests.tick(state);
            if !requests.is_trimming() && self.membership.is_trim_due(now) {
                requests.trim();
            }
        }
        if self.membership.may_begin(now) && is_due(self.intake.next_fetch(ledger, of_parked)) {
            // Write settlements first, so that the fetched state of an event is not older than the state in memory.
            if self.acknowledger.has_settlements() || requests.settling().next().is_some() {
                self.acknowledger.write_now(now);
            } else if !requests.is_fetching() {
                let due = self.intake.next_fetched(now, &self.acknowledger, ledger);
                if !due.is_empty() {
                    requests.fetch(due, ledger.slices.numbers());
                }
            }
        }
        if !requests.is_reading()
            && self.membership.may_read()
            && is_due(self.intake.next_read(ledger, bytes))
            && let Some((turn, rows)) = self.intake.next_page(now, &mut ledger.slices)
        {
            requests.read(turn, rows);
        }
        if !requests.is_writing()
            && let Some(sent) = self.acknowledger.due(now, ledger, &mut commands)
        {
            requests.write(sent);
        }
        commands
    }

    /// Returns when to [advance](Self::advance) next if no input arrives. The answer to a running request is an input.
    pub(super) fn alarm(&self, now: Instant) -> Instant {
        let mut alarms = vec![
            self.membership.stop_at(),
            self.attempts.summary_due(),
            self.attempts.watch_at(now),
        ];
        // Otherwise nothing begins, and the loop would spin.
        if self.membership.may_begin(now) {
            alarms.push(self.attempts.alarm(now));
        }
        if let Some(requests) = self.connection.requests() {
            let (ledger, bytes) = (&self.ledger, self.attempts.bytes());
            alarms.push(
                self.membership
                    .alarm(requests.is_ticking(), requests.may_confirm()),
            );
            if !requests.is_writing() {
                alarms.push(self.acknowledger.alarm());
            }
            if !requests.is_reading() && self.membership.may_read() {
                alarms.push(self.intake.next_read(ledger, bytes));
            }
            let may_fetch = !requests.is_fetching()
                && !requests.is_writing()
                && !self.acknowledger.has_settlements();
            if may_fetch && self.membership.may_begin(now) {
                alarms.push(
                    self.intake
                        .next_fetch(ledger, self.attempts.bytes_of_parked()),
                );
            }
        }
        let far = now + Duration::from_secs(3_600);
        alarms.into_iter().flatten().min().unwrap_or(far).min(far)
    }
}
