//! Plans the SQL that leads from the actual state to the desired one, or removes an installation.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use postgres_protocol::escape::escape_identifier;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::actual::{Actual, Installation};
use super::apply::Plan;
use super::catalog::{Server, Trigger};
use super::compare::{Finding, compare};
use super::desired::{Desired, desired};
use super::inspect::{inspect, inspect_all};
use super::limits::trials;
use super::shared::{self, Expected, OutboxState, Shared};
use super::spec::TriggerSpec;
use super::template::qualified;
use super::validate::{Valid, validate};
use super::version::refuse_newer;
use crate::error::{Error, ErrorKind, Result};
use crate::name::TableName;

/// The oldest server on which triggers can be installed, in the format of `server_version_num`. It is the first that has
/// `pg_current_xact_id`.
pub const OLDEST_SERVER: i32 = 130_000;

/// Plans the installation of exactly `specs`: [inspects](inspect()) their tables, [plans](Actual::plan) and
/// [rehearses](Plan::rehearse). Only reads. The plan removes what the present installation has and `specs` do not contain. If
/// other programs may need that, plan what [`Actual::widened`] returns.
///
/// # Errors
/// As [`Actual::plan`] and [`Plan::rehearse`]; or if the catalog cannot be read.
pub async fn plan(client: &Client, specs: &[TriggerSpec]) -> Result<Plan> {
    let tables: Vec<_> = specs.iter().map(TriggerSpec::table).collect();
    let plan = inspect(client, &tables).await?.plan(specs)?;
    plan.rehearse(client).await?;
    Ok(plan)
}

/// Plans what [`install`] runs: the installation of `specs`, [widened](Actual::widened) by what the present installation of
/// their tables has. Only reads.
///
/// # Errors
/// As [`Actual::widened`] and [`Actual::plan`]; or if the catalog cannot be read.
pub async fn plan_widened(client: &Client, specs: &[TriggerSpec]) -> Result<Plan> {
    let tables: Vec<_> = specs.iter().map(TriggerSpec::table).collect();
    let actual = inspect(client, &tables).await?;
    let widened = specs.iter().map(|spec| actual.widened(spec));
    actual.plan(&widened.collect::<Result<Vec<_>>>()?)
}

/// Installs `specs`, [widened](Actual::widened) by what the present installation of their tables has. If another installation
/// changes these tables meanwhile, plans again, in up to 20 attempts.
///
/// # Errors
/// As [`Actual::widened`], [`Actual::plan`], [`Plan::rehearse`] and [`Plan::apply`]; or if the catalog cannot be read.
pub async fn install(client: &Client, specs: &[TriggerSpec]) -> Result<()> {
    const ATTEMPTS: u32 = 20;
    let mut attempt = 1;
    loop {
        let plan = plan_widened(client, specs).await?;
        plan.rehearse(client).await?;
        match plan.apply(client).await {
            Err(error)
                if attempt < ATTEMPTS
                    && error.code() == Some(&SqlState::T_R_SERIALIZATION_FAILURE) =>
            {
                attempt += 1;
            }
            done => return done,
        }
    }
}

/// Plans the removal of the triggers of `tables`: see [`Actual::plan_uninstall`]. Only reads.
///
/// # Errors
/// If the catalog cannot be read.
pub async fn plan_uninstall(client: &Client, tables: &[TableName]) -> Result<Plan> {
    let actual = inspect(client, &tables.iter().collect::<Vec<_>>()).await?;
    actual.plan_uninstall(tables)
}

/// Plans the removal of the triggers of all tables, the outbox with its rows, and all groups. Only reads.
///
/// # Errors
/// If the catalog cannot be read.
pub async fn plan_uninstall_all(client: &Client) -> Result<Plan> {
    inspect_all(client, &[]).await?.plan_uninstall_all()
}

