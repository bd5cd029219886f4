//! Parses connection strings that are URLs: `postgresql://user:password@host:port,…/database?option=value&…`.

use percent_encoding::percent_decode_str;

use super::foreign::{Foreign, foreign};
use super::options::{ParsedOptions, is_name, option, refusal, unknown};
use crate::error::{Error, Result};

pub(super) fn without_scheme(text: &str) -> Option<&str> {
    text.strip_prefix("postgresql://")
        .or_else(|| text.strip_prefix("postgres://"))
}

/// Parses the part after the scheme. Refuses a URL in which libpq would take a likely part of a password for a host, or a
/// likely part of an option for a user.
pub(super) fn read(rest: &str, parsed: &mut ParsedOptions) -> Result<()> {
    // An "@" ends the user only before the first "/".
    let slash = rest.find('/').unwrap_or(rest.len());
    let (user, rest) = match rest.split_once('@') {
        Some((user, rest)) if user.len() < slash => (user, rest),
        _ => ("", rest),
    };
    let (base, query) = rest.split_once('?').unwrap_or((rest, ""));
    if user.contains('?') || base.contains('@') {
        return Err(not_encoded());
    }
    let (user, password) = user.split_once(':').unwrap_or((user, ""));
    let (hosts, dbname) = base.split_once('/').unwrap_or((base, ""));
    let (hosts, ports) = read_hosts(hosts)?;
    let parts = [
        ("user", user),
        ("password", password),
        ("host", &hosts),
        ("port", &ports),
        ("dbname", dbname),
    ];
    for (option, value) in parts {
        if !value.is_empty() {
            parsed.set(option, decode(value)?)?;
        }
    }
    read_query(query, parsed)
}

/// Splits a list of hosts with ports into comma-separated hosts and ports.
fn read_hosts(text: &str) -> Result<(String, String)> {
    let mut hosts = Vec::new();
    let mut ports = Vec::new();
    for one in text.split(',') {
        let (host, port) = match one.strip_prefix('[') {
            Some(address) => read_address(address)?,
            None => one.split_once(':').unwrap_or((one, "")),
        };
        hosts.push(host);
        ports.push(port);
    }
    let has_ports = ports.iter().any(|port| !port.is_empty());
    let ports = if has_ports {
        ports.join(",")
    } else {
        String::new()
    };
    Ok((hosts.join(","), ports))
}

/// Splits an address in brackets from the port after it.
fn read_address(text: &str) -> Result<(&str, &str)> {
    let read = match text.split_once(']') {
        Some(("", _)) | None => None,
        Some((address, "")) => Some((address, "")),
        Some((address, port)) => port.strip_prefix(':').map(|port| (address, port)),
    };
    read.ok_or_else(|| refusal("invalid address in brackets in the connection string"))
}

fn read_query(query: &str, parsed: &mut ParsedOptions) -> Result<()> {
    // Text after a password, or before an "@", may be part of a password.
    let mut may_show = !query.contains('@');
    for pair in query.split_terminator('&') {
        let (name, value) = match pair.split_once('=') {
            Some(pair) => pair,
            None if may_show => {
                let message = "an option in the connection string has no \"=\"";
                return Err(refusal(message));
            }
            None => return Err(not_encoded()),
        };
        let name = String::from_utf8(decode(name)?).unwrap_or_default();
        let value = decode(value)?;
        let option = match (option(&name), foreign(&name)) {
            (Some(option), _) | (None, Some(Foreign::Spelling(option))) => option,
            (None, Some(Foreign::Setting(setting))) => {
                parsed.add_setting(&setting, &value)?;
                continue;
            }
            (None, Some(Foreign::WithoutEffect)) => {
                tracing::info!(option = name, "ignored an option of another driver");
                continue;
            }
            (None, Some(Foreign::Refused(error))) => return Err(error),
            (None, None) if may_show && is_name(&name) => return Err(unknown(&name)),
            (None, None) => return Err(not_encoded()),
        };
        may_show &= option != "password";
        parsed.set(option, value)?;
    }
    Ok(())
}

fn not_encoded() -> Error {
    refusal(
        "a name, a password or another value in the connection string is not percent-encoded: write @ as %40, \
         / as %2F, ? as %3F, & as %26",
    )
}

/// Decodes percent-encoding. Refuses invalid encoding, as libpq does.
fn decode(text: &str) -> Result<Vec<u8>> {
    let is_encoded = |rest: &str| {
        let digits = rest.as_bytes().get(..2);
        digits.is_some_and(|digits| digits != b"00" && digits.iter().all(u8::is_ascii_hexdigit))
    };
    if !text.split('%').skip(1).all(is_encoded) {
        let message =
            "a \"%\" in the connection string does not begin an encoded character; write % as %25";
        return Err(refusal(message));
    }
    Ok(percent_decode_str(text).collect())
}
