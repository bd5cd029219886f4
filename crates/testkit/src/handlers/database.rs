//! A database for one test of handlers.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use pgherald_core::__private::host::group::trial;
use pgherald_core::group::{BatchHandler, Consumer, TransactionalHandler};
use pgherald_core::trigger::{self, TriggerSpec};
use pgherald_core::{ConnectConfig, DurableOptions, EventHandler};
use tokio_postgres::{Client, SimpleQueryMessage};

use super::HandlerTest;
use crate::{Error, Postgres};

/// A database for one test of handlers, and a connection to it.
///
/// ```no_run
/// use pgherald_core::group::TransactionalHandler;
/// use pgherald_core::trigger::TriggerSpec;
/// use pgherald_core::{Attempt, DurableOptions, HandlerResult, Inserted, Table};
/// use pgherald_testkit::TestDatabase;
/// use tokio_postgres::Transaction;
///
/// struct User;
/// impl Table for User {
///     const NAME: &'static str = "users";
///     const KEY: &'static [&'static str] = &["id"];
///     type Key = i64;
/// }
///
/// struct Count;
/// impl TransactionalHandler for Count {
///     type Event = Inserted<User>;
///
///     async fn handle(&self, _: Inserted<User>, _: Attempt, transaction: &mut Transaction<'_>) -> HandlerResult {
///         transaction.execute("UPDATE statistics SET users = users + 1", &[]).await?;
///         Ok(())
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), pgherald_testkit::Error> {
/// let database = TestDatabase::create().await?;
/// database.execute("CREATE TABLE users (id bigint PRIMARY KEY); CREATE TABLE statistics AS SELECT 0 AS users").await?;
/// database.watch([TriggerSpec::of::<User>()?.outbox()]).await?;
/// let outcome = database.transactional(DurableOptions::new("count"), || Count).sql("INSERT INTO users VALUES (7)").await?;
/// assert!(outcome.is_handled(), "{outcome}");
/// assert_eq!(database.rows("SELECT users FROM statistics").await?, [["1"]]);
/// # Ok(())
/// # }
/// ```
pub struct TestDatabase {
    url: String,
    config: ConnectConfig,
    client: Arc<Client>,
    watched: Mutex<Vec<TriggerSpec>>,
}

impl TestDatabase {
    /// Creates an empty database on the [server](Postgres::shared) that all tests of the process share.
    ///
    /// # Errors
    /// If the server does not start, or does not create the database.
    pub async fn create() -> Result<Self, Error> {
        Self::at(Postgres::shared().await?.create_database().await?).await
    }

    /// Uses an existing database, such as one that `#[sqlx::test]` has created.
    ///
    /// # Errors
    /// If the URL is invalid, or the database cannot be reached.
    pub async fn at(url: impl Into<String>) -> Result<Self, Error> {
        let url = url.into();
        let config: ConnectConfig = url.parse()?;
        let client = config.client().await?;
        Ok(Self {
            url,
            config,
            client: Arc::new(client),
            watched: Mutex::default(),
        })
    }

    /// Returns the database's URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the connection. Do not leave a transaction open on it.
    #[must_use]
    pub fn client(&self) -> &Arc<Client> {
        &self.client
    }

    /// Runs statements, separated by semicolons.
    ///
    /// # Errors
    /// If a statement fails. The server's message is in the cause.
    pub async fn execute(&self, sql: &str) -> Result<(), Error> {
        let run = self.client.batch_execute(sql).await;
        run.map_err(Error::during(format!(
            "a statement of the test failed: {sql}"
        )))
    }

    /// Runs queries, separated by semicolons, and returns all their rows. Each value is returned as text, as `psql` shows it,
    /// and a null as `NULL`. Use the [client](Self::client) to distinguish a null from the text `'NULL'`, or for other types.
    ///
    /// # Errors
    /// If a query fails.
    pub async fn rows(&self, sql: &str) -> Result<Vec<Vec<String>>, Error> {
        let answers = self.client.simple_query(sql).await;
        let answers =
            answers.map_err(Error::during(format!("a query of the test failed: {sql}")))?;
        let mut rows = Vec::new();
        for answer in answers {
            if let SimpleQueryMessage::Row(row) = answer {
                let values = (0..row.len()).map(|column| {
                    let value = row.try_get(column);
                    let value = value.map_err(Error::during("a value cannot be read"))?;
                    Ok(value.unwrap_or("NULL").to_owned())
                });
                rows.push(values.collect::<Result<_, Error>>()?);
            }
        }
        Ok(rows)
    }

    /// Installs triggers, as [`install_triggers`](pgherald_actors::HeraldBuilder::install_triggers) does. Durable handlers need
    /// specifications [in outbox mode](TriggerSpec::outbox).
    ///
    /// # Errors
    /// If a specification does not fit its table, or the installation fails.
    pub async fn watch(&self, specs: impl IntoIterator<Item = TriggerSpec>) -> Result<(), Error> {
        let specs: Vec<_> = specs.into_iter().collect();
        let plan = trigger::plan_widened(&self.client, &specs).await?;
        plan.apply(&self.client).await?;
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.retain(|before| specs.iter().all(|spec| spec.table() != before.table()));
        watched.extend(specs);
        Ok(())
    }

    /// Prepares a test of a durable [`EventHandler`]. The parameters are those of `Herald::start_durable`.
    pub fn handler<H: EventHandler>(
        &self,
        options: DurableOptions,
        factory: impl Fn() -> H + 'static,
    ) -> HandlerTest<'_> {
        HandlerTest::new::<H::Event, H>(
            self,
            options,
            factory,
            |config, options, factory| Consumer::new(config, options, move || factory()),
            |_, options, factory, events| {
                Box::pin(trial::plain(options, move || factory(), events))
            },
        )
    }

    /// Prepares a test of a [`TransactionalHandler`]. The parameters are those of `Herald::start_transactional`.
    pub fn transactional<H: TransactionalHandler>(
        &self,
        options: DurableOptions,
        factory: impl Fn() -> H + 'static,
    ) -> HandlerTest<'_> {
        HandlerTest::new::<H::Event, H>(
            self,
            options,
            factory,
            |config, options, factory| Consumer::transactional(config, options, move || factory()),
            |config, options, factory, events| {
                Box::pin(trial::transactional(
                    config,
                    options,
                    move || factory(),
                    events,
                ))
            },
        )
    }

    /// Prepares a test of a [`BatchHandler`]. The parameters are those of `Herald::start_batches`.
    pub fn batches<H: BatchHandler>(
        &self,
        options: DurableOptions,
        factory: impl Fn() -> H + 'static,
    ) -> HandlerTest<'_> {
        HandlerTest::new::<H::Event, H>(
            self,
            options,
            factory,
            |config, options, factory| Consumer::batches(config, options, move || factory()),
            |_, options, factory, events| {
                Box::pin(trial::batches(options, move || factory(), events))
            },
        )
    }

    pub(super) fn config(&self) -> ConnectConfig {
        self.config.clone()
    }

    pub(super) fn watched(&self) -> Vec<TriggerSpec> {
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.clone()
    }
}

impl fmt::Debug for TestDatabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestDatabase")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}
