//! The versions of the outbox, and the migrations between them.
//!
//! `migrations/0001_….sql` and the following files create the tables and sequences of the outbox and its groups. Each continues
//! from the state that the previous one leaves. The statements of a released file never change; new ones go into a new file. An
//! installation runs all files, and an upgrade runs the missing ones. So the tables have one description, and an upgraded outbox
//! is the same as a new one.
//!
//! **Version.** The comment on `pgherald.outbox` contains the number of the last migration. A table would be a worse place: a
//! dump of the schema without data would lose its row, and only roles with rights on the schema could read it. Consumers, sources
//! and the command compare the version with [`VERSION`] when they connect, and refuse an older or a newer one.
//!
//! **Functions and views** hold no data. The last migration that runs is followed by the current version of all of them. The
//! functions of watched tables are upgraded afterwards, by a new plan. Until then, the functions of the previous version still
//! record rows, so a migration must leave tables that they can write to.
//!
//! **A new column of the outbox** has to be nullable or to have a default, because those functions do not write it. Parked events
//! are copies of rows, so `pgherald.parked_event` needs the column too. Add it to:
//! - the INSERTs of `sql/objects/outbox_rows.sql`, `sql/objects/outbox_whole.sql` and `outbox.rs`, where it applies to them
//! - `outbox/row.rs`, which reads rows
//! - the statements that copy rows to parked events: `group/sql/acknowledge.sql` with `group/store/progress.rs`, and
//!   `sql/objects/begin_history_body.sql`
//! - the statements that read parked events: `group/sql/parked_rows.sql` and `group/sql/parked_list.sql`
//! - the view `outbox_event`, as its last column: `CREATE OR REPLACE VIEW` can only add columns at the end
//!
//! **Guarantees.** Each migration is one transaction, which also sets the new version. No migration runs while a consumer is
//! live, because the consumer would continue with statements of the earlier version.

use postgres_protocol::escape::escape_literal;

use super::VERSION;
use super::actual::Actual;
use super::apply::Plan;
use super::template::{dollar_quoted, render};
use super::version::{refuse_newer, refuse_unknown_outbox, version, versioned};
use crate::error::{Error, ErrorKind, Result};

/// The name and the SQL of each migration. The first has number 1.
pub(super) const MIGRATIONS: [(&str, &str); VERSION as usize] = [
    ("outbox", include_str!("migrations/0001_outbox.sql")),
    (
        "history and requirements",
        include_str!("migrations/0002_history_and_requirements.sql"),
    ),
];

/// Inserts the rows that readers and trimming rely on, if they are missing.
pub(super) const SEED: &str = include_str!("sql/objects/outbox_seed.sql");

/// A migration from one version of the outbox to the next.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Migration {
    /// The version after the migration.
    pub number: u32,
    /// A short description.
    pub name: &'static str,
    /// The statements. Applying them fails while consumers of the earlier version are live. The error names these consumers.
    pub plan: Plan,
}

impl Actual {
    /// Returns the migrations from the installed version of the outbox to the version of this program. Apply them in order, then
    /// install the triggers of all tables again. Empty if the outbox has this version, or does not exist: the installation of a
    /// table creates it.
    ///
    /// # Errors
    /// If the outbox has a later version than this program, was not installed by pgherald, or belongs to another role that is not
    /// a superuser.
    ///
    /// # Examples
    /// ```no_run
    /// use pgherald_core::__private::host::trigger;
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
        outbox.owner.refuse_untrusted("pgherald.outbox")?;
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
        Error::new(ErrorKind::Unsuitable, message)
    })
}

/// The statements that create an outbox if there is none.
pub(super) fn make() -> Result<String> {
    let tables: String = MIGRATIONS.iter().map(|(_, sql)| *sql).collect();
    Ok(tables + &comment(VERSION) + &functions()?)
}

fn comment(version: u32) -> String {
    let comment = escape_literal(&versioned(version));
    format!("COMMENT ON TABLE pgherald.outbox IS {comment};\n")
}

/// The statements that create functions and views, and insert the rows that the tables rely on.
pub(super) fn functions() -> Result<String> {
    let values = [
        (
            "read_cursor",
            include_str!("sql/objects/read_cursor_body.sql"),
        ),
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
    fn each_migration_checks_the_previous_version_and_sets_its_own() {
        for number in 1..=VERSION {
            let sql = migration(number).unwrap().plan.sql();
            let from = format!("IS DISTINCT FROM '{}'", number - 1);
            let to = format!("COMMENT ON TABLE pgherald.outbox IS '{{\"version\":{number}}}'");
            assert!(sql.contains(&from) && sql.contains(&to), "{sql}");
        }
        assert!(migration(0).is_err() && migration(VERSION + 1).is_err());
    }
}
