//! The options of a distributor.

use std::sync::Arc;
use std::time::Duration;

use pgherald_actors::Herald;
use pgherald_core::__private::host::errors;
use pgherald_core::{Channels, Result};

use crate::access::{Access, Authority, Origins, Served};
use crate::distributor::Distributor;
use crate::limits::Limits;
use crate::page::{LivePage, Page};
use crate::pattern::Patterns;
use crate::process::Render;

/// Configures a [`Distributor`]; see [`Distributor::builder`].
#[derive(Debug)]
#[must_use = "call build() to get the distributor"]
pub struct DistributorBuilder {
    herald: Arc<Herald>,
    channels: Option<(Channels, Patterns)>,
    access: Option<Access>,
    origins: Origins,
    metrics: Option<Render>,
    limits: Limits,
    page: Option<LivePage>,
}

impl DistributorBuilder {
    pub(crate) fn new(herald: Arc<Herald>) -> Self {
        Self {
            herald,
            channels: None,
            access: None,
            origins: Origins::default(),
            metrics: None,
            limits: Limits::default(),
            page: None,
        }
    }

    /// Serves the channels that match one of `patterns`, in which `*` stands for any text. The herald's source must have the same
    /// [`Channels`]. Without this, no channel is served.
    pub fn channels(
        mut self,
        channels: Channels,
        patterns: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        self.channels = Some((channels, Patterns::new(patterns)));
        self
    }

    /// Serves the clients that `access` accepts, from any address. Without this, only clients on the same machine are served.
    ///
    /// A reverse proxy on the same machine is such a client, and so are all of its clients.
    pub fn access(mut self, access: Access) -> Self {
        self.access = Some(access);
        self
    }

    /// Allows pages of these origins, such as `https://app.example.com`, to use the distributor from a browser. Pages from the
    /// distributor's own host always may. Replaces the origins of earlier calls.
    pub fn origins(mut self, origins: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.origins = Origins::new(origins);
        self
    }

    /// Serves at `/metrics` what `render` returns, for example that of a recorder for Prometheus. Clients need the right
    /// [`observe`](crate::Rights::observe). Without this, there is no such route.
    pub fn metrics(mut self, render: impl Fn() -> String + Send + Sync + 'static) -> Self {
        self.metrics = Some(Render::new(render));
        self
    }

    /// Replaces the limits.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Serves the live page at `/`, and the operator API behind it. Without this, there is neither.
    pub fn page(mut self, page: LivePage) -> Self {
        self.page = Some(page);
        self
    }

    /// Builds the distributor.
    ///
    /// # Errors
    /// If an origin is not a scheme and a host, such as `https://app.example.com`. If a limit of clients or of the buffer is 0, or a
    /// time is under a millisecond or over a day. With a live page, if no runtime runs on this thread.
    pub fn build(self) -> Result<Distributor> {
        let Limits {
            clients,
            clients_per_address,
            buffer,
            when_slow: _,
            replay: _,
            parameters: _,
            tickets: _,
            frame_bytes: _,
            upgrade,
            heartbeat,
            idle,
            write,
            retry_spread: _,
        } = &self.limits;
        for (name, value) in [
            ("clients", clients),
            ("clients_per_address", clients_per_address),
            ("buffer", buffer),
        ] {
            if *value == 0 {
                return Err(errors::bad_limit(format!(
                    "the limit {name} is 0; it must be at least 1"
                )));
            }
        }
        let (shortest, longest) = (Duration::from_millis(1), Duration::from_secs(86_400));
        for (name, value) in [
            ("upgrade", upgrade),
            ("heartbeat", heartbeat),
            ("idle", idle),
            ("write", write),
        ] {
            if *value < shortest || *value > longest {
                return Err(errors::bad_limit(format!(
                    "the limit {name} is {value:?}; it must be between {shortest:?} and {longest:?}"
                )));
            }
        }
        self.origins.validate()?;
        let served = Served::new(self.herald.watched());
        let authority = Authority::new(self.access, self.origins, served, self.limits.tickets);
        let page = self.page.map(|page| Page::start(&self.herald, page));
        Ok(Distributor::new(
            self.herald,
            self.channels,
            authority,
            self.metrics,
            self.limits,
            page.transpose()?,
        ))
    }
}
