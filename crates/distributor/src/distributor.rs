//! What all clients share.

use std::sync::Arc;
use std::time::Duration;

use actix_web::{HttpRequest, web};
use pgherald_actors::Herald;
use pgherald_core::__private::host::events::Attaches;
use pgherald_core::{Channels, Overflow, SubscriptionOptions};
use tokio::sync::watch;

use crate::builder::DistributorBuilder;
use crate::clients::{Admission, Clients};
use crate::feed::{Continued, Feed, Switch};
use crate::limits::Limits;
use crate::pattern::Patterns;
use crate::refusal::Refusal;
use crate::replays::Replays;
use crate::request::Wanted;
use crate::routes;

/// The events that a client takes from its queue at a time.
const BATCH: usize = 64;

/// The name of all subscriptions, in logs and metrics.
const NAME: &str = "distributor";

/// The routes for clients, and what they share. Cloning gives another handle on the same distributor, for each worker of a server.
///
/// The [crate's page](crate) has an example.
#[derive(Clone, Debug)]
pub struct Distributor {
    shared: web::Data<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    herald: Arc<Herald>,
    pub(crate) channels: Option<(Channels, Patterns)>,
    pub(crate) limits: Limits,
    clients: Clients,
    /// For clients that continue; `None` if no table is recorded in an outbox.
    replays: Option<Replays>,
    /// Whether the distributor shuts down.
    off: watch::Sender<bool>,
}

impl Distributor {
    /// Starts building a distributor of the events of a herald.
    pub fn builder(herald: Arc<Herald>) -> DistributorBuilder {
        DistributorBuilder::new(herald)
    }

    pub(crate) fn new(
        herald: Arc<Herald>,
        channels: Option<(Channels, Patterns)>,
        limits: Limits,
    ) -> Self {
        let replays = herald.recorded().map(|(config, progress, tables)| {
            let tables = tables.cloned().collect();
            Replays::new(config.clone(), progress.clone(), tables, limits.replay)
        });
        Self {
            shared: web::Data::new(Shared {
                herald,
                replays,
                channels,
                limits,
                clients: Clients::default(),
                off: watch::Sender::new(false),
            }),
        }
    }

    /// Adds the routes to an application, or to a scope of it: `/up`, `/v1/events`, `/v1/ws`, and `/pgpubsub/{channel}` if there
    /// are [channels](DistributorBuilder::channels).
    pub fn configure(&self, config: &mut web::ServiceConfig) {
        routes::configure(&self.shared, config);
    }

    /// Returns the number of connected clients.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.shared.clients.count()
    }

    /// Asks all clients to come back later, ends their streams, and refuses new ones. Waits until they have disconnected, for
    /// `deadline` at most. Returns the number of clients that are left.
    ///
    /// Call it before the server is stopped. Clients that are left then lose their connection without notice.
    pub async fn shutdown(&self, deadline: Duration) -> usize {
        self.shared.off.send_replace(true);
        self.shared.clients.gone(deadline).await
    }
}

impl Shared {
    pub(crate) fn switch(&self) -> Switch {
        Switch::new(self.off.subscribe(), self.limits.retry_spread)
    }

    pub(crate) fn admit(&self, request: &HttpRequest) -> Result<Admission, Refusal> {
        if self.switch().is_off() {
            return Err(Refusal::shutting_down());
        }
        let address = request.peer_addr().map(|address| address.ip());
        self.clients.admit(address, &self.limits)
    }

    /// Admits a client of `/v1` and opens its feed.
    pub(crate) async fn open(&self, request: &HttpRequest) -> Result<(Admission, Feed), Refusal> {
        let wanted = Wanted::of(request, self.limits.parameters)?;
        wanted.check_watched(self.herald.watched())?;
        let continued = self.continued(&wanted);
        let admission = self.admit(request)?;
        // The source does not wait for queues with this policy, so a slow client delays no other one.
        let options = SubscriptionOptions::new(NAME)
            .capacity(self.limits.buffer)
            .max_batch(BATCH)
            .overflow(Overflow::DropOldest)
            .attaching();
        let subscription = self.herald.open(wanted.filter, options).await;
        let subscription = subscription.map_err(|_| Refusal::shutting_down())?;
        let feed = Feed::new(
            subscription,
            self.herald.health(),
            self.switch(),
            &self.limits,
            continued,
        );
        Ok((admission, feed))
    }

    /// Returns how a client continues, if all tables that it may receive events of are recorded.
    fn continued(&self, wanted: &Wanted) -> Option<Continued> {
        let replays = self.replays.as_ref()?;
        let watched = self.herald.watched()?;
        let mut asked = watched.iter().filter(|table| wanted.includes(table));
        asked.all(|table| replays.has(table)).then(|| Continued {
            replays: replays.clone(),
            filter: wanted.filter.clone(),
            since: wanted.since.clone(),
        })
    }
}
