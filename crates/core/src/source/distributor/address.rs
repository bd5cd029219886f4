//! The URL of a distributor.

use std::fmt;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio_tungstenite::tungstenite::http::Uri;

use crate::error::{Error, ErrorKind, Result};
use crate::name::TableName;

/// The route that a source reads.
const ROUTE: &str = "/v1/ws";

/// Where a distributor is. Prints as a URL, which has no secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) encrypted: bool,
    /// Without the brackets of an IPv6 address.
    pub(super) host: String,
    pub(super) port: u16,
    /// Host and port as they were given.
    authority: String,
    /// The path before [`ROUTE`], without a slash at its end.
    scope: String,
}

impl Address {
    pub(super) fn parse(url: &str) -> Result<Self> {
        let refuse = |why: &str| {
            // Without the URL itself: it may contain a password.
            let message =
                format!("the URL of the distributor {why}; it must be like https://host:port/path");
            Error::new(ErrorKind::Config, message)
        };
        let parsed: Uri = url.parse().map_err(|_| refuse("cannot be parsed"))?;
        let encrypted = match parsed.scheme_str() {
            Some("https" | "wss") => true,
            Some("http" | "ws") => false,
            _ => return Err(refuse("has neither the scheme https nor http")),
        };
        let authority = parsed.authority().ok_or_else(|| refuse("has no host"))?;
        if authority.as_str().contains('@') {
            return Err(refuse("has a user or password; use token() instead"));
        }
        if parsed.query().is_some() {
            return Err(refuse("has a query"));
        }
        let host = authority.host();
        let host = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        if host.is_empty() {
            return Err(refuse("has no host"));
        }
        let path = parsed.path();
        let scope = path
            .strip_suffix(ROUTE)
            .unwrap_or(path)
            .trim_end_matches('/');
        Ok(Self {
            encrypted,
            host: host.to_owned(),
            port: authority
                .port_u16()
                .unwrap_or(if encrypted { 443 } else { 80 }),
            authority: authority.to_string(),
            scope: scope.to_owned(),
        })
    }

    /// Returns the address of the stream of `tables`, or of all tables, after the position `since`.
    pub(super) fn stream(&self, tables: &[TableName], since: Option<&str>) -> String {
        let scheme = if self.encrypted { "wss" } else { "ws" };
        let Self {
            authority, scope, ..
        } = self;
        let mut uri = format!("{scheme}://{authority}{scope}{ROUTE}");
        let encoded = |value: &str| utf8_percent_encode(value, NON_ALPHANUMERIC).to_string();
        let tables = tables.iter().map(|table| {
            let name = format!("{}.{}", table.schema(), table.name());
            format!("table={}", encoded(&name))
        });
        let since = since.map(|since| format!("since={}", encoded(since)));
        for (index, parameter) in tables.chain(since).enumerate() {
            uri.push(if index == 0 { '?' } else { '&' });
            uri.push_str(&parameter);
        }
        uri
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.encrypted { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority, self.scope)
    }
}

#[cfg(test)]
mod tests {
    use super::Address;
    use crate::{ErrorKind, TableName};

    fn stream(url: &str) -> String {
        Address::parse(url).unwrap().stream(&[], None)
    }

    #[test]
    fn urls_lead_to_the_stream_of_the_distributor() {
        for (url, expected) in [
            ("http://localhost:8080", "ws://localhost:8080/v1/ws"),
            ("https://a.example/", "wss://a.example/v1/ws"),
            ("https://a.example/events/", "wss://a.example/events/v1/ws"),
            (
                "wss://a.example/events/v1/ws",
                "wss://a.example/events/v1/ws",
            ),
            ("ws://[::1]:80", "ws://[::1]:80/v1/ws"),
        ] {
            assert_eq!(stream(url), expected, "{url}");
        }
        let address = Address::parse("https://[::1]/x").unwrap();
        assert_eq!((&*address.host, address.port), ("::1", 443));
        assert_eq!(address.to_string(), "https://[::1]/x");
        assert_eq!(Address::parse("http://a").unwrap().port, 80);
    }

    #[test]
    fn tables_and_positions_are_encoded() {
        let address = Address::parse("http://a").unwrap();
        let tables = [
            TableName::new("public", "a&b=c").unwrap(),
            TableName::new("x", "ü").unwrap(),
        ];
        assert_eq!(
            address.stream(&tables, Some("1:2&x#")),
            "ws://a/v1/ws?table=public%2Ea%26b%3Dc&table=x%2E%C3%BC&since=1%3A2%26x%23"
        );
    }

    #[test]
    fn urls_that_are_no_address_of_a_distributor_are_refused_without_being_shown() {
        for url in [
            "",
            "localhost:8080",
            "/v1/ws",
            "ftp://a",
            "https://",
            "https://user:hunter2@a",
            "https://hunter2@a",
            "https://a?token=hunter2",
            "https://a b",
        ] {
            let error = Address::parse(url).expect_err(url);
            assert_eq!(error.kind(), ErrorKind::Config, "{url}");
            assert!(!error.chain().contains("hunter2"), "{error}");
        }
    }
}
