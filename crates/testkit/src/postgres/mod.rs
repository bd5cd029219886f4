//! A real PostgreSQL server for the length of a test.
//!
//! [`Postgres`] is the handle; what it stands for is owned by one value, in this order:
//!
//! ```text
//! Postgres ──▶ Server ──▶ Postmaster     the process, replaced by each start
//!                    └──▶ Workspace      directory and watchdog, as long as the server
//! ```
//!
//! All of that blocks, so the handle's async methods run it on tokio's blocking threads: a
//! current-thread runtime keeps running meanwhile.

mod account;
mod builder;
mod cluster;
mod lockfile;
mod postmaster;
mod process;
mod server;
mod sql;
mod tls;
mod workspace;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::sync::OnceCell;

use crate::Error;
use server::Server;

pub use builder::Builder;

const HOST: &str = "127.0.0.1";
const DEFAULT_DATABASE: &str = "postgres";

/// A PostgreSQL server of one's own, with its data in a temporary directory and a port on 127.0.0.1.
///
/// It and all its files are gone when this is dropped, and also when the test process ends in any
/// other way, SIGKILL included.
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
/// The server is made to be thrown away (`fsync=off`): it survives being killed, not a failure of the
/// machine. The methods that act on the server wait for their effect; dropping their future does not
/// take it back.
pub struct Postgres {
    server: Arc<Server>,
    databases: AtomicU64,
}

impl Postgres {
    fn new(server: Server) -> Self {
        Self {
            server: Arc::new(server),
            databases: AtomicU64::new(0),
        }
    }

    /// Starts a server without further ado.
    ///
    /// # Errors
    ///
    /// As [`Builder::start`].
    pub async fn start() -> Result<Self, Error> {
        Self::builder().start().await
    }

    /// Options first.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The server that all tests of this process share, started on first use. Each test takes a
    /// [database](Self::create_database) of its own; one that stops the server needs its own server.
    ///
    /// # Errors
    ///
    /// As [`Builder::start`]; the next call tries again.
    pub async fn shared() -> Result<&'static Self, Error> {
        static SHARED: OnceCell<Postgres> = OnceCell::const_new();
        SHARED.get_or_try_init(Self::start).await
    }

    /// Where the superuser reaches the database `postgres`.
    pub fn url(&self) -> String {
        self.url_for(DEFAULT_DATABASE)
    }

    /// Where the superuser reaches the given database.
    pub fn url_for(&self, database: &str) -> String {
        const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'_').remove(b'-');
        let encode = |text| utf8_percent_encode(text, ENCODED);
        let password = self.server.password.as_deref();
        let password = password
            .map(|word| format!(":{}", encode(word)))
            .unwrap_or_default();
        let database = encode(database);
        format!(
            "postgresql://postgres{password}@{HOST}:{}/{database}",
            self.port()
        )
    }

    /// `127.0.0.1`.
    pub fn host(&self) -> &str {
        HOST
    }

    /// The TCP port; stays the same through restarts.
    pub fn port(&self) -> u16 {
        self.server.port
    }

    /// The data directory.
    pub fn data_dir(&self) -> &Path {
        &self.server.data_dir
    }

    /// The server's log.
    pub fn log_file(&self) -> &Path {
        &self.server.log_file
    }

    /// The certificate to trust, a PEM file, if the server was built with [`Builder::tls`].
    pub fn ca_certificate(&self) -> Option<&Path> {
        self.server.authority.as_deref()
    }

    /// Creates an empty database with a name of its own and returns its URL.
    ///
    /// # Errors
    ///
    /// The server does not answer, or refuses.
    pub async fn create_database(&self) -> Result<String, Error> {
        let name = format!(
            "test_{}",
            self.databases.fetch_add(1, Ordering::Relaxed) + 1
        );
        // template0 accepts no connections, so nobody can be in the way.
        self.execute(&format!("create database {name} template template0"))
            .await?;
        Ok(self.url_for(&name))
    }

    /// Runs statements, separated by semicolons, in the database `postgres`.
    ///
    /// # Errors
    ///
    /// The server does not answer, or refuses one of them.
    pub async fn execute(&self, sql: &str) -> Result<(), Error> {
        self.batch(DEFAULT_DATABASE, sql).await
    }

    /// Runs statements, separated by semicolons, as superuser on a connection of their own.
    /// `database` is the name of a database of this server, or a URL.
    ///
    /// # Errors
    ///
    /// The server does not answer, or refuses one of them.
    pub async fn batch(&self, database: &str, sql: &str) -> Result<(), Error> {
        let url = match database.contains("://") {
            true => database.to_owned(),
            false => self.url_for(database),
        };
        let sql = sql.to_owned();
        blocking(move || sql::run(&url, async |client| client.batch_execute(&sql).await)).await
    }

    /// Ends client connections from the server's side, as an administrator would: those whose
    /// `application_name` is the given one, or all. Returns how many; their clients learn of it a
    /// moment later.
    ///
    /// # Errors
    ///
    /// The server does not answer.
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

    /// Shuts the server down (fast: clients are disconnected, data is written) and waits for its end.
    /// Nothing happens if it is not running.
    ///
    /// # Errors
    ///
    /// It does not stop within half a minute.
    pub async fn stop(&self) -> Result<(), Error> {
        self.with_server(Server::stop).await
    }

    /// Kills the server and all its backends, without warning and without clean-up.
    ///
    /// # Errors
    ///
    /// Some process cannot be killed.
    pub async fn kill(&self) -> Result<(), Error> {
        self.with_server(Server::kill).await
    }

    /// Starts the server after [`stop`](Self::stop) or [`kill`](Self::kill), on the same port and data.
    /// Nothing happens if it is running.
    ///
    /// # Errors
    ///
    /// As [`Builder::start`].
    pub async fn start_again(&self) -> Result<(), Error> {
        self.with_server(Server::start_again).await
    }

    /// [`stop`](Self::stop), then [`start_again`](Self::start_again).
    ///
    /// # Errors
    ///
    /// As those.
    pub async fn restart(&self) -> Result<(), Error> {
        self.with_server(|server| server.stop().and_then(|()| server.start_again()))
            .await
    }

    /// Freezes the server with all its backends, as a machine that hangs: connections stay open and
    /// nothing answers. Every other method that needs an answer fails until [`resume`](Self::resume);
    /// `stop`, `kill` and `restart` work.
    ///
    /// # Errors
    ///
    /// The server is not running.
    pub async fn pause(&self) -> Result<(), Error> {
        self.with_server(Server::pause).await
    }

    /// Lets a [paused](Self::pause) server go on.
    ///
    /// # Errors
    ///
    /// The server is not running.
    pub async fn resume(&self) -> Result<(), Error> {
        self.with_server(Server::resume).await
    }

    /// Whether the server process exists; a paused one does.
    pub async fn is_running(&self) -> bool {
        self.with_server(|server| Ok(server.is_running()))
            .await
            .unwrap_or(false)
    }

    async fn with_server<T: Send + 'static>(
        &self,
        action: impl FnOnce(&Server) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let server = Arc::clone(&self.server);
        blocking(move || action(&server)).await
    }
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres")
            .field("port", &self.port())
            .field("data_dir", &self.data_dir())
            .finish_non_exhaustive()
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Error::during("a blocking operation did not finish")(error)),
    }
}
