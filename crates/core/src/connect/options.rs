//! The options of a connection string, in either form.

use std::collections::BTreeMap;

use tokio_postgres::Config;

use super::resembles::resembles;
use super::tls::SslSettings;
use crate::error::{Error, ErrorKind, Result};

/// The supported options.
pub(super) const OPTIONS: [&str; 20] = [
    "application_name",
    "channel_binding",
    "connect_timeout",
    "dbname",
    "host",
    "hostaddr",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_retries",
    "load_balance_hosts",
    "options",
    "password",
    "port",
    "sslmode",
    "sslnegotiation",
    "sslrootcert",
    "target_session_attrs",
    "tcp_user_timeout",
    "user",
];

/// Other options of libpq. They are refused, because ignoring them could be harmful.
pub(super) const UNSUPPORTED: [&str; 25] = [
    "client_encoding",
    "fallback_application_name",
    "gssdelegation",
    "gssencmode",
    "gsslib",
    "krbsrvname",
    "max_protocol_version",
    "min_protocol_version",
    "passfile",
    "replication",
    "require_auth",
    "requirepeer",
    "requiressl",
    "service",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "sslcert",
    "sslcertmode",
    "sslcompression",
    "sslcrl",
    "sslcrldir",
    "sslkey",
    "sslkeylogfile",
    "sslpassword",
    "sslsni",
];

/// Returns whether a word has the form of an option's name. Any other word may be a misplaced password.
pub(super) fn is_name(word: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c == '_';
    (1..=32).contains(&word.len()) && word.chars().all(fits)
}

/// Returns the option of this name, if there is one.
pub(super) fn option(name: &str) -> Option<&'static str> {
    OPTIONS.into_iter().find(|known| *known == name)
}

/// Refuses a password or URL in a value that is shown in logs and errors.
pub(super) fn refuse_stray(option: &str, value: &str, source: &str) -> Result<()> {
    let is_none = |host: &str| host.contains(['@', '/']) && !host.starts_with('/');
    match option {
        "host" if value.split(',').any(is_none) => Err(refusal(format!(
            "the host in {source} contains \"@\" or \"/\"; pass a connection string as a whole, not as a host"
        ))),
        "dbname" | "user" if resembles(value) => Err(refusal(format!(
            "{option} in {source} is a connection string; pass it as a whole instead"
        ))),
        _ => Ok(()),
    }
}

/// The options of a connection string. If an option is given twice, the last value counts, as in libpq.
#[derive(Default)]
pub(super) struct ParsedOptions {
    ssl: SslSettings,
    password: Option<Vec<u8>>,
    others: BTreeMap<&'static str, String>,
}

impl ParsedOptions {
    pub(super) fn set(&mut self, option: &'static str, value: Vec<u8>) -> Result<()> {
        if option == "password" {
            self.password = Some(value);
            return Ok(());
        }
        let Ok(value) = String::from_utf8(value) else {
            let message = format!("the value of {option} in the connection string is not UTF-8");
            return Err(refusal(message));
        };
        refuse_stray(option, &value, "the connection string")?;
        if option == "sslnegotiation" && value != "postgres" {
            return Err(refusal(
                "sslnegotiation in the connection string must be postgres; other values are not supported",
            ));
        }
        if !self.ssl.take(option, &value)? {
            self.others.insert(option, value);
        }
        Ok(())
    }

    /// Adds a setting of the server to the option `options`.
    pub(super) fn add_setting(&mut self, setting: &str, value: &[u8]) -> Result<()> {
        let value = std::str::from_utf8(value).map_err(|_| {
            refusal(format!(
                "the value of options[{setting}] in the connection string is not UTF-8"
            ))
        })?;
        let options = self.others.entry("options").or_default();
        if !options.is_empty() {
            options.push(' ');
        }
        options.push_str(&format!("-c {setting}="));
        // The server splits options at white space, unless a backslash precedes it.
        for c in value.chars() {
            if c.is_whitespace() || c == '\\' {
                options.push('\\');
            }
            options.push(c);
        }
        Ok(())
    }

    pub(super) fn into_config(self) -> Result<(Config, SslSettings)> {
        let mut pairs = String::new();
        for (option, value) in &self.others {
            let quoted = value.replace('\\', "\\\\").replace('\'', "\\'");
            pairs.push_str(&format!("{option}='{quoted}' "));
        }
        let mut config: Config = pairs.parse().map_err(|cause: tokio_postgres::Error| {
            Error::with_source(
                ErrorKind::Config,
                "cannot parse the connection string",
                cause,
            )
        })?;
        if let Some(password) = self.password {
            config.password(password);
        }
        Ok((config, self.ssl))
    }
}

pub(super) fn refusal(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Config, message)
}

pub(super) fn unknown(name: &str) -> Error {
    refusal(format!("unknown option {name:?} in the connection string"))
}
