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
    // The user's end is the first of them for the parser, wherever it stands; for libpq, the first before a slash. Where
    // they differ, a part of the password would be taken for the host, connected to, and told.
    let mut marks = text
        .split_once("://")
        .map_or(text, |(_, rest)| rest)
        .matches(['@', '/', '?']);
    let is_odd = marks
        .position(|mark| mark == "@")
        .is_some_and(|before| before > 0);
    if is_odd || marks.any(|mark| mark == "@") {
        let message = "the connection string has an \"@\" besides the one between user and host, or that one stands \
                       behind a \"/\" or \"?\"; but for these, write %40, %2F and %3F";
        return Err(Error::new(Kind::Config, message));
    }
    let Some((base, query)) = text.split_once('?') else {
        return Ok(text.to_owned());
    };
    let mut kept = Vec::new();
    for pair in query.split('&') {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        require_name(key)?;
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
        require_name(&key)?;
        if chars.next_if_eq(&'=').is_none() {
            return Err(Error::new(
                Kind::Config,
                "there is a word without \"=\" in the connection string",
            ));
        }
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        let value = value(&key, &mut chars)?;
        if !ssl.take(&key, &value)? {
            let quoted = value.replace('\\', "\\\\").replace('\'', "\\'");
            kept.push_str(&format!("{key}='{quoted}' "));
        }
    }
}

/// Refuses what no parameter is called. It is not told: a password may be in what was meant as a URL, or holds a blank.
fn require_name(key: &str) -> Result<()> {
    if !key.is_empty() && key.chars().all(|c| c.is_ascii_lowercase() || c == '_') {
        return Ok(());
    }
    let is_scheme = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    let message = match key.split_once("://") {
        Some((scheme, _)) if scheme.chars().all(is_scheme) => {
            format!("{scheme:?} is no scheme of a connection string; write postgresql://…")
        }
        _ => "the connection string is neither a URL, postgresql://…, nor words of the kind name=value".to_owned(),
    };
    Err(Error::new(Kind::Config, message))
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

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn what_is_malformed_is_refused_and_its_password_not_told() {
        let malformed = [
            "postgres//u:S3CRET@h/d?sslmode=require",
            "postgres//u:S3CRET@h/d",
            "postgres:/u:S3CRET@h/d?sslmode=require",
            "'postgres://u:S3CRET@h/d?sslmode=require'",
            "\"postgres://u:S3CRET@h/d?sslmode=require\"",
            "Postgresql://u:S3CRET@h/d?sslmode=require",
            "POSTGRES://u:S3CRET@h/d?a=b",
            "postgresql+psycopg://u:S3CRET@h/d?sslmode=require",
            "jdbc:postgresql://h/d?password=S3CRET",
            " postgres://u:S3CRET@h/d?sslmode=require",
            "postgres://u:p@S3CRET@h/d",
            "postgres://u:p@S3CRET/x@h/d",
            "postgres://u:p/S3CRET@h/d",
            "postgres://u:p?S3CRET@h/d",
            "postgres://u:p@s/S3CRET@h/d",
            "postgres://u:p?s@S3CRET@h/d",
            "postgres://h/d?user=u&password=a@S3CRET/c",
            "postgres://u@h/d?password=a@S3CRET",
            "postgres://h/d?application_name=x@S3CRET.invalid",
            "postgres://h?password=x@S3CRET",
            "postgres://u@h/d?password=S3CRET%ff",
            "postgres://u@h/d?password=a&S3CRET=b",
            "postgres://u@h/d?password=a&S3CRET",
            "postgres://u:S3CRET@h:port/d",
            "postgres://u:S3CRET@h/d?sslmode=never",
            "postgres://u:S3CRET@h/d?connect_timeout=x",
            "postgres://u:S3CRET@h/d?=x",
            "password=a S3CRET host=h",
            "password=a S3CRET=b host=h",
            "password='a S3CRET host=h",
            "password=a 'S3CRET' = b",
            "host=h password='S3CRET' port=x",
            "host=h password='S3CRET' sslmode=never",
            "S3CRET",
            "=S3CRET",
            "u:S3CRET@h/d",
        ];
        for text in malformed {
            let error = match parse(text) {
                Err(error) => error.chain().to_string(),
                Ok((config, _)) => panic!("{text} is taken for {config:?}"),
            };
            assert!(
                !error.contains("S3CRET") && !error.contains("S3"),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn hosts_and_passwords_are_read_as_by_libpq() {
        let cases = [
            ("postgres://u:p%40%2F%3F@h/d", "u", "p@/?"),
            ("postgres://u:p#w@h/d?application_name=x%40y", "u", "p#w"),
            (
                "postgresql://u:p@h:5432,i:5433/d?connect_timeout=3",
                "u",
                "p",
            ),
            ("postgres://u:p@[::1]:5432/d", "u", "p"),
            ("postgres://u:p@%2Ftmp/d", "u", "p"),
            ("postgres:///d?host=/tmp&user=u&password=p", "u", "p"),
            ("host=h user=u password='p @/?'", "u", "p @/?"),
        ];
        for (text, user, password) in cases {
            let (config, _) = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            let found = (config.get_user(), config.get_password());
            assert_eq!(found, (Some(user), Some(password.as_bytes())), "{text}");
        }
    }
}
