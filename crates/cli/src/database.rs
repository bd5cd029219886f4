//! The settings of the connection, and connections.

use std::env::VarError;

use pgherald_core::ConnectConfig;
use tokio_postgres::Client;

use crate::failure::Failure;

/// The `application_name` of the command's sessions.
const NAME: &str = "pgherald-cli";

/// The hint for a URL that cannot be parsed: most often, its password contains special characters.
const ENCODE: &str = "in a URL, write @ in a password as %40, / as %2F, : as %3A, # as %23, ? as %3F, % as %25; \
    or give it in PGPASSWORD";

/// The database that a command works on.
#[derive(Debug)]
pub(crate) struct Database {
    /// The value of `--database-url`.
    url: Option<String>,
}

impl Database {
    pub(crate) fn new(url: Option<String>) -> Self {
        Self { url }
    }

    /// Returns the connection settings, from the command line, else from `DATABASE_URL`, else from the `PG*` variables.
    pub(crate) fn config(&self) -> Result<ConnectConfig, Failure> {
        let url = match (&self.url, std::env::var("DATABASE_URL")) {
            (Some(url), _) => url.clone(),
            (None, Ok(url)) => url,
            (None, Err(VarError::NotPresent)) => String::new(),
            (None, Err(VarError::NotUnicode(_))) => {
                return Err(Failure::usage("the value of DATABASE_URL is not UTF-8").hint(ENCODE));
            }
        };
        let config = url.parse::<ConnectConfig>().map_err(|error| {
            let hint = match url.contains("://") {
                true => ENCODE,
                false => "set --database-url, DATABASE_URL or the PG* variables",
            };
            Failure::usage(error.chain()).hint(hint)
        })?;
        Ok(config.application_name(NAME))
    }

    /// Opens a connection.
    pub(crate) async fn client(&self) -> Result<Client, Failure> {
        Ok(self.config()?.client().await?)
    }
}
