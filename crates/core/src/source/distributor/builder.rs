//! The options of a distributor source.

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;

use super::DistributorSource;
use super::address::Address;
use super::token::Token;
use crate::backoff::Backoff;
use crate::connect::{provided, system_tls};
use crate::error::{Error, ErrorKind, Result};
use crate::name::TableName;
use crate::source::options::check_span;

/// The options, checked.
pub(super) struct Settings {
    pub(super) address: Address,
    pub(super) tables: Vec<TableName>,
    pub(super) token: Token,
    /// `None` if the connection is not encrypted.
    pub(super) tls: Option<Arc<ClientConfig>>,
    pub(super) connect_timeout: Duration,
    pub(super) silence_limit: Duration,
    pub(super) message_limit: usize,
    pub(super) backoff: Backoff,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("address", &self.address)
            .field("tables", &self.tables)
            .finish_non_exhaustive()
    }
}

/// Describes a [`DistributorSource`]; see [`DistributorSource::builder`].
#[derive(Clone)]
#[must_use = "call build() to get the source"]
pub struct DistributorSourceBuilder {
    url: String,
    token: Token,
    tables: Vec<TableName>,
    tls: Option<ClientConfig>,
    connect_timeout: Duration,
    silence_limit: Duration,
    message_limit: usize,
    backoff: Backoff,
}

impl DistributorSourceBuilder {
    pub(super) fn new(url: String) -> Self {
        Self {
            url,
            token: Token::None,
            tables: Vec::new(),
            tls: None,
            connect_timeout: Duration::from_secs(10),
            silence_limit: Duration::from_secs(30),
            message_limit: 16 * 1024 * 1024,
            backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(30)),
        }
    }

    /// Sets the bearer token that the distributor requires. It is sent in the header `Authorization`, and is never logged. Use it
    /// with `https` only, or on a network that you trust.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Token::Fixed(token.into());
        self
    }

    /// Calls `provider` for the token of each connection, for tokens that expire. When the distributor ends the connection because
    /// the token has expired, the source connects again with another one.
    ///
    /// The call counts towards the [time limit](Self::connect_timeout) of the attempt. If it fails, the attempt fails with
    /// [`ErrorKind::Authentication`], and the source retries later.
    ///
    /// ```
    /// use pgherald_core::DistributorSource;
    ///
    /// # async fn fetch_token() -> Result<String, std::io::Error> { Ok(String::new()) }
    /// let source = DistributorSource::builder("https://events.example.com")
    ///     .token_provider(|| async { fetch_token().await })
    ///     .build()?;
    /// # Ok::<(), pgherald_core::Error>(())
    /// ```
    pub fn token_provider<P, F, E>(mut self, provider: P) -> Self
    where
        P: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<String, E>> + Send + 'static,
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        self.token = Token::Provider(provided(provider));
        self
    }

    /// Adds tables whose events to receive. Without any, the source emits the events of all tables that the distributor watches, and
    /// write tokens.
    pub fn tables(mut self, tables: impl IntoIterator<Item = TableName>) -> Self {
        self.tables.extend(tables);
        self
    }

    /// Uses a TLS configuration of your own: for client certificates, or a root certificate that the system does not have. By
    /// default, the certificate of the distributor is checked against the root certificates of the system.
    pub fn tls_config(mut self, tls: ClientConfig) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Limits an attempt to connect, up to the first message of the distributor. The default is 10 s.
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = limit;
        self
    }

    /// Drops the connection if nothing arrives within `limit`. The default is 30 s.
    ///
    /// The source waits for three heartbeats of the distributor if that is shorter. The distributor announces its heartbeat, which is
    /// 5 s by default.
    pub fn silence_limit(mut self, limit: Duration) -> Self {
        self.silence_limit = limit;
        self
    }

    /// Limits the size of a message, in bytes. The default is 16 MiB.
    ///
    /// A longer message ends the connection, and a resync follows. So the limit must be greater than the size of an event: of all
    /// values that the triggers send of a row, before and after its change.
    pub fn message_limit(mut self, bytes: usize) -> Self {
        self.message_limit = bytes;
        self
    }

    /// Sets the delays between attempts to connect. The default is 100 ms, doubling up to 30 s. If the distributor asks for a longer
    /// delay when it shuts down, the source waits for that, up to the longest delay of the backoff.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Builds the source. It connects when it is first polled.
    ///
    /// # Errors
    /// If the URL is not one of `http` or `https`, or has a user, a password or a query. If the token has characters that a header
    /// cannot have, or the name of a schema has a dot, which the query of a distributor cannot express. If a timeout or the backoff is
    /// under a millisecond or over a day, or the message limit is under 1 KiB. If the system has no root certificates, for `https`
    /// without [`tls_config`](Self::tls_config).
    pub fn build(self) -> Result<DistributorSource> {
        self.checked().map(DistributorSource::new)
    }

    /// Checks the options once, and returns a function that makes any number of such sources, for
    /// [`supervise`](crate::supervise) and for heralds.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn factory(self) -> Result<impl Fn() -> DistributorSource + Clone + Send + 'static> {
        let settings = self.checked()?;
        Ok(move || DistributorSource::new(Arc::clone(&settings)))
    }

    fn checked(self) -> Result<Arc<Settings>> {
        const SHORTEST_MESSAGE: usize = 1024;
        let refuse = |message: String| Err(Error::new(ErrorKind::Config, message));
        for (name, value) in [
            ("connect timeout", self.connect_timeout),
            ("silence limit", self.silence_limit),
            ("longest backoff", self.backoff.ceiling(u32::MAX)),
        ] {
            check_span(name, value)?;
        }
        if self.message_limit < SHORTEST_MESSAGE {
            let limit = self.message_limit;
            return refuse(format!(
                "the message limit is {limit} bytes; it must be at least {SHORTEST_MESSAGE}"
            ));
        }
        if let Some(table) = self
            .tables
            .iter()
            .find(|table| table.schema().contains('.'))
        {
            return refuse(format!(
                "the schema of table {table} has a dot in its name, so a distributor cannot select the table; \
                 receive the events of all tables, and select them by a Filter"
            ));
        }
        self.token.check()?;
        let address = Address::parse(&self.url)?;
        let tls = match self.tls {
            _ if !address.encrypted => None,
            Some(tls) => Some(tls),
            None => Some(system_tls()?),
        };
        Ok(Arc::new(Settings {
            address,
            tables: self.tables,
            token: self.token,
            tls: tls.map(Arc::new),
            connect_timeout: self.connect_timeout,
            silence_limit: self.silence_limit,
            message_limit: self.message_limit,
            backoff: self.backoff,
        }))
    }
}

