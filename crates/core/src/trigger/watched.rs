//! Lists what is installed, from the specifications in the comments of functions.

use tokio_postgres::Client;

use super::actual::Actual;
use super::catalog::Function;
use super::inspect::inspect_all;
use super::spec::TriggerSpec;
use super::template::qualified;
use crate::error::Result;
use crate::name::TableName;

/// The installation of one table.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Watched {
    /// The specification with which it was installed, with the names of all key columns. `None` if the function's comment was
    /// changed and no longer contains it.
    ///
    /// If the table was renamed since, this has its former name, under which its changes are still reported.
    /// [`Self::current`] has the present name. Renamed columns have their present names.
    pub spec: Option<TriggerSpec>,
    /// The present name of the table whose triggers call the function. `None` if the table no longer exists.
    pub table: Option<TableName>,
    /// Whether changes are recorded in the outbox, according to the function's comment or else its body. `None` if neither shows
    /// it.
    pub is_outbox: Option<bool>,
    /// The qualified name of the function that the triggers call.
    pub function: String,
    /// The number of triggers that call the function, on the table, its partitions and its children. 0 if the table no longer
    /// exists.
    pub triggers: usize,
}

impl Watched {
    /// Returns the specification with the present name of the table.
    #[must_use]
    pub fn current(&self) -> Option<TriggerSpec> {
        let spec = self.spec.clone()?;
        Some(match self.table.clone() {
            Some(table) => spec.for_table(table),
            None => spec,
        })
    }

    /// Returns the name that the table had at the installation, if it has another name now.
    #[must_use]
    pub fn former(&self) -> Option<&TableName> {
        let former = self.spec.as_ref()?.table();
        self.table.as_ref().filter(|now| *now != former)?;
        Some(former)
    }
}

/// Returns what is installed for all tables of a database: see [`Actual::watched`]. Only reads.
///
/// [`plan`](super::plan()) with the current specifications upgrades them, including those of renamed tables;
/// [`verify`](super::verify()) reports their state.
///
/// ```no_run
/// # async fn example(client: &tokio_postgres::Client) -> pgherald_core::Result<()> {
/// use pgherald_core::__private::host::trigger::watched;
/// use pgherald_core::trigger;
///
/// let watched = watched(client).await?;
/// let called = watched.iter().filter(|installed| installed.triggers > 0);
/// let specs: Vec<_> = called.filter_map(|installed| installed.current()).collect();
/// trigger::plan(client, &specs).await?.apply(client).await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// If the catalog cannot be read.
pub async fn watched(client: &Client) -> Result<Vec<Watched>> {
    Ok(inspect_all(client, &[]).await?.watched())
}

impl Actual {
    /// Returns whether the database has an outbox.
    #[must_use]
    pub fn has_outbox(&self) -> bool {
        self.outbox.is_some()
    }

    /// Returns what is installed, sorted by the names of tables: for all tables if the state was read by
    /// [`inspect_all`](super::inspect_all()), otherwise for the inspected tables.
    #[must_use]
    pub fn watched(&self) -> Vec<Watched> {
        let all = self.functions.iter();
        let mut all: Vec<_> = all
            .map(|(name, function)| self.watched_by(name, function))
            .collect();
        let name = |one: &Watched| {
            let made_for = one.spec.as_ref().map(|spec| spec.table().clone());
            (one.table.clone().or(made_for), one.function.clone())
        };
        all.sort_by_cached_key(name);
        all
    }

    fn watched_by(&self, name: &str, function: &Function) -> Watched {
        let triggers = self.triggers_of(name);
        let root = triggers.iter().find(|trigger| trigger.is_root);
        let table = root.map(|trigger| trigger.on.0.clone());
        let spec = function.spec(table.as_ref().and_then(|table| self.table(table).ok()));
        Watched {
            is_outbox: match &spec {
                Some(spec) => Some(spec.is_outbox()),
                None => records_changes(&function.body),
            },
            spec,
            table,
            triggers: triggers.len(),
            function: qualified(name),
        }
    }
}

/// Returns whether a function with this body records changes rather than announcing them. `None` if the body does not show it.
pub(super) fn records_changes(body: &str) -> Option<bool> {
    let records = body.contains("INSERT INTO pgherald.outbox");
    let announces = body.contains("PERFORM pgherald.notify_rows(");
    (records != announces).then_some(records)
}