impl Actual {
    /// Checks the specification. Its function is the one that the table's triggers call, or gets an unused name.
    pub(super) fn validate<'a>(
        &'a self,
        spec: &'a TriggerSpec,
    ) -> Result<(Valid<'a>, Installation<'a>)> {
        let table = self.table(&spec.table)?;
        let installed = self.installation(&spec.table, table);
        let function = match installed.function {
            Some((name, _)) => name.to_owned(),
            None => self.free_name(table),
        };
        Ok((validate(spec, table, function)?, installed))
    }

    /// Plans the installation of exactly `specs` on their tables. The plan removes everything else that the present installation
    /// has, and its [warnings](Plan::warnings) list that. [`widened`](Self::widened) specifications remove nothing. Other tables
    /// stay as they are.
    ///
    /// # Errors
    /// If a specification does not fit its table; the table does not exist; a later version of pgherald installed its triggers;
    /// the server is older than PostgreSQL 13; or something in schema `pgherald` belongs to another role that is not a
    /// superuser.
    pub fn plan(&self, specs: &[TriggerSpec]) -> Result<Plan> {
        let specs: Vec<_> = specs.iter().map(|spec| self.resolved(spec)).collect();
        let specs = &*specs;
        refuse_duplicates(specs)?;
        self.refuse_server()?;
        let needs_outbox = specs.iter().any(TriggerSpec::is_outbox);
        let outbox = shared::outbox(self.outbox.as_ref(), needs_outbox)?;
        let mut changes = String::new();
        let mut tried = Vec::new();
        let mut functions = BTreeMap::new();
        let mut warnings = Vec::new();
        let mut expected = Vec::new();
        for spec in specs {
            for other in self.namesakes_of(&spec.table) {
                if specs.iter().all(|spec| spec.table != *other) {
                    warnings.push(format!(
                        "Changes of {other} come under its former name {} until {other} is installed again.",
                        spec.table
                    ));
                }
            }
            let losses = self.losses(spec);
            if !losses.is_empty() {
                let losses = losses.join(", ");
                warnings.push(format!("Removed from {}: {losses}.", spec.table));
            }
            let (valid, installed) = self.validate(spec)?;
            for (name, function) in installed.functions() {
                let object = format!("triggers of {}", spec.table);
                refuse_newer(&object, function.comment.as_deref())?;
                function.owner.refuse_untrusted(&qualified(name))?;
            }
            tried.extend(trials(&valid)?);
            let desired = desired(&valid)?;
            let change = self.changes(&desired, &installed, &outbox)?;
            if !change.is_empty() {
                let function = installed.function.map(|(_, function)| function);
                expected.push(Expected {
                    function: desired.function.clone(),
                    table: spec.table.clone(),
                    before: function.and_then(|function| function.comment.clone()),
                    after: desired.comment(),
                });
            }
            changes += &change;
            functions.insert(desired.function, &spec.table);
        }
        let shared = shared::state(self);
        let shared_is_current = shared == Shared::Current && outbox.is_current();
        if changes.is_empty() && (shared_is_current || specs.is_empty()) {
            return Ok(Plan::default().warning(warnings));
        }
        let statements = shared::prepare(&self.server, &shared, &outbox)?
            + &shared::expect(&expected)?
            + &changes
            + &shared::require(&functions)?;
        let plan = Plan::new(&shared::schema(&self.server)?, &statements, tried)?;
        Ok(plan.warning(warnings))
    }

    fn refuse_server(&self) -> Result<()> {
        refuse_old_server(&self.server)?;
        if let Some(owner) = &self.server.owner {
            owner.refuse_untrusted("schema pgherald")?;
        }
        shared::refuse(self)
    }

    fn changes(
        &self,
        desired: &Desired,
        installed: &Installation<'_>,
        outbox: &OutboxState<'_>,
    ) -> Result<String> {
        let mut changes = String::new();
        // A restore of the schema without data brings back the function, but not the row that it relies on.
        if let Some(description) = &desired.description
            && outbox.lacks(description)
        {
            changes += &description.statement;
        }
        for finding in compare(desired, installed) {
            changes += &change(desired, &finding, self.server.version)?;
        }
        Ok(changes)
    }

    /// Plans the removal of the functions of `tables` and of the triggers on them and their partitions. With the last watched
    /// table, the plan also removes the objects that all tables share.
    ///
    /// While there are [groups](crate::group), the outbox stays, with their unhandled events and dead letters.
    /// [`plan_uninstall_all`](Self::plan_uninstall_all) removes it too. A [warning](Plan::warnings) names each group that requires
    /// one of the tables.
    ///
    /// A table that is not watched, or no longer exists, is not an error: its left-over objects are removed. A renamed table is
    /// found by its present name only.
    ///
    /// # Errors
    /// If SQL cannot be written, which does not happen.
    pub fn plan_uninstall(&self, tables: &[TableName]) -> Result<Plan> {
        let mut functions = BTreeSet::new();
        let mut triggers = BTreeMap::new();
        for name in tables {
            let orphans = self.orphans_of(name).map(|(function, _)| function);
            functions.extend(orphans);
            if let Ok(table) = self.table(name) {
                let installed = self.installation(name, table);
                let own = installed.function.iter().chain(&installed.superseded);
                functions.extend(own.map(|(function, _)| *function));
                let own = installed.triggers.iter();
                triggers.extend(own.map(|trigger| ((&trigger.on.0, &trigger.name), *trigger)));
            }
        }
        let removal = self.removal(functions, triggers, true)?;
        let required = self.requirements.iter();
        let required =
            required.filter(|one| !removal.is_empty() && tables.contains(&one.spec.table));
        let warnings = required.map(|one| {
            let (group, table) = (&one.group, &one.spec.table);
            format!("Group {group} requires {table}: its consumers are not live until it is installed again.")
        });
        let warnings = warnings.collect();
        Ok(removal.warning(warnings))
    }

    /// Plans the removal of the triggers of all tables, the outbox with its rows, and all groups. Requires a state that was read
    /// by [`inspect_all`](super::inspect_all()).
    ///
    /// # Errors
    /// If SQL cannot be written, which does not happen.
    pub fn plan_uninstall_all(&self) -> Result<Plan> {
        let functions: BTreeSet<_> = self.functions.keys().map(String::as_str).collect();
        if functions.is_empty() && self.notify_rows.is_none() && self.outbox.is_none() {
            return Ok(Plan::default());
        }
        self.removal(functions, BTreeMap::new(), false)
    }

    fn removal<'a>(
        &'a self,
        functions: BTreeSet<&str>,
        mut triggers: BTreeMap<(&'a TableName, &'a String), &'a Trigger>,
        spares_groups: bool,
    ) -> Result<Plan> {
        if spares_groups && functions.is_empty() && triggers.is_empty() {
            return Ok(Plan::default());
        }
        let called = functions.iter().flat_map(|name| self.triggers_of(name));
        triggers.extend(called.map(|trigger| ((&trigger.on.0, &trigger.name), trigger)));
        let mut statements: String = triggers.into_values().map(drop_trigger).collect();
        statements.extend(functions.into_iter().map(drop_function));
        Plan::new(
            "",
            &(statements + &shared::remove(spares_groups)?),
            Vec::new(),
        )
    }
}

