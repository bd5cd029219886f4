//! The SQL that leads from what is installed to what is wanted.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::time::Duration;

use postgres_protocol::escape::escape_identifier;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::catalog::{self, Server, Table};
use super::compare::{Finding, compare, is_made_from};
use super::fit::{fit, missing, trim};
use super::installed::{self, Function, Installed, Outbox, Trigger};
use super::limits;
use super::shared::{self, Shared, refuse_newer};
use super::spec::TriggerSpec;
use super::template::render;
use super::wanted::{Wanted, qualified, wanted};
use super::watched;
use crate::backoff::Backoff;
use crate::error::{Error, Kind, Result};
use crate::name::TableName;

const LOCK: &str = include_str!("sql/v2/lock.sql");
const UNLOCK: &str = include_str!("sql/v2/unlock.sql");

/// How often a plan is tried while others hold locks on the tables, and how long it waits in between.
const ATTEMPTS: u32 = 20;
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));

/// The oldest server that triggers can be installed on, as `server_version_num` has it: the first with
/// `pg_current_xact_id`.
pub const OLDEST_SERVER: i32 = 130_000;

/// SQL that was worked out and not yet run.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a plan changes nothing until it is applied"]
pub struct Plan {
    statements: String,
    moved: Vec<TableName>,
    merged: Vec<TableName>,
}

/// Works out how to install `specs`, whatever is installed now. Only reads.
///
/// Specifications not listed stay installed as they are. A function is called after its table, so where a table was renamed
/// and one of `specs` is for another that has its name now, the plan also [moves](Plan::moved) the renamed one to a function
/// of its own name, with the specification it was installed with; and further ones, should they have changed names in turn.
///
/// # Errors
/// If a specification does not fit its table, or has more columns than the server can compare; the table does not exist; a
/// later version of pgherald installed its triggers; the server is older than PostgreSQL 13; something in schema `pgherald`
/// belongs to another role that is no superuser; a table that would have to be moved does not tell what it was installed with;
/// or the catalog cannot be read.
pub async fn plan(client: &Client, specs: &[TriggerSpec]) -> Result<Plan> {
    refuse_twice(specs)?;
    let ground = ground(client).await?;
    let mut drafts = drafts(client, &[specs]).await?;
    let draft = drafts.pop().unwrap_or_else(|| Ok(Draft::default()));
    finish(&ground, &draft?)
}

/// Works out how to install each of `specs` if it were the only one: as [`plan()`] does, but for all of them in a number of
/// statements that does not depend on how many there are. Only reads.
///
/// The result has one plan for each specification, or why there is none.
///
/// # Errors
/// If nothing can be installed, whatever the specification, or the catalog cannot be read.
pub async fn plan_each(client: &Client, specs: &[TriggerSpec]) -> Result<Vec<Result<Plan>>> {
    let ground = ground(client).await?;
    let each: Vec<_> = specs.chunks(1).collect();
    let drafts = drafts(client, &each).await?;
    let plans = drafts.into_iter().map(|draft| finish(&ground, &draft?));
    Ok(plans.collect())
}

/// What the plans for all tables rest on.
#[derive(Debug)]
struct Ground {
    server: Server,
    shared: Shared,
    outbox: Option<Outbox>,
}

async fn ground(client: &Client) -> Result<Ground> {
    let server = catalog::server(client).await?;
    refuse_old(&server)?;
    if let Some(owner) = &server.owner {
        shared::refuse_stranger("schema pgherald", owner)?;
    }
    let helpers = shared::helpers(client).await?;
    helpers.refuse()?;
    let shared = helpers.state();
    let outbox = installed::outbox_with_rows(client).await?;
    Ok(Ground {
        server,
        shared,
        outbox,
    })
}

/// What one plan is about.
#[derive(Debug, Default)]
struct Draft {
    /// What is wanted of each table, and what is there.
    tables: Vec<(Wanted, Installed)>,
    /// What the tables were installed with that no specification names, and that have to be moved.
    moved: Vec<TriggerSpec>,
    needs_outbox: bool,
}

/// Draws up a plan for each of `groups` of specifications; or has the reason why a specification of it cannot be installed.
async fn drafts(client: &Client, groups: &[&[TriggerSpec]]) -> Result<Vec<Result<Draft>>> {
    let specs: Vec<_> = groups.iter().copied().flatten().collect();
    let mut looks = look(client, &specs).await?.into_iter();
    let mut drafts: Vec<_> = groups
        .iter()
        .map(|specs| {
            let tables: Vec<_> = looks.by_ref().take(specs.len()).collect();
            Ok(Draft {
                tables: tables.into_iter().collect::<Result<_>>()?,
                moved: Vec::new(),
                needs_outbox: specs.iter().any(TriggerSpec::is_outbox),
            })
        })
        .collect();
    move_along(client, &mut drafts).await?;
    Ok(drafts)
}

