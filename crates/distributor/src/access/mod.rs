//! Decides who may use the distributor, and for what. Every route asks [`Authority::authorize`].
//!
//! ```text
//!   request ── Origin ──► page permitted? ──► grant of the application
//!                                        ├──► no access configured: loopback address and host ──► everything
//!                                        └──► bearer token ──► file of tokens │ signature
//!                                             ticket ──► grant of the token that it was issued for
//! ```

mod grant;
mod origin;
mod rights;
mod secret;
mod served;
mod signed;
mod tickets;
mod tokens;
mod validity;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use actix_web::http::Method;
use actix_web::http::header::AUTHORIZATION;
use actix_web::{HttpMessage, HttpRequest};

use crate::refusal::Refusal;
pub use grant::Grant;
pub(crate) use grant::{Columns, View};
pub(crate) use origin::Origins;
use origin::{check_loopback_host, is_loopback};
pub use rights::{Rights, TableRights};
pub(crate) use served::Served;
use signed::Key;
pub(crate) use tickets::LIFETIME as TICKET_LIFETIME;
use tickets::Tickets;
use tokens::TokenFile;
pub use tokens::TokenLine;
pub(crate) use validity::Validity;

/// The longest token, in bytes.
const LONGEST_TOKEN: usize = 8_192;

/// The parameter of a query that has a ticket.
pub(crate) const TICKET: &str = "ticket";

/// Who may use a distributor; see [`DistributorBuilder::access`](crate::DistributorBuilder::access).
///
/// Without it, clients on the same machine may do everything, and other clients nothing. `docs/distributor-security.md` describes the
/// formats of tokens.
///
/// ```no_run
/// use pgherald_distributor::Access;
///
/// # async fn configure() -> pgherald_core::Result<()> {
/// let access = Access::new().tokens("/etc/pgherald/tokens")?.key("/etc/pgherald/issuer.pem")?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Access {
    files: Vec<TokenFile>,
    keys: Vec<Key>,
}

impl Access {
    /// Accepts no token. Requests for which the application has put a [`Grant`] into the request's extensions are accepted, for
    /// example by a middleware with its own authentication.
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
    pub fn new() -> Self {
        Self::default()
    }

    /// Accepts the static tokens of a file, which has one [`TokenLine`] on each line. The file is read again within a second after it
    /// has changed, and streams of tokens that it no longer has are closed.
    ///
    /// # Errors
    /// If the file cannot be read, a line is malformed, or no runtime runs on this thread.
    pub fn tokens(mut self, path: impl AsRef<Path>) -> pgherald_core::Result<Self> {
        self.files.push(TokenFile::open(path.as_ref())?);
        Ok(self)
    }

    /// Accepts JSON Web Tokens that are signed with this key: an Ed25519 public key in PEM for the algorithm EdDSA, or a secret of at
    /// least 32 bytes for HS256. Call it once for each key, for example while one replaces another.
    ///
    /// # Errors
    /// If the file cannot be read, or has no such key.
    pub fn key(mut self, path: impl AsRef<Path>) -> pgherald_core::Result<Self> {
        self.keys.push(Key::read(path.as_ref())?);
        Ok(self)
    }

    /// Returns the grant of a token.
    fn grant(&self, token: &str) -> Result<Grant, Refusal> {
        if token.len() > LONGEST_TOKEN {
            return Err(Refusal::bad_token("the token is too long"));
        }
        if let Some(grant) = self.files.iter().find_map(|file| file.grant(token)) {
            return Ok(grant);
        }
        // A signed token has three parts.
        match token.split('.').count() {
            3 if !self.keys.is_empty() => signed::grant(&self.keys, token),
            _ => Err(Refusal::bad_token("the token is not known")),
        }
    }
}

/// Decides about the requests of one distributor.
#[derive(Debug)]
pub(crate) struct Authority {
    access: Option<Access>,
    pub(crate) origins: Origins,
    served: Arc<Served>,
    tickets: Tickets,
}

