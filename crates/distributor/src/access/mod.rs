//! Decides who may use the distributor, and for what. Every route asks [`Authority::authorize`].
//!
//! ```text
//!   request ── Origin ──► page permitted? ──► grant of the application
//!                                        ├──► no access configured: loopback address and host ──► everything
//!                                        └──► no credentials: 401
//! ```

mod grant;
mod origin;
mod rights;
mod validity;

use actix_web::{HttpMessage, HttpRequest};

use crate::refusal::Refusal;
pub use grant::Grant;
pub(crate) use grant::{Columns, View};
pub(crate) use origin::Origins;
use origin::{check_loopback_host, is_loopback};
pub use rights::{Rights, TableRights};
pub(crate) use validity::Validity;

/// Who may use a distributor; see [`DistributorBuilder::access`](crate::DistributorBuilder::access).
///
/// Without it, clients on the same machine may do everything, and other clients nothing.
#[derive(Clone, Debug, Default)]
pub struct Access {}

impl Access {
    /// Accepts the requests for which the application has put a [`Grant`] into the request's extensions, for example in a
    /// middleware with its own authentication. Refuses all others.
    ///
    /// ```
    /// use actix_web::HttpMessage;
    /// use actix_web::dev::ServiceRequest;
    /// use pgherald_distributor::{Grant, Rights, TableRights};
    ///
    /// fn authenticate(request: &ServiceRequest) -> pgherald_core::Result<()> {
    ///     // After the session of the user has been checked:
    ///     let rights = Rights { tables: vec![TableRights::all("public.products")], ..Rights::default() };
    ///     request.extensions_mut().insert(Grant::new("user-7", &rights)?);
    ///     Ok(())
    /// }
    /// ```
    #[must_use]
    pub fn of_application() -> Self {
        Self::default()
    }
}

/// Decides about the requests of one distributor.
#[derive(Debug)]
pub(crate) struct Authority {
    access: Option<Access>,
    origins: Origins,
}

impl Authority {
    pub(crate) fn new(access: Option<Access>, origins: Origins) -> Self {
        Self { access, origins }
    }

    /// Returns what the client of a request may do, or refuses the request.
    pub(crate) fn authorize(&self, request: &HttpRequest) -> Result<Grant, Refusal> {
        self.origins.check(request)?;
        if let Some(grant) = request.extensions().get::<Grant>() {
            return valid(grant.clone());
        }
        match &self.access {
            None => local(request),
            Some(_) => Err(Refusal::unauthorized()),
        }
    }
}

/// Refuses a grant that is over.
fn valid(grant: Grant) -> Result<Grant, Refusal> {
    match grant.validity().is_over() {
        false => Ok(grant),
        true => Err(Refusal::expired()),
    }
}

/// Grants everything to clients on this machine.
fn local(request: &HttpRequest) -> Result<Grant, Refusal> {
    let peer = request.peer_addr();
    if !peer.is_some_and(|peer| is_loopback(peer.ip())) {
        return Err(Refusal::not_local());
    }
    check_loopback_host(request)?;
    Ok(Grant::everything())
}
