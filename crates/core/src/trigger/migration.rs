//! The versions of the outbox, and what leads from each to the next.
//!
//! `migrations/0001_….sql` and so on make the tables and sequences of the outbox and its groups, each from what the one before
//! has left. A file that was released is never changed; what is new comes in a file of its own. Installing runs all of them,
//! upgrading those that are missing: so there is one description of the tables, and an outbox that was upgraded is the same as
//! a new one.
//!
//! **Version.** The comment on `pgherald.outbox` has the number of the last migration. A row of a table would be lost by a dump
//! of the schema alone, which keeps the tables that it tells of, and could be read only by roles with rights on the schema.
//! Consumers, sources and the command compare it with [`VERSION`] when they connect, and refuse what is older or newer.
//!
//! **Functions and views** hold no data: the last migration that is run is followed by all of them, as they are now. The
//! functions of watched tables are brought up to date afterwards, by planning them again. So a migration leaves a table in
//! which the functions of the version before can still record rows.
//!
//! **Guarantees.** Each migration is one transaction, with the new version in it. None is run while a consumer is live: it would
//! go on with statements of the earlier version.

use postgres_protocol::escape::escape_literal;

use super::VERSION;
use super::actual::Actual;
use super::apply::Plan;
use super::note::{version, versioned};
use super::shared::{refuse_newer, refuse_stranger, refuse_unknown_outbox};
use super::template::{dollar_quoted, render};
use crate::error::{Error, Kind, Result};

/// Name and SQL of each, the first of which has number 1.
pub(super) const MIGRATIONS: [(&str, &str); VERSION as usize] = [
    ("outbox", include_str!("migrations/0001_outbox.sql")),
    (
        "history and requirements",
        include_str!("migrations/0002_history_and_requirements.sql"),
    ),
];

/// Writes the rows that readers and trimming rely on, where they are missing.
pub(super) const SEED: &str = include_str!("sql/objects/outbox_seed.sql");

/// A step from one version of the outbox to the next.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Migration {
    /// The version that it leads to.
    pub number: u32,
    /// What it brings, in a few words.
    pub name: &'static str,
    /// What it runs. Applying it fails while consumers of the earlier version are live, and names them.
    pub plan: Plan,
}

impl Actual {
    /// What leads from the version of the outbox to that of this program, in order; to be applied one after the other. Empty
    /// if there is no outbox, which installing a table makes. What is installed on tables is to be planned again afterwards.
    ///
    /// # Errors
    /// If the outbox is of a later version than this program, is not pgherald's, or belongs to another role that is no
    /// superuser.
    ///
    /// # Examples
    /// ```no_run
    /// use pgherald_core::trigger;
    ///
    /// # async fn example(client: &tokio_postgres::Client) -> pgherald_core::Result<()> {
    /// for migration in trigger::inspect_all(client, &[]).await?.migrations()? {
    ///     migration.plan.apply(client).await?;
    ///     println!("The outbox has version {}: {}.", migration.number, migration.name);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn migrations(&self) -> Result<Vec<Migration>> {
        let Some(outbox) = &self.outbox else {
            return Ok(Vec::new());
        };
        let comment = outbox.comment.as_deref();
        refuse_unknown_outbox(comment)?;
        refuse_newer("pgherald.outbox", comment)?;
        refuse_stranger("pgherald.outbox", &outbox.owner)?;
        let installed = version(comment).unwrap_or_default();
        (installed + 1..=VERSION).map(migration).collect()
    }
}

fn migration(number: u32) -> Result<Migration> {
    let (name, sql) = numbered(number)?;
    let from = number - 1;
    let guard = render(
        include_str!("sql/objects/migrating_body.sql"),
        &[("from", &from.to_string())],
    )?;
    let mut statements = format!("DO {};\n{sql}{}", dollar_quoted(&guard), comment(number));
    if number == VERSION {
        statements += &functions()?;
    }
    Ok(Migration {
        number,
        name,
        plan: Plan::new("", &statements, Vec::new())?,
    })
}

fn numbered(number: u32) -> Result<(&'static str, &'static str)> {
    let index = usize::try_from(number)
        .ok()
        .and_then(|number| number.checked_sub(1));
    let found = index.and_then(|index| MIGRATIONS.get(index));
    found.copied().ok_or_else(|| {
        let message = format!(
            "pgherald.outbox cannot be upgraded to version {number}: no migration leads to it"
        );
        Error::new(Kind::Unsuitable, message)
    })
}

/// The statements that make an outbox where there is none.
pub(super) fn make() -> Result<String> {
    let tables: String = MIGRATIONS.iter().map(|(_, sql)| *sql).collect();
    Ok(tables + &comment(VERSION) + &functions()?)
}

fn comment(version: u32) -> String {
    let comment = escape_literal(&versioned(version));
    format!("COMMENT ON TABLE pgherald.outbox IS {comment};\n")
}

/// The statements that make functions and views, and write the rows that the tables rely on.
pub(super) fn functions() -> Result<String> {
    let values = [
        ("trim", include_str!("sql/objects/trim_outbox_body.sql")),
        ("restored", include_str!("sql/objects/restored_body.sql")),
        (
            "begin_history",
            include_str!("sql/objects/begin_history_body.sql"),
        ),
        ("history", include_str!("sql/objects/history_body.sql")),
    ];
    let values = values.map(|(name, body)| (name, dollar_quoted(body)));
    let values = values.each_ref().map(|(name, body)| (*name, &**body));
    let functions = render(include_str!("sql/objects/outbox_functions.sql"), &values)?;
    Ok(functions + SEED + "SELECT pgherald.history();\n")
}

#[cfg(test)]
mod tests {
    use super::migration;
    use crate::trigger::VERSION;

    #[test]
    fn each_leads_from_the_version_before_to_its_own() {
        for number in 1..=VERSION {
            let sql = migration(number).unwrap().plan.sql();
            let from = format!("IS DISTINCT FROM '{}'", number - 1);
            let to = format!("COMMENT ON TABLE pgherald.outbox IS '{{\"version\":{number}}}'");
            assert!(sql.contains(&from) && sql.contains(&to), "{sql}");
        }
        assert!(migration(0).is_err() && migration(VERSION + 1).is_err());
    }
}
