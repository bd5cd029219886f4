//! Arguments of `pgherald relay`.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use jiff::{Span, SpanRelativeTo};
use pgherald_nats::contract::Prefix;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pgherald relay nats://localhost --stream CHANGES --create --dry-run
  pgherald relay nats://localhost --stream CHANGES --create --max-age 7d
  pgherald relay nats://a.example.org,nats://b.example.org --stream CHANGES --tables 'shop.*' --creds relay.creds

Runs until SIGTERM or Ctrl-C, and then waits for the batches that it has sent. Run it on several machines: relays of the same
group share the work, and take over from each other. Credentials in a file, unlike those in a URL, are not in the list of
processes. Logs go to standard error; RUST_LOG selects them.")]
pub(crate) struct Relay {
    /// Servers of one NATS cluster: nats://HOST[:PORT] or tls://HOST[:PORT], with commas between them
    #[arg(value_name = "SERVERS", value_parser = servers)]
    pub(crate) servers: Servers,
    /// The stream
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) stream: String,
    /// The first tokens of all subjects, which are PREFIX.SLICE.SCHEMA.TABLE.OPERATION
    #[arg(long, value_name = "PREFIX", default_value = "pg", value_parser = prefix)]
    pub(crate) prefix: Prefix,
    /// Tables to relay, of those that are recorded in the outbox: schema.name, in which * stands for any text [default: all]
    #[arg(long, value_name = "PATTERN", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) tables: Vec<String>,
    /// The group that keeps the progress in the database. Each stream and prefix needs a group of its own
    /// [default: relay-NAME of the stream]
    #[arg(long, value_name = "GROUP", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) group: Option<String>,
    /// Slices of a new group: rows are shared between them, and relays share the slices [default: 32]
    #[arg(long, value_name = "N")]
    pub(crate) slices: Option<u16>,
    /// Create the stream if it does not exist. An existing stream is never changed
    #[arg(long)]
    pub(crate) create: bool,
    /// Servers that store the stream: 1, 3 or 5. An existing stream with fewer is refused
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        requires = "create",
        value_parser = clap::value_parser!(u8).range(1..=5)
    )]
    pub(crate) replicas: u8,
    /// The age at which the stream deletes messages, such as 12h or 7d [default: never]. An existing stream with another age is
    /// refused
    #[arg(long, value_name = "TIME", requires = "create", value_parser = age)]
    pub(crate) max_age: Option<Duration>,
    /// Verify database, group, server and stream, and show what the relay would do. Writes nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Serve metrics for Prometheus on this address and port, with the state of all groups of the database
    #[arg(long, value_name = "ADDRESS", conflicts_with = "dry_run")]
    pub(crate) metrics: Option<SocketAddr>,
    /// Log in with this file of credentials, such as nsc writes
    #[arg(long, value_name = "FILE", conflicts_with_all = ["nkey", "token_file"])]
    pub(crate) creds: Option<PathBuf>,
    /// Log in with the seed of an nkey in this file
    #[arg(long, value_name = "FILE", conflicts_with = "token_file")]
    pub(crate) nkey: Option<PathBuf>,
    /// Log in with the token in this file
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Require TLS, and trust the certificates in this PEM file instead of those of the system
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_ca: Option<PathBuf>,
    /// Require TLS, and present this certificate: a chain in PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The private key of the certificate, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
}

/// URLs of servers, which may have passwords. They are parsed later, because clap shows a value that it refuses.
#[derive(Clone)]
pub(crate) struct Servers(String);

impl Servers {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Servers(…)")
    }
}

#[expect(clippy::unnecessary_wraps, reason = "clap asks for a result")]
fn servers(text: &str) -> Result<Servers, String> {
    Ok(Servers(text.to_owned()))
}

fn prefix(text: &str) -> Result<Prefix, String> {
    text.parse()
        .map_err(|error: pgherald_core::Error| error.chain())
}

fn age(text: &str) -> Result<Duration, String> {
    let parse = |text: &str| {
        let span: Span = text.parse().ok()?;
        let age = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
        Duration::try_from(age).ok().filter(|age| !age.is_zero())
    };
    parse(text).ok_or_else(|| "write a time above 0, such as 30m, 12h or 7d".to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Servers, age};

    #[test]
    fn ages_are_times_above_zero() {
        for (text, seconds) in [("90s", 90), ("12h", 43_200), ("7d", 604_800)] {
            assert_eq!(age(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for bad in ["", "0s", "-1h", "12", "soon", "1mo"] {
            assert!(age(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn debug_shows_no_servers() {
        let servers = Servers("nats://s3cret@localhost".to_owned());
        assert!(!format!("{servers:?}").contains("s3cret"));
    }
}
