//! The log of commands that serve or relay, on standard error.

use tracing_subscriber::EnvFilter;

use crate::failure::Failure;

/// What is logged unless `RUST_LOG` says otherwise.
const DEFAULT: &str = "info";

/// Starts to log: lines of fields, or JSON objects.
pub(crate) fn start(json: bool) -> Result<(), Failure> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(filter) if !filter.is_empty() => EnvFilter::try_new(&filter).map_err(|error| {
            Failure::usage(format!("the value of RUST_LOG is no filter: {error}")).hint(
                "write levels and targets, such as RUST_LOG=info,pgherald_distributor::access=off",
            )
        })?,
        _ => EnvFilter::new(DEFAULT),
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let started = match json {
        true => builder.json().flatten_event(true).try_init(),
        false => builder.with_ansi(false).try_init(),
    };
    started.map_err(|error| Failure::problem(format!("cannot log: {error}")))
}