fn finish(ground: &Ground, draft: &Draft) -> Result<Plan> {
    let Draft { tables, moved, .. } = draft;
    let Ground { server, shared, .. } = ground;
    let outbox = shared::outbox(ground.outbox.as_ref(), draft.needs_outbox)?;
    let functions: Vec<_> = tables.iter().map(|(wanted, _)| &*wanted.function).collect();
    let own: HashSet<_> = functions.iter().copied().collect();
    // What one table has left over may be what another one wants that has changed its name.
    let elsewhere: HashSet<_> = tables
        .iter()
        .flat_map(|(wanted, _)| &wanted.triggers)
        .map(|trigger| (&trigger.on, &*trigger.name))
        .collect();
    let mut changes = String::new();
    let mut drops = String::new();
    for (wanted, installed) in tables {
        // A restore of the schema alone brings the function, and not the row that it relies on.
        if let Some(description) = &wanted.description
            && outbox.lacks(description)
        {
            changes += &description.statement;
        }
        for finding in compare(wanted, installed) {
            match finding {
                Finding::TriggerLeftOver(trigger)
                    if elsewhere.contains(&(&trigger.on, &*trigger.name)) => {}
                Finding::FunctionLeftOver(name) if own.contains(name) => {}
                Finding::FunctionLeftOver(name) => drops += &drop_function(name),
                finding => changes += &change(wanted, &finding, server)?,
            }
        }
    }
    changes += &drops;
    let shared_is_current = *shared == Shared::Current && outbox.is_current();
    if changes.is_empty() && (shared_is_current || tables.is_empty()) {
        return Ok(Plan::empty());
    }
    let statements =
        shared::prepare(server, shared, &outbox)? + &changes + &shared::require(&functions)?;
    Ok(Plan {
        moved: moved.iter().map(|spec| spec.table.clone()).collect(),
        merged: merged(tables),
        ..Plan::new(&shared::schema(server)?, &statements)?
    })
}

/// Adds to each draft the tables besides that call a function of one of its tables, for they had its name when they were
/// installed, with what they were installed with, as far as it still fits. Without it they would lose their triggers.
///
/// All drafts take a step at a time: the number of statements depends on how often names were handed on, not on the number of
/// tables.
async fn move_along(client: &Client, drafts: &mut [Result<Draft>]) -> Result<()> {
    loop {
        let mut steps = Vec::new();
        for (index, place) in drafts.iter_mut().enumerate() {
            let Ok(draft) = place else { continue };
            let moves: Result<Vec<_>> = renamed(&draft.tables)
                .map(|(wanted, root, function)| Move::new(index, wanted, root, function))
                .collect();
            match moves {
                Ok(moves) => steps.extend(moves),
                Err(error) => *place = Err(error),
            }
        }
        if steps.is_empty() {
            return Ok(());
        }
        let names: Vec<_> = steps.iter().map(|step| &step.spec.table).collect();
        let tables = catalog::tables(client, &names).await?;
        let installed = installed::all(client, &tables).await?;
        let missing = missing(client, &names, &tables).await?;
        for ((mut step, table), installed) in steps.into_iter().zip(tables).zip(installed) {
            let Some(place) = drafts.get_mut(step.draft) else {
                continue;
            };
            let Ok(draft) = place else { continue };
            let look = match table {
                None => Err(missing.error(&step.spec.table)),
                Some(table) => {
                    step.spec = trim(step.spec, &table);
                    judge(client, &step.spec, table, installed)
                        .await
                        .map_err(|error| match error.is_config() {
                            true => cannot_move(
                                &step.of,
                                &step.on,
                                &step.function,
                                &format!("{error}; or uninstall {}", step.on),
                            ),
                            false => error,
                        })
                }
            };
            match look {
                Ok(look) => {
                    draft.needs_outbox |= step.spec.is_outbox();
                    draft.tables.push(look);
                    draft.moved.push(step.spec);
                }
                Err(error) => *place = Err(error),
            }
        }
    }
}

/// A table that has to be moved to a function of its own name.
#[derive(Debug)]
struct Move {
    /// The place of the draft that it is a part of.
    draft: usize,
    /// The table that has its former name, and is to have the function.
    of: TableName,
    on: TableName,
    function: String,
    /// What it was installed with.
    spec: TriggerSpec,
}

