//! Connection strings. `tokio_postgres` reads them; only `sslmode` and `sslrootcert`, of which it knows
//! too little, are taken out before.

use percent_encoding::percent_decode_str;
use tokio_postgres::Config;

use super::tls::SslSettings;
use crate::error::{Error, Kind, Result};

pub(super) fn parse(text: &str) -> Result<(Config, SslSettings)> {
    let mut ssl = SslSettings::default();
    let rest = if text.starts_with("postgresql://") || text.starts_with("postgres://") {
        strip_url(text, &mut ssl)?
    } else {
        strip_pairs(text, &mut ssl)?
    };
    let config = rest.parse().map_err(|cause: tokio_postgres::Error| {
        Error::with_source(Kind::Config, "the connection string cannot be read", cause)
    })?;
    Ok((config, ssl))
}

/// Takes our parameters out of a URL's query.
fn strip_url(text: &str, ssl: &mut SslSettings) -> Result<String> {
    // Else the rest of the password would be taken for the host, and told as such.
    let host = text.split('?').next().and_then(|url| url.split_once('@'));
    if host.is_some_and(|(_, host)| host.split('/').next().unwrap_or_default().contains('@')) {
        let message =
            "the connection string has a second \"@\" before its host; in a password, write %40";
        return Err(Error::new(Kind::Config, message));
    }
    let Some((base, query)) = text.split_once('?') else {
        return Ok(text.to_owned());
    };
    let mut kept = Vec::new();
    for pair in query.split('&') {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = percent_decode_str(value).decode_utf8().map_err(|cause| {
            let message = format!("the value of {key:?} in the connection string is not UTF-8");
            Error::with_source(Kind::Config, message, cause)
        })?;
        if !ssl.take(key, &value)? {
            kept.push(pair);
        }
    }
    let separator = if kept.is_empty() { "" } else { "?" };
    Ok(format!("{base}{separator}{}", kept.join("&")))
}

/// Takes our parameters out of a `key=value` string.
fn strip_pairs(text: &str, ssl: &mut SslSettings) -> Result<String> {
    let mut kept = String::new();
    let mut chars = text.chars().peekable();
    loop {
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        if chars.peek().is_none() {
            return Ok(kept);
        }
        let mut key = String::new();
        while let Some(c) = chars.next_if(|c| !c.is_whitespace() && *c != '=') {
            key.push(c);
        }
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        if chars.next_if_eq(&'=').is_none() {
            // A password may be in what was meant as a URL, or in anything that is not a name.
            let message = match key.split_once("://") {
                Some((scheme, _)) => {
                    format!("{scheme:?} is no scheme of a connection string; write postgresql://…")
                }
                None if key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') => {
                    format!("there is no \"=\" behind {key:?} in the connection string")
                }
                None => "there is a word without \"=\" in the connection string".to_owned(),
            };
            return Err(Error::new(Kind::Config, message));
        }
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        let value = value(&key, &mut chars)?;
        if !ssl.take(&key, &value)? {
            let quoted = value.replace('\\', "\\\\").replace('\'', "\\'");
            kept.push_str(&format!("{key}='{quoted}' "));
        }
    }
}

/// One value: bare up to white space, or in single quotes; a backslash takes the next character as it is.
fn value(key: &str, chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<String> {
    let quoted = chars.next_if_eq(&'\'').is_some();
    let mut value = String::new();
    while let Some(c) = chars.next_if(|c| quoted || !c.is_whitespace()) {
        match c {
            '\'' if quoted => return Ok(value),
            '\\' => value.extend(chars.next()),
            c => value.push(c),
        }
    }
    if quoted {
        let message =
            format!("the quote around the value of {key:?} in the connection string is not closed");
        return Err(Error::new(Kind::Config, message));
    }
    Ok(value)
}
