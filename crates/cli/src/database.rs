//! Which database, and connections to it.

use std::env::VarError;

use pgherald_core::ConnectConfig;
use tokio_postgres::Client;

use crate::failure::Failure;

/// What the server shows as `application_name`.
const NAME: &str = "pgherald-cli";

/// What is most often wrong with a URL.
const ENCODE: &str = "in a URL, write @ in a password as %40, / as %2F, : as %3A, # as %23, ? as %3F, % as %25; \
    or give it in PGPASSWORD";

/// The database that a command is about.
#[derive(Debug)]
pub(crate) struct Database {
    /// As given on the command line.
    url: Option<String>,
}

impl Database {
    pub(crate) fn new(url: Option<String>) -> Self {
        Self { url }
    }

    /// How to connect: as the command line says, else `DATABASE_URL`, else the `PG*` variables.
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
                false => "give --database-url, DATABASE_URL or the PG* variables",
            };
            Failure::usage(error.chain()).hint(hint)
        })?;
        Ok(config.application_name(NAME))
    }

    /// A connection.
    pub(crate) async fn client(&self) -> Result<Client, Failure> {
        Ok(self.config()?.client().await?)
    }
}