impl Move {
    fn new(draft: usize, wanted: &Wanted, root: &Trigger, function: &Function) -> Result<Self> {
        let (of, on) = (&wanted.table, &root.on);
        let spec = watched::moved(function, on).ok_or_else(|| {
            let why = format!(
                "its comment does not tell what it was made for; install on {on} first, or on both at once"
            );
            cannot_move(of, on, &root.function, &why)
        })?;
        Ok(Self {
            draft,
            of: of.clone(),
            on: on.clone(),
            function: root.function.clone(),
            spec,
        })
    }
}

/// Tables that none of `tables` is but that call a function of one: that one, a trigger that calls the function, and the
/// function.
///
/// One that has become a partition or child of the table that has its name now is watched as such, if it is watched for the
/// same; but not if both were watched before and have changed names.
fn renamed(tables: &[(Wanted, Installed)]) -> impl Iterator<Item = (&Wanted, &Trigger, &Function)> {
    let named: HashSet<_> = tables.iter().map(|(wanted, _)| &wanted.table).collect();
    let mut found = HashSet::new();
    let mut renamed = Vec::new();
    for (wanted, installed) in tables {
        let own = installed.function.as_ref();
        let has_same = installed.superseded.is_empty()
            && own.is_some_and(|function| is_made_from(function, &wanted.note));
        let is_member = |root: &Trigger| {
            let mut triggers = wanted.triggers.iter();
            has_same && root.function == wanted.function && triggers.any(|one| one.on == root.on)
        };
        for root in installed.triggers.iter().filter(|one| one.is_root()) {
            if named.contains(&root.on) || found.contains(&root.on) || is_member(root) {
                continue;
            }
            let mut functions = installed.functions(&wanted.function);
            if let Some((_, function)) = functions.find(|(name, _)| *name == root.function) {
                found.insert(&root.on);
                renamed.push((wanted, root, function));
            }
        }
    }
    renamed.into_iter()
}

/// The tables, besides those that are planned for, whose own triggers go.
fn merged(tables: &[(Wanted, Installed)]) -> Vec<TableName> {
    let named: HashSet<_> = tables.iter().map(|(wanted, _)| &wanted.table).collect();
    let triggers = tables.iter().flat_map(|(_, installed)| &installed.triggers);
    let gone = triggers.filter(|one| one.is_root() && !named.contains(&one.on));
    let gone: BTreeSet<_> = gone.map(|one| &one.on).collect();
    gone.into_iter().cloned().collect()
}

fn cannot_move(table: &TableName, on: &TableName, function: &str, why: &str) -> Error {
    let function = qualified(function);
    let message = format!(
        "{function} is to be called by the triggers of {table}, but those of {on} call it, as it was renamed, and they \
         cannot be moved to another one: {why}"
    );
    Error::new(Kind::Unsuitable, message)
}

/// What is wanted of each table, and what is there; or why it cannot be installed on.
async fn look(client: &Client, specs: &[&TriggerSpec]) -> Result<Vec<Result<(Wanted, Installed)>>> {
    let names: Vec<_> = specs.iter().map(|spec| spec.table()).collect();
    let tables = catalog::tables(client, &names).await?;
    let installed = installed::all(client, &tables).await?;
    let missing = missing(client, &names, &tables).await?;
    let mut looks = Vec::with_capacity(specs.len());
    for ((spec, table), installed) in specs.iter().zip(tables).zip(installed) {
        looks.push(match table {
            Some(table) => judge(client, spec, table, installed).await,
            None => Err(missing.error(spec.table())),
        });
    }
    Ok(looks)
}

async fn judge(
    client: &Client,
    spec: &TriggerSpec,
    table: Table,
    installed: Installed,
) -> Result<(Wanted, Installed)> {
    let fitted = fit(spec, table)?;
    limits::refuse_beyond(client, &fitted).await?;
    let wanted = wanted(&fitted)?;
    for (name, function) in installed.functions(&wanted.function) {
        let object = format!("triggers of {}", spec.table);
        refuse_newer(&object, function.comment.as_deref())?;
        shared::refuse_stranger(&qualified(name), &function.owner)?;
    }
    Ok((wanted, installed))
}

fn refuse_old(server: &Server) -> Result<()> {
    if server.version >= OLDEST_SERVER {
        return Ok(());
    }
    let message = format!(
        "the triggers need PostgreSQL {} or later, this server has {}; upgrade the server",
        OLDEST_SERVER / 10_000,
        server.version / 10_000
    );
    Err(Error::new(Kind::Unsuitable, message))
}