impl fmt::Debug for DistributorSourceBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither the token nor the URL, which may have a password by mistake.
        f.debug_struct("DistributorSourceBuilder")
            .field("tables", &self.tables)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::DistributorSource;
    use crate::{Backoff, ErrorKind, TableName};

    #[test]
    fn invalid_options_are_refused() {
        let builder = || DistributorSource::builder("http://localhost");
        let dotted = TableName::new("a.b", "c").unwrap();
        let hour = Duration::from_secs(3_600);
        for (name, refused) in [
            ("url", DistributorSource::builder("localhost")),
            ("token", builder().token("")),
            ("token", builder().token("a b")),
            ("token", builder().token("a\r\nx: y")),
            ("schema", builder().tables([dotted])),
            ("connect", builder().connect_timeout(Duration::ZERO)),
            ("silence", builder().silence_limit(hour * 48)),
            ("message", builder().message_limit(1)),
            ("backoff", builder().backoff(Backoff::new(hour, hour * 48))),
        ] {
            let error = refused.build().expect_err(name);
            assert_eq!(error.kind(), ErrorKind::Config, "{name}: {error}");
        }
        assert!(builder().token("a").build().is_ok());
    }

    #[test]
    fn the_token_is_not_printed() {
        let builder = DistributorSource::builder("http://localhost").token("hunter2");
        let printed = format!("{builder:?} {:?}", builder.clone().build().unwrap());
        assert!(!printed.contains("hunter2"), "{printed}");
        let error = builder.token("hunter2\n").build().unwrap_err();
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }
}
