//! A database for programs that take one from the environment and bring one otherwise.

use crate::{Error, Postgres};

/// The database that `DATABASE_URL` names, or else a server started for the occasion.
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
    /// Starts a server only if `DATABASE_URL` is unset or empty.
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

    /// Where to connect to.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The server, if one was started. It ends when this value is dropped.
    pub fn server(&self) -> Option<&Postgres> {
        self.server.as_ref()
    }
}
