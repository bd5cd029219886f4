//! What all clients share.

use std::sync::Arc;
use std::time::Duration;

use actix_web::{HttpRequest, web};
use pgherald_actors::Herald;
use pgherald_core::__private::host::events::Attaches;
use pgherald_core::{Channels, Health, Overflow, SubscriptionOptions, TableName};
use tokio::sync::watch;

use crate::access::{Authority, Grant, Origins};
use crate::builder::DistributorBuilder;
use crate::clients::{Admission, Clients};
use crate::connected::Target;
use crate::feed::{Continued, Feed, Switch};
use crate::limits::Limits;
use crate::page::Page;
use crate::pattern::Patterns;
use crate::process::Render;
use crate::refusal::Refusal;
use crate::replays::Replays;
use crate::request::Wanted;
use crate::routes;
use crate::telemetry::Transport;

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
    authority: Authority,
    /// Writes the metrics for `/metrics`.
    pub(crate) metrics: Option<Render>,
    pub(crate) limits: Limits,
    clients: Clients,
    /// For clients that continue; `None` if no table is recorded in an outbox.
    replays: Option<Replays>,
    page: Option<Page>,
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
        authority: Authority,
        metrics: Option<Render>,
        limits: Limits,
        page: Option<Page>,
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
                authority,
                metrics,
                limits,
                clients: Clients::default(),
                page,
                off: watch::Sender::new(false),
            }),
        }
    }

    /// Adds the routes to an application, or to a scope of it: `/up`, `/v1/events`, `/v1/ws`, and `/pgpubsub/{channel}` if there
    /// are [channels](DistributorBuilder::channels). With a [live page](DistributorBuilder::page), also `/`, `/page`, `/v1/status` and
    /// `/v1/groups`.
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
    /// Makes the switch of a stream with this grant.
    pub(crate) fn switch(&self, grant: &Grant) -> Switch {
        Switch::new(
            self.off.subscribe(),
            grant.validity().clone(),
            self.limits.retry_spread,
        )
    }

    /// Returns what the client of a request may do, or refuses the request. Every route but those about the process itself asks
    /// this first.
    pub(crate) fn authorize(&self, request: &HttpRequest) -> Result<Grant, Refusal> {
        self.authority.authorize(request)
    }

    /// Makes a ticket for the rights of `grant`.
    pub(crate) fn ticket(&self, grant: &Grant) -> Result<String, Refusal> {
        self.authority.ticket(grant)
    }

    pub(crate) fn origins(&self) -> &Origins {
        &self.authority.origins
    }

    pub(crate) fn health(&self) -> watch::Receiver<Health> {
        self.herald.health()
    }

    /// Whether the distributor shuts down.
    pub(crate) fn is_off(&self) -> bool {
        *self.off.borrow()
    }

    pub(crate) fn admit(
        &self,
        request: &HttpRequest,
        transport: Transport,
    ) -> Result<Admission, Refusal> {
        if self.is_off() {
            return Err(Refusal::shutting_down());
        }
        let address = request.peer_addr().map(|address| address.ip());
        let admission = self.clients.admit(address, transport, &self.limits)?;
        admission.requested(Target::of(request));
        Ok(admission)
    }

    pub(crate) fn clients(&self) -> &Clients {
        &self.clients
    }

    /// Returns the live page, if there is one.
    pub(crate) fn page(&self) -> Result<&Page, Refusal> {
        self.page.as_ref().ok_or_else(Refusal::no_page)
    }

    /// Admits a client of `/v1` and opens its feed.
    pub(crate) async fn open(
        &self,
        request: &HttpRequest,
        transport: Transport,
    ) -> Result<(Admission, Feed), Refusal> {
        let grant = self.authorize(request)?;
        grant.require_tables()?;
        let wanted = Wanted::of(request, self.limits.parameters, &grant)?;
        wanted.check_watched(self.herald.watched())?;
        let continued = self.continued(&wanted, &grant);
        let admission = self.admit(request, transport)?;
        // The source does not wait for queues with this policy, so a slow client delays no other one.
        let options = SubscriptionOptions::new(NAME)
            .capacity(self.limits.buffer)
            .max_batch(BATCH)
            .overflow(Overflow::DropOldest)
            .attaching();
        let subscription = self.herald.open(wanted.filter, options).await;
        let subscription = subscription.map_err(|_| Refusal::shutting_down())?;
        admission.subscribed(&subscription);
        let feed = Feed::new(
            subscription,
            self.herald.health(),
            self.switch(&grant),
            grant,
            &self.limits,
            continued,
        );
        Ok((admission, feed))
    }

    /// Returns how a client continues, if all tables that it may receive events of are recorded.
    fn continued(&self, wanted: &Wanted, grant: &Grant) -> Option<Continued> {
        let replays = self.replays.as_ref()?;
        let watched = self.herald.watched()?;
        let permitted = |table: &TableName| {
            grant
                .require_table(Some(table.schema()), table.name())
                .is_ok()
        };
        let mut asked = watched
            .iter()
            .filter(|table| wanted.includes(table) && permitted(table));
        asked.all(|table| replays.has(table)).then(|| Continued {
            replays: replays.clone(),
            filter: wanted.filter.clone(),
            since: wanted.since.clone(),
        })
    }
}
