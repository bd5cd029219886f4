//! A database for programs that use `DATABASE_URL`, or start a server if it is not set.

use crate::{Error, Postgres};

/// The database that `DATABASE_URL` names, or a database on a private server.
///
/// ```no_run
/// # async fn example() -> Result<(), pgherald_testkit::Error> {
/// let database = pgherald_testkit::Database::from_env_or_start().await?;
/// println!("connecting to {}", database.url());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Database {
    url: String,
    server: Option<Postgres>,
}

impl Database {
    /// Uses the database that `DATABASE_URL` names. Starts a server if the variable is unset or empty.
    ///
    /// # Errors
    ///
    /// As [`Builder::start`](crate::postgres::Builder::start).
    pub async fn from_env_or_start() -> Result<Self, Error> {
        match std::env::var("DATABASE_URL") {
            Ok(url) if !url.is_empty() => Ok(Self { url, server: None }),
            _ => {
                let server = Postgres::start().await?;
                Ok(Self {
                    url: server.url(),
                    server: Some(server),
                })
            }
        }
    }

    /// Returns the database's URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the server, if one was started. Dropping `self` stops it.
    pub fn server(&self) -> Option<&Postgres> {
        self.server.as_ref()
    }
}
