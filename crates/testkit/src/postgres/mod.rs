//! A real PostgreSQL server for a test.
//!
//! [`Postgres`] is the handle. Its async methods call the supervision of processes, which blocks, on tokio's blocking
//! threads. So a current-thread runtime is not blocked.

mod builder;
mod cluster;
mod lockfile;
mod server;
mod sql;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::sync::OnceCell;

use crate::Error;
use crate::process::{HOST, Supervised, blocking, control_server};
use server::Server;

pub use builder::Builder;

const DEFAULT_DATABASE: &str = "postgres";

/// A private PostgreSQL server, with its data in a temporary directory and a port on 127.0.0.1.
///
/// When this value is dropped, the server ends and its files are removed. The same happens when the test process ends in
/// any other way, including SIGKILL.
///
/// ```no_run
/// # async fn example() -> Result<(), pgherald_testkit::Error> {
/// use pgherald_testkit::Postgres;
///
/// let server = Postgres::builder().setting("max_connections", "50").start().await?;
/// let url = server.create_database().await?;
/// server.batch(&url, "create table city (name text)").await?;
///
/// server.restart().await?; // same port, same data
/// # Ok(())
/// # }
/// ```
///
/// The server runs with `fsync=off`: its data survives a [`kill`](Self::kill), but not a crash of the machine. The methods
/// that change the server's state wait until they have taken effect. Dropping their future does not cancel them.
pub struct Postgres {
    server: Arc<Supervised<Server>>,
    databases: AtomicU64,
}

impl Postgres {
    fn new(server: Supervised<Server>) -> Self {
        Self {
            server: Arc::new(server),
            databases: AtomicU64::new(0),
        }
    }

    /// Starts a server with default options.
    ///
    /// # Errors
    ///
    /// As [`Builder::start`].
    pub async fn start() -> Result<Self, Error> {
        Self::builder().start().await
    }

    /// Returns a builder, which sets the server's options.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Returns the server that all tests of this process share, and starts it on first use. Each test should create its own
    /// [database](Self::create_database). A test that stops the server needs a server of its own.
    ///
    /// # Errors
    ///
    /// As [`Builder::start`]. The next call tries again.
    pub async fn shared() -> Result<&'static Self, Error> {
        static SHARED: OnceCell<Postgres> = OnceCell::const_new();
        SHARED.get_or_try_init(Self::start).await
    }

    /// Returns the URL of the database `postgres`, for the superuser.
    pub fn url(&self) -> String {
        self.url_for(DEFAULT_DATABASE)
    }

    /// Returns the URL of the given database, for the superuser.
    pub fn url_for(&self, database: &str) -> String {
        const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'_').remove(b'-');
        let encode = |text| utf8_percent_encode(text, ENCODED);
        let password = self.server.program().password.as_deref();
        let password = password
            .map(|word| format!(":{}", encode(word)))
            .unwrap_or_default();
        let database = encode(database);
        format!(
            "postgresql://postgres{password}@{HOST}:{}/{database}",
            self.port()
        )
    }

    /// Returns the data directory.
    pub fn data_dir(&self) -> &Path {
        &self.server.program().data_dir
    }

    /// Returns the path of the authority's certificate, a PEM file, if the server was built with `Builder::tls`.
    pub fn ca_certificate(&self) -> Option<&Path> {
        self.server.program().authority.as_deref()
    }

    /// Creates an empty database with a new name. Returns its URL.
    ///
    /// # Errors
    ///
    /// If the server does not answer, or does not create the database.
    pub async fn create_database(&self) -> Result<String, Error> {
        let name = format!(
            "test_{}",
            self.databases.fetch_add(1, Ordering::Relaxed) + 1
        );
        // CREATE DATABASE fails while another session uses the template. template0 accepts no connections.
        self.execute(&format!("create database {name} template template0"))
            .await?;
        Ok(self.url_for(&name))
    }

    /// Runs statements, separated by semicolons, as superuser in the database `postgres`.
    ///
    /// # Errors
    ///
    /// If the server does not answer, or a statement fails.
    pub async fn execute(&self, sql: &str) -> Result<(), Error> {
        self.batch(DEFAULT_DATABASE, sql).await
    }

    /// Runs statements, separated by semicolons, on a new connection. `database` is the name of a database of this server, to
    /// which the superuser connects, or a URL.
    ///
    /// # Errors
    ///
    /// If the server does not answer, or a statement fails.
    pub async fn batch(&self, database: &str, sql: &str) -> Result<(), Error> {
        let url = match database.contains("://") {
            true => database.to_owned(),
            false => self.url_for(database),
        };
        let sql = sql.to_owned();
        blocking(move || sql::run(&url, async |client| client.batch_execute(&sql).await)).await
    }

    /// Terminates the backends of clients, as an administrator would: those with the given `application_name`, or all.
    /// Returns their number. The clients notice it a moment later.
    ///
    /// # Errors
    ///
    /// If the server does not answer.
    pub async fn terminate_backends(&self, application_name: Option<&str>) -> Result<u64, Error> {
        const TERMINATE: &str = "select count(*) filter (where pg_terminate_backend(pid)) \
             from pg_stat_activity \
             where backend_type = 'client backend' and pid <> pg_backend_pid() \
             and application_name <> $2 and ($1::text is null or application_name = $1)";
        let url = self.url();
        let filter = application_name.map(str::to_owned);
        let count: i64 = blocking(move || {
            sql::run(&url, async |client| {
                let row = client
                    .query_one(TERMINATE, &[&filter, &sql::APPLICATION_NAME])
                    .await?;
                row.try_get(0)
            })
        })
        .await?;
        Ok(count.unsigned_abs())
    }

    control_server!(Server);
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres")
            .field("port", &self.port())
            .field("data_dir", &self.data_dir())
            .finish_non_exhaustive()
    }
}
