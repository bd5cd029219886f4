//! Writes of progress: acknowledgements of slices, and settlements of parked events.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio_postgres::Client;

use super::{Request, answer};
use crate::error::{Error, Result};
use crate::group::connections::Link;
use crate::group::options::DurableOptions;
use crate::group::slices::{Acknowledgement, MAX_BYTES};
use crate::group::store::{self, Settlement};
use crate::outbox::Statements;

/// What a write consists of.
#[derive(Clone, Debug, Default)]
pub(in crate::group) struct Sent {
    pub(in crate::group) acknowledgements: Vec<Acknowledgement>,
    pub(in crate::group) settlements: Vec<Settlement>,
}

impl Sent {
    pub(in crate::group) fn is_empty(&self) -> bool {
        self.acknowledgements.is_empty() && self.settlements.is_empty()
    }

    /// The slices that the write is about, with their epochs when it was sent.
    pub(in crate::group) fn epochs(&self) -> impl Iterator<Item = (i32, i64)> {
        let slices = self.acknowledgements.iter();
        let slices = slices.map(|one| (one.slice, one.epoch));
        let of_parked = self.settlements.iter();
        slices.chain(of_parked.map(|one| (one.slice, one.epoch)))
    }
}

/// The result of a write.
#[derive(Debug, Default)]
pub(in crate::group) struct Written {
    /// Slices whose cursor was written. This node still owns them.
    pub(in crate::group) slices: Vec<i32>,
    /// Slices with a refused write.
    pub(in crate::group) refused: Vec<Refusal>,
    /// The settlements among the refused writes.
    pub(in crate::group) settlements: Vec<Settlement>,
    /// Slices whose acknowledgement was not tried: a settlement of the slice was refused, or there was a [failure](Self::failure).
    pub(in crate::group) untried: Vec<i32>,
    /// Why the rest was not written, if the connection was not the cause. All settlements have to be written again then.
    pub(in crate::group) failure: Option<Error>,
}

#[derive(Debug)]
pub(in crate::group) struct Refusal {
    pub(in crate::group) slice: i32,
    /// The slice's epoch when the write was sent.
    pub(in crate::group) epoch: i64,
    pub(in crate::group) cause: Error,
}

impl Written {
    fn refuse(&mut self, slice: i32, epoch: i64, cause: Error) {
        if !self.has_refused(slice) {
            self.refused.push(Refusal {
                slice,
                epoch,
                cause,
            });
        }
    }

    fn has_refused(&self, slice: i32) -> bool {
        self.refused.iter().any(|refusal| refusal.slice == slice)
    }

    /// Whether a write of the slice was refused, or not tried.
    pub(in crate::group) fn has_left(&self, slice: i32) -> bool {
        self.has_refused(slice) || self.untried.contains(&slice)
    }
}

#[derive(Default)]
pub(in crate::group) struct Writing {
    /// `None` before the first write, and while something is written.
    statements: Option<Statements>,
    request: Request<(Statements, Result<Written>)>,
    sent: Arc<Sent>,
}

impl Writing {
    pub(super) fn is_running(&self) -> bool {
        self.request.is_some()
    }

    pub(super) fn settling(&self) -> impl Iterator<Item = i64> {
        self.sent.settlements.iter().map(|one| one.id)
    }

    pub(super) fn start(
        &mut self,
        link: &Link,
        options: Arc<DurableOptions>,
        limit: Duration,
        sent: Sent,
    ) {
        let mut statements = self.statements.take().unwrap_or_default();
        let sent = Arc::new(sent);
        self.sent = Arc::clone(&sent);
        let client = Arc::clone(&link.client);
        let writing = link.run(async move {
            let written = write(&client, &mut statements, &options.group, &sent).await;
            Ok((statements, written))
        });
        let request = async move {
            match store::answer_within(limit, writing).await {
                Ok(answer) => answer,
                Err(error) => (Statements::default(), Err(error)),
            }
        };
        self.request = Some(request.boxed_local());
    }