impl Authority {
    pub(crate) fn new(
        access: Option<Access>,
        origins: Origins,
        served: Served,
        tickets: usize,
    ) -> Self {
        Self {
            access,
            origins,
            served: Arc::new(served),
            tickets: Tickets::new(tickets),
        }
    }

    /// Returns what the client of a request may do, or refuses the request.
    pub(crate) fn authorize(&self, request: &HttpRequest) -> Result<Grant, Refusal> {
        self.origins.check(request)?;
        let of_application = request.extensions().get::<Grant>().cloned();
        let grant = match (of_application, &self.access) {
            (Some(grant), _) => grant,
            (None, None) => local(request)?,
            (None, Some(access)) => match credentials(request)? {
                Credentials::Token(token) => access.grant(token)?,
                Credentials::Ticket(ticket) => self.tickets.redeem(&ticket, Instant::now())?,
            },
        };
        request.extensions_mut().insert(Name(grant.shared_name()));
        match grant.validity().is_over() {
            false => Ok(grant.within(&self.served)),
            true => Err(Refusal::expired()),
        }
    }

    /// Makes a ticket for the rights of `grant`.
    pub(crate) fn ticket(&self, grant: &Grant) -> Result<String, Refusal> {
        self.tickets.issue(grant, Instant::now())
    }
}

/// The name of the grant of a request, for the access log.
#[derive(Clone, Debug)]
pub(crate) struct Name(pub(crate) Arc<str>);

/// What a client shows.
enum Credentials<'a> {
    Token(&'a str),
    Ticket(String),
}

/// Returns the credentials of a request, which must be exactly one. A token in the query is not accepted, because addresses are
/// written to logs and histories.
fn credentials(request: &HttpRequest) -> Result<Credentials<'_>, Refusal> {
    let mut headers = request.headers().get_all(AUTHORIZATION);
    let mut tickets = ticket_parameters(request.query_string());
    // A ticket is for streams; what changes something needs a token.
    let ticket = tickets.next().filter(|_| request.method() == Method::GET);
    match (headers.next(), ticket) {
        (Some(header), None) if headers.next().is_none() => {
            let token = header.to_str().ok().and_then(bearer);
            let malformed =
                || Refusal::bad_token("the header is not \"Authorization: Bearer TOKEN\"");
            token.map(Credentials::Token).ok_or_else(malformed)
        }
        (None, Some(ticket)) if tickets.next().is_none() => Ok(Credentials::Ticket(ticket)),
        (None, None) => Err(Refusal::unauthorized()),
        _ => Err(Refusal::bad_token(
            "the request has more than one token or ticket",
        )),
    }
}

/// The token in the value of `Authorization`. The name of the scheme has no case.
fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    let is_token =
        |token: &&str| !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    let token = Some(token.trim_matches(' ')).filter(is_token)?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token)
}

/// The values of the parameter `ticket`. A malformed query has none, and is refused when its filter is read.
fn ticket_parameters(query: &str) -> impl Iterator<Item = String> {
    let pairs = actix_web::web::Query::<Vec<(String, String)>>::from_query(query);
    let pairs = pairs.map_or_else(|_| Vec::new(), actix_web::web::Query::into_inner);
    let tickets = pairs.into_iter().filter(|(name, _)| name == TICKET);
    tickets.map(|(_, ticket)| ticket)
}

/// Headers that proxies add. The client of such a request may be on another machine.
const FORWARDED: [&str; 4] = ["forwarded", "via", "x-forwarded-for", "x-real-ip"];

/// Grants everything to clients on this machine.
fn local(request: &HttpRequest) -> Result<Grant, Refusal> {
    let peer = request.peer_addr();
    let headers = request.headers();
    let is_forwarded = FORWARDED.iter().any(|name| headers.contains_key(*name));
    if is_forwarded || !peer.is_some_and(|peer| is_loopback(peer.ip())) {
        return Err(Refusal::not_local());
    }
    check_loopback_host(request)?;
    Ok(Grant::everything())
}
