//! What is installed, told from what the functions were made from.

use futures_util::future::try_join;
use tokio_postgres::Client;

use super::installed::{self, Function};
use super::spec::{Mode, TriggerSpec};
use super::wanted::{Note, qualified};
use crate::error::Result;
use crate::name::{ChannelName, TableName};

/// What is installed for one table.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Watched {
    /// The specification that it was installed with, its key named column by column; `None` if the function's comment
    /// does not tell, because somebody changed it.
    ///
    /// Of a table that was renamed since, it has the former name, under which its changes still come; [`Self::current`] has
    /// the present one.
    pub spec: Option<TriggerSpec>,
    /// The table whose triggers call it, as it is called now; `None` if it is gone.
    pub table: Option<TableName>,
    /// Whether its changes are recorded in the outbox, as the function's comment tells, or else what it does; `None` if
    /// neither does.
    pub is_outbox: Option<bool>,
    /// The qualified name of the function that its triggers call.
    pub function: String,
    /// How many triggers call it, on the table, its partitions and its children; 0 if the table is gone.
    pub triggers: usize,
}

impl Watched {
    /// The specification, for the table as it is called now.
    #[must_use]
    pub fn current(&self) -> Option<TriggerSpec> {
        let spec = self.spec.clone()?;
        Some(match self.table.clone() {
            Some(table) => spec.for_table(table),
            None => spec,
        })
    }

    /// What the table was called when this was installed, if it is called otherwise now.
    #[must_use]
    pub fn former(&self) -> Option<&TableName> {
        let former = self.spec.as_ref()?.table();
        self.table.as_ref().filter(|now| *now != former)?;
        Some(former)
    }
}

/// Finds what is installed for all tables of a database, by the names of their functions. Only reads.
///
/// [`plan`](super::plan()) with the current specifications upgrades them, also of tables that were renamed;
/// [`verify`](super::verify()) says how they are. A table that has got the name of a renamed one is another one.
///
/// ```no_run
/// # async fn example(client: &tokio_postgres::Client) -> pgherald_core::Result<()> {
/// use pgherald_core::trigger;
///
/// let watched = trigger::watched(client).await?;
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
    let names = installed::every_function(client).await?;
    let all = of_functions(client, &[names]).await?;
    Ok(all.into_iter().flatten().collect())
}

/// Finds what is installed for each of `tables`, whatever it was called then: what [`plan_uninstall`](super::plan_uninstall())
/// would remove. Mostly none or one. Only reads.
///
/// # Errors
/// If the catalog cannot be read.
pub async fn watched_of(client: &Client, tables: &[TableName]) -> Result<Vec<Vec<Watched>>> {
    let names = installed::own_functions(client, tables).await?;
    of_functions(client, &names).await
}

async fn of_functions(client: &Client, names: &[Vec<String>]) -> Result<Vec<Vec<Watched>>> {
    let every = names.concat();
    let (definitions, triggers) = try_join(
        installed::definitions(client, &every, ""),
        installed::triggers_of(client, &every),
    )
    .await?;
    let watched = |name: &String| {
        let function = definitions.get(name);
        let spec = function.and_then(|function| spec(function.comment.as_deref()?));
        let triggers = triggers.get(name).map(Vec::as_slice).unwrap_or_default();
        Watched {
            is_outbox: match &spec {
                Some(spec) => Some(spec.is_outbox()),
                None => function.and_then(|function| does_record(&function.body)),
            },
            spec,
            table: triggers
                .iter()
                .find(|trigger| trigger.is_root())
                .map(|trigger| trigger.on.clone()),
            triggers: triggers.len(),
            function: qualified(name),
        }
    };
    let all = names.iter().map(|names| names.iter().map(watched));
    Ok(all.map(Iterator::collect).collect())
}

/// What a table was installed with that calls `function`, and is called `table` now.
pub(super) fn moved(function: &Function, table: &TableName) -> Option<TriggerSpec> {
    let spec = spec(function.comment.as_deref()?)?;
    Some(spec.for_table(table.clone()))
}

/// Whether a function of this body records changes rather than announcing them.
fn does_record(body: &str) -> Option<bool> {
    let records = body.contains("INSERT INTO pgherald.outbox");
    let announces = body.contains("PERFORM pgherald.notify_rows(");
    (records != announces).then_some(records)
}

/// The specification that a function's comment tells of.
fn spec(comment: &str) -> Option<TriggerSpec> {
    let note: Note = serde_json::from_str(comment).ok()?;
    Some(TriggerSpec {
        table: TableName::new(note.schema, note.table).ok()?,
        channel: ChannelName::new(note.channel).ok()?,
        key: Some(note.key),
        columns: note.columns,
        every_column: false,
        old_columns: note.old_columns,
        operations: note.operations.into_iter().collect(),
        when_changed: note.when_changed,
        value_limit: note.value_limit,
        mode: match note.outbox {
            true => Mode::Outbox,
            false => Mode::Notify,
        },
    })
}
