//! Which database, and connections to it.

use pgherald_core::ConnectConfig;
use tokio_postgres::Client;

use crate::failure::Failure;

/// What the server shows as `application_name`.
const NAME: &str = "pgherald-cli";

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
        let environment = || {
            std::env::var("DATABASE_URL")
                .ok()
                .filter(|url| !url.is_empty())
        };
        let url = self.url.clone().or_else(environment).unwrap_or_default();
        let config = url.parse::<ConnectConfig>().map_err(|error| {
            Failure::usage(error.chain())
                .hint("give --database-url, DATABASE_URL or the PG* variables")
        })?;
        Ok(config.application_name(NAME))
    }

    /// A connection.
    pub(crate) async fn client(&self) -> Result<Client, Failure> {
        Ok(self.config()?.client().await?)
    }
}
