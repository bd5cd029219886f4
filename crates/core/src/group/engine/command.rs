//! The commands between the parts of the engine, and the ledger that the parts share.

use crate::error::Error;
use crate::group::job::Job;
use crate::group::parked::Parked;
use crate::group::runner::ExecutionMode;
use crate::group::slices::Slices;
use crate::group::store::Settlement;

/// A request from one part to another. The loop passes requests on at once, in their order.
pub(in crate::group) enum Command {
    /// To the attempts: handle an event that was taken in.
    Handle(Job),
    /// To the acknowledger: write the outcome of an attempt at a parked event.
    Settle(Settlement),
    /// To the acknowledger: there may be something to write.
    Write,
    /// To the acknowledger: write without a pause, because events wait for it.
    WriteNow,
    /// To the intake: read at once, because slices were claimed.
    Read,
    /// To the membership: tick at once, because the node has lost something.
    TickNow,
    /// To the membership: tick after a short pause, to claim a slice again.
    TickSoon,
    /// To the membership: slices were given back, with this number of parked events.
    Released(usize),
    /// To the other nodes: the shares of the slices have changed.
    NotifyOthers,
    /// To the loop: the lease was renewed.
    Live,
    /// To the loop: the consumer is not live, but its connections are kept.
    Degrade(Error),
    /// To the loop: the connections cannot be used any more.
    Disconnect(Error),
}

pub(in crate::group) type Commands = Vec<Command>;

/// The events of the slices that this node owns. Each part writes its own share of the ledger:
///
/// | part | writes |
/// |---|---|
/// | membership | which slices are owned, their epochs, which are to be given back; parked events that were found |
/// | intake | the positions up to which rows were read, pending events; which parked events were given out |
/// | attempts | which events are done, running, or to be parked |
/// | relays, in place of attempts | the positions of slices at the destination |
/// | acknowledger | the cursors in the database, slices that were given back or lost, held-up slices |
///
/// Everything that a part stores about a slice elsewhere has the slice's epoch. So it has no effect after the slice was
/// [forgotten](Self::forget), even if the slice was claimed again.
#[derive(Default)]
pub(in crate::group) struct Ledger {
    pub(super) slices: Slices,
    pub(super) parked: Parked,
}

impl Ledger {
    pub(super) fn new(mode: ExecutionMode) -> Self {
        let slices = match mode {
            ExecutionMode::Relayed => Slices::relayed(),
            ExecutionMode::OneByOne | ExecutionMode::Transactional | ExecutionMode::Batches => {
                Slices::default()
            }
        };
        Self {
            slices,
            parked: Parked::default(),
        }
    }

    /// Drops a slice that another node owns, or may own. Returns the number of its parked events.
    pub(super) fn forget(&mut self, slice: i32) -> usize {
        self.slices.forget(slice);
        self.parked.forget(slice)
    }
}
