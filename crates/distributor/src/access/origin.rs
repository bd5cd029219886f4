//! Which pages may use the distributor from a browser.
//!
//! A browser sends the header `Origin` with the WebSockets and the requests of a page to another host, and scripts cannot change it.
//! A client without the header is no browser, or a page of the distributor's own host.

use std::net::IpAddr;

use actix_web::HttpRequest;
use actix_web::http::header::{HOST, HeaderMap, HeaderName, ORIGIN};

use pgherald_core::__private::host::errors;
use pgherald_core::Result;

use crate::refusal::Refusal;

/// The pages that may use the distributor, beside those of its own host.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origins(Vec<String>);

impl Origins {
    pub(crate) fn new(origins: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self(origins.into_iter().map(Into::into).collect())
    }

    /// Refuses origins that no browser sends.
    pub(crate) fn validate(&self) -> Result<()> {
        for origin in &self.0 {
            let authority = ["http://", "https://"]
                .iter()
                .find_map(|scheme| origin.strip_prefix(scheme));
            let is_origin = authority.is_some_and(|authority| {
                let is_part = |c: char| {
                    c.is_ascii_graphic() && !"/?#@*".contains(c) && !c.is_ascii_uppercase()
                };
                !authority.is_empty() && authority.chars().all(is_part)
            });
            if !is_origin {
                return Err(errors::bad_access(format!(
                    "{origin:?} is not the origin of a page; write scheme, host and, unless it is the default, port in lower case, \
                     such as https://app.example.com"
                )));
            }
        }
        Ok(())
    }

    /// Refuses the request of a page of another host that is not in the list.
    pub(crate) fn check(&self, request: &HttpRequest) -> std::result::Result<(), Refusal> {
        let headers = request.headers();
        let mut origins = headers.get_all(ORIGIN);
        let Some(origin) = origins.next() else {
            return Ok(());
        };
        let origin = origin.to_str().unwrap_or_default();
        let is_permitted = self.allow(origin) || is_of_host(origin, host(request));
        match is_permitted && origins.next().is_none() {
            true => Ok(()),
            false => Err(Refusal::bad_origin()),
        }
    }

    /// Whether there is no list.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the list has this origin. Browsers write schemes and hosts in lower case.
    pub(crate) fn allow(&self, origin: &str) -> bool {
        self.0.iter().any(|allowed| allowed == origin)
    }
}

/// Refuses a request whose host is no name of this machine.
///
/// Without this, a page on the Internet could have its own name resolve to a loopback address, and read from the distributor as from
/// its own host (DNS rebinding).
pub(crate) fn check_loopback_host(request: &HttpRequest) -> std::result::Result<(), Refusal> {
    let host = host(request).unwrap_or_default();
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let is_loopback = name.eq_ignore_ascii_case("localhost")
        || name.parse().is_ok_and(|ip: IpAddr| is_loopback(ip));
    match is_loopback {
        true => Ok(()),
        false => Err(Refusal::bad_host()),
    }
}

pub(crate) fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// The host that the client addressed. `None` if there is none, or more than one. Headers that a proxy adds are ignored, because
/// every client can send them.
fn host(request: &HttpRequest) -> Option<&str> {
    match request.uri().authority() {
        Some(authority) => Some(authority.as_str()),
        None => only(request.headers(), &HOST),
    }
}

/// The value of a header that occurs once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name);
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// Whether a page of `origin` was loaded from `host`. A proxy may have ended TLS, so the scheme is not compared.
fn is_of_host(origin: &str, host: Option<&str>) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else {
        return false;
    };
    let default = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return false,
    };
    host.is_some_and(|host| {
        let host = host.strip_suffix(default).unwrap_or(host);
        !host.is_empty() && authority.eq_ignore_ascii_case(host)
    })
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::{Origins, check_loopback_host};

    #[test]
    fn pages_of_the_own_host_and_of_the_list_are_permitted() {
        let origins = Origins::new(["https://app.example"]);
        let permits = |host: &str, origin: &str| {
            let request = TestRequest::default()
                .insert_header(("host", host))
                .insert_header(("origin", origin));
            origins.check(&request.to_http_request()).is_ok()
        };
        for (host, origin) in [
            ("a.example", "https://a.example"),
            ("a.example", "http://a.example"),
            ("a.example:443", "https://a.example"),
            ("a.example:8080", "http://a.example:8080"),
            ("A.example", "http://a.example"),
            ("other", "https://app.example"),
        ] {
            assert!(permits(host, origin), "{host} {origin}");
        }
        for (host, origin) in [
            ("a.example", "https://b.example"),
            ("a.example", "null"),
            ("a.example", ""),
            ("", "http://"),
            ("a.example", "http://a.example:8080"),
            ("a.example:8080", "http://a.example"),
            ("a.example", "file://a.example"),
            ("a.example", "https://a.example.evil"),
            ("x", "http://app.example"),
            ("x", "https://app.example.evil"),
            ("x", "https://app.example "),
        ] {
            assert!(!permits(host, origin), "{host} {origin}");
        }
        let none = TestRequest::default().to_http_request();
        assert!(origins.check(&none).is_ok());
        let two = TestRequest::default()
            .insert_header(("origin", "https://app.example"))
            .append_header(("origin", "https://evil.example"));
        assert!(origins.check(&two.to_http_request()).is_err());
    }

    #[test]
    fn only_names_of_this_machine_are_loopback_hosts() {
        let is_ok = |host: &str| {
            let request = TestRequest::default().insert_header(("host", host));
            check_loopback_host(&request.to_http_request()).is_ok()
        };
        for host in [
            "localhost",
            "LOCALHOST:80",
            "127.0.0.1:8080",
            "127.9.9.9",
            "[::1]:8080",
            "[::1]",
        ] {
            assert!(is_ok(host), "{host}");
        }
        for host in [
            "",
            "a",
            "evil.example:8080",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.1",
            "[::2]",
            "::1",
        ] {
            assert!(!is_ok(host), "{host}");
        }
        assert!(check_loopback_host(&TestRequest::default().to_http_request()).is_err());
        let two = TestRequest::default()
            .insert_header(("host", "localhost"))
            .append_header(("host", "evil.example"));
        assert!(check_loopback_host(&two.to_http_request()).is_err());
    }
}
