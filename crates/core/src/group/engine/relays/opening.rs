//! Opens claimed slices by reading their tips; see [`opening`](crate::group::opening).

use std::rc::Rc;
use std::sync::Arc;

use futures_util::FutureExt;
use tokio::time::Instant;

use super::slice::{Ended, Relay, State};
use super::{Command, Commands, Destination, Ledger, Relays};
use crate::error::Result;
use crate::group::opening::{Opened, open};

impl<D: Destination> Relays<D> {
    pub(super) fn open(&mut self, now: Instant, ledger: &Ledger) {
        let Some((link, history)) = &self.link else {
            return;
        };
        for opening in ledger.slices.opening() {
            let (slice, epoch) = (opening.slice, opening.epoch);
            let relay = self
                .slices
                .entry(slice)
                .or_insert_with(|| Relay::new(epoch, now));
            match relay.state {
                State::Unopened(at) if at <= now => relay.state = State::Opening,
                _ => continue,
            }
            let destination = Rc::clone(&self.destination);
            let (link, history) = (Arc::clone(link), history.clone());
            let group = (Arc::clone(&self.options.group), ledger.slices.of());
            let opening = open(destination, link, (group, history), opening.clone());
            let opening = opening.map(move |opened| Ended::Opened {
                slice,
                epoch,
                opened,
            });
            self.running.push(opening.boxed_local());
        }
    }

    pub(super) fn opened(
        &mut self,
        (slice, epoch): (i32, i64),
        opened: Result<Opened>,
        now: Instant,
        ledger: &mut Ledger,
        commands: &mut Commands,
    ) {
        let relay = self
            .slices
            .get_mut(&slice)
            .filter(|relay| relay.epoch == epoch);
        let Some(relay) = relay.filter(|_| ledger.slices.is_current(slice, epoch)) else {
            return;
        };
        let opened = match opened {
            Ok(mut opened) => {
                (relay.incarnation, relay.sequence) =
                    (Arc::clone(&opened.incarnation), opened.sequence);
                relay.period = Arc::clone(&opened.period);
                let contended = opened.contended.take();
                relay.is_contended = contended.is_some();
                match contended {
                    Some(error) => Err(error),
                    None => Ok(opened),
                }
            }
            failed => failed,
        };
        match opened {
            Ok(opened) => {
                if let Some(reason) = opened.resync {
                    let group = &*self.options.group;
                    tracing::warn!(
                        group,
                        slice,
                        reason,
                        "changes may be missing at the destination; announcing a resync"
                    );
                }
                let known = opened.known();
                // Record this even if nothing is stored: otherwise a late first batch looks like one of an earlier group.
                let is_known = opened.resync.is_none();
                ledger.slices.opened(
                    slice,
                    epoch,
                    opened.cursor,
                    is_known.then(|| known.to_text()),
                );
                (relay.state, relay.failures) = (State::Idle, 0);
                (relay.incarnation, relay.sequence) = (opened.incarnation, opened.sequence);
                (relay.skipped, relay.listed) = (opened.skipped, opened.listed);
                relay.announcement = opened.resync;
                relay.is_announced = opened.resync.is_none();
                self.problem.opened(slice, relay.sequence);
                self.recover(ledger, now);
                commands.extend([Command::Write, Command::Read]);
            }
            Err(error) => {
                relay.state = State::Unopened(now + relay.pause());
                self.fail(error, commands);
            }
        }
    }
}