fn change(desired: &Desired, finding: &Finding<'_>, server_version: i32) -> Result<String> {
    Ok(match finding {
        Finding::FunctionMissing | Finding::FunctionOutdated { redefine: true, .. } => {
            desired.define()? + &desired.annotate()
        }
        Finding::FunctionOutdated {
            redefine: false, ..
        }
        | Finding::NoteMoved => desired.annotate(),
        Finding::TriggerMissing(trigger) | Finding::TriggerAltered { trigger, .. } => {
            desired.attach(trigger, server_version)?
        }
        Finding::TriggerDisabled(trigger) => trigger.enable(),
        Finding::TriggerLeftOver(trigger) => drop_trigger(trigger),
        Finding::FunctionLeftOver(function) => drop_function(function),
    })
}

fn refuse_old_server(server: &Server) -> Result<()> {
    if server.version >= OLDEST_SERVER {
        return Ok(());
    }
    let message = format!(
        "the triggers need PostgreSQL {} or later, this server has {}; upgrade the server",
        OLDEST_SERVER / 10_000,
        server.version / 10_000
    );
    Err(Error::new(ErrorKind::Unsuitable, message))
}

pub(super) fn refuse_duplicates(specs: &[TriggerSpec]) -> Result<()> {
    let mut tables = HashSet::with_capacity(specs.len());
    match specs.iter().find(|spec| !tables.insert(&spec.table)) {
        None => Ok(()),
        Some(spec) => {
            let message = format!("two specifications of {}; give one per table", spec.table);
            Err(Error::new(ErrorKind::Spec, message))
        }
    }
}

fn drop_trigger(trigger: &Trigger) -> String {
    let (name, table) = (escape_identifier(&trigger.name), trigger.on.0.quoted());
    format!("DROP TRIGGER IF EXISTS {name} ON {table};\n")
}

fn drop_function(function: &str) -> String {
    format!("DROP FUNCTION IF EXISTS {}();\n", qualified(function))
}