fn change(wanted: &Wanted, finding: &Finding<'_>, server: &Server) -> Result<String> {
    Ok(match finding {
        Finding::FunctionMissing | Finding::FunctionOutdated { redefine: true, .. } => {
            wanted.define()? + &wanted.annotate()
        }
        Finding::FunctionOutdated {
            redefine: false, ..
        } => wanted.annotate(),
        Finding::TriggerMissing(trigger) | Finding::TriggerAltered { trigger, .. } => {
            wanted.attach(trigger, server.version)?
        }
        Finding::TriggerDisabled(trigger) => {
            let (table, name) = (trigger.on.quoted(), escape_identifier(&trigger.name));
            format!("ALTER TABLE ONLY {table} ENABLE TRIGGER {name};\n")
        }
        Finding::TriggerLeftOver(trigger) => drop_trigger(trigger),
        Finding::FunctionLeftOver(function) => drop_function(function),
    })
}

fn refuse_twice(specs: &[TriggerSpec]) -> Result<()> {
    let mut tables = HashSet::with_capacity(specs.len());
    match specs.iter().find(|spec| !tables.insert(&spec.table)) {
        None => Ok(()),
        Some(spec) => {
            let message = format!("two specifications of {}; a table has one", spec.table);
            Err(Error::new(Kind::Spec, message))
        }
    }
}

pub(super) fn drop_trigger(trigger: &Trigger) -> String {
    let (name, table) = (escape_identifier(&trigger.name), trigger.on.quoted());
    format!("DROP TRIGGER IF EXISTS {name} ON {table};\n")
}

pub(super) fn drop_function(function: &str) -> String {
    format!("DROP FUNCTION IF EXISTS {}();\n", qualified(function))
}

impl Plan {
    /// Nothing to do.
    pub(super) fn empty() -> Self {
        Self {
            statements: String::new(),
            moved: Vec::new(),
            merged: Vec::new(),
        }
    }

    /// Runs `statements` as the only installer. `schema` makes the schema, where it has to be made.
    pub(super) fn new(schema: &str, statements: &str) -> Result<Self> {
        let lock = render(LOCK, &[("schema", schema)])?;
        Ok(Self {
            statements: format!("{lock}{statements}{UNLOCK}"),
            ..Self::empty()
        })
    }

    /// Tables of no specification whose triggers the plan moves to functions of their present names, because the functions
    /// that they call are to be another table's.
    #[must_use]
    pub fn moved(&self) -> &[TableName] {
        &self.moved
    }

    /// Partitions and children that were watched by themselves, and are from now on as a part of the table that has got their
    /// former name: their changes come under it as before.
    #[must_use]
    pub fn merged(&self) -> &[TableName] {
        &self.merged
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.statements.is_empty()
    }

    /// The whole plan as a script of one transaction, to be read or run by other means. Empty if there is
    /// nothing to do.
    #[must_use]
    pub fn sql(&self) -> String {
        match self.is_empty() {
            true => String::new(),
            false => format!("BEGIN;\n{}COMMIT;\n", self.statements),
        }
    }

    /// Runs the plan: all of it or nothing, also if this future is dropped. If the client is inside a
    /// transaction, the plan becomes part of it.
    ///
    /// Waits for other installers. For transactions that write to the tables it waits half a second at a
    /// time, lest it becomes part of a deadlock, and tries again for some seconds. Wants ownership of the
    /// tables, or their TRIGGER right.
    ///
    /// # Errors
    /// If the server refuses a statement, or the connection is lost (then either all was done or nothing).
    /// A retryable one if the tables stay in use, or are at all if the client is inside a transaction.
    pub async fn apply(&self, client: &Client) -> Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        // The statements of one simple query are one transaction. No BEGIN is sent, so none is left open.
        let mut attempt = 0;
        let mut in_use = None;
        loop {
            let Err(error) = client.batch_execute(&self.statements).await else {
                return Ok(());
            };
            match in_use.take() {
                // The lock that was not to be had has failed the transaction that this is part of.
                Some(cause) if error.code() == Some(&SqlState::IN_FAILED_SQL_TRANSACTION) => {
                    return Err(tables_in_use(cause));
                }
                _ => {}
            }
            if error.code() != Some(&SqlState::LOCK_NOT_AVAILABLE) {
                let message = "cannot change the triggers; everything is as it was";
                return Err(Error::of_statement(message, error));
            }
            attempt += 1;
            if attempt == ATTEMPTS {
                return Err(tables_in_use(error));
            }
            in_use = Some(error);
            tokio::time::sleep(BACKOFF.delay(attempt)).await;
        }
    }
}

fn tables_in_use(cause: tokio_postgres::Error) -> Error {
    let message =
        "cannot change the triggers while other transactions use the tables; try again later";
    Error::with_source(Kind::Triggers, message, cause)
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sql())
    }
}