    pub(super) async fn answer(&mut self) -> (Sent, Result<Written>) {
        let (statements, written) = answer(&mut self.request).await;
        self.statements = Some(statements);
        (self.take(), written)
    }

    /// Drops the request, and returns what was sent.
    pub(super) fn take(&mut self) -> Sent {
        self.request = None;
        Arc::unwrap_or_clone(std::mem::take(&mut self.sent))
    }
}

/// The most settlements that are written at once.
const SETTLEMENTS: usize = 1_000;

/// Writes settlements and acknowledgements, each kind together: up to [`SETTLEMENTS`], and acknowledgements of up to [`MAX_BYTES`].
///
/// An event is fetched only after its settlement was written, so there are no two settlements of one event.
async fn write(
    client: &Client,
    statements: &mut Statements,
    group: &str,
    sent: &Sent,
) -> Result<Written> {
    let (all, mut written) = (&sent.acknowledgements, Written::default());
    for some in sent.settlements.chunks(SETTLEMENTS) {
        match settle(client, statements, group, some, &mut written).await {
            Ok(()) => {}
            Err(error) if error.is_connection() => return Err(error),
            Err(error) => {
                written.untried = all.iter().map(|one| one.slice).collect();
                written.failure = Some(error);
                return Ok(written);
            }
        }
    }
    // The acknowledgement of a slice waits for its refused settlements.
    let (waiting, all): (Vec<_>, Vec<_>) = all
        .iter()
        .partition(|one: &&Acknowledgement| written.has_refused(one.slice));
    written.untried = waiting.iter().map(|one| one.slice).collect();
    let mut bytes = 0;
    let together = all.chunk_by(|before, _| {
        bytes += before.bytes();
        let is_room = bytes < MAX_BYTES;
        bytes = if is_room { bytes } else { 0 };
        is_room
    });
    for some in together {
        match acknowledge(client, statements, group, some, &mut written).await {
            Ok(()) => {}
            Err(error) if error.is_connection() => return Err(error),
            Err(error) => {
                let slices = all.iter().map(|one| one.slice);
                let untried = slices.filter(|slice| {
                    !written.slices.contains(slice) && !written.has_refused(*slice)
                });
                let untried: Vec<i32> = untried.collect();
                written.untried.extend(untried);
                written.failure = Some(error);
                return Ok(written);
            }
        }
    }
    Ok(written)
}

/// Writes settlements at once. If the database refuses a batch, its halves are written on their own, until only the refused ones are
/// left.
async fn settle(
    client: &Client,
    statements: &mut Statements,
    group: &str,
    some: &[Settlement],
    written: &mut Written,
) -> Result<()> {
    match store::settle(client, statements, group, some).await {
        Err(error) if error.is_refused_value() => match some {
            [one] => {
                written.refuse(one.slice, one.epoch, error);
                written.settlements.push(one.clone());
                Ok(())
            }
            _ => {
                let (first, second) = some.split_at(some.len() / 2);
                Box::pin(settle(client, statements, group, first, written)).await?;
                Box::pin(settle(client, statements, group, second, written)).await
            }
        },
        result => result,
    }
}

/// Writes acknowledgements at once. If the database refuses the batch, each slice is written on its own.
async fn acknowledge(
    client: &Client,
    statements: &mut Statements,
    group: &str,
    some: &[&Acknowledgement],
    written: &mut Written,
) -> Result<()> {
    match store::acknowledge(client, statements, group, some).await {
        Err(error) if error.is_refused_value() && some.len() > 1 => {
            for one in some.chunks(1) {
                Box::pin(acknowledge(client, statements, group, one, written)).await?;
            }
        }
        Err(error) if error.is_refused_value() => {
            for one in some {
                written.refuse(one.slice, one.epoch, error.clone());
            }
        }
        result => written.slices.extend(result?),
    }
    Ok(())
}
