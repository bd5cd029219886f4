//! The findings of checks.

use serde::Serialize;
use tokio_postgres::types::{FromSql, ToSql, Type};
use tokio_postgres::{Client, Row};

use crate::failure::Failure;
use crate::output::Tone;

/// The findings of a check, or an error if it could not run.
pub(in crate::commands) type Findings = Result<Vec<Finding>, Failure>;

/// One finding, and how to fix it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(in crate::commands) struct Finding {
    pub(super) check: &'static str,
    pub(super) result: Verdict,
    pub(in crate::commands) finding: String,
    /// SQL or a command to paste, or an instruction.
    pub(in crate::commands) fix: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    Ok,
    /// Works now, but may fail later, or fails for some roles.
    Warning,
    /// Changes are lost, or their events are not handled.
    Failed,
    /// The check has no subject, or this role may not read it.
    Skipped,
}

impl Verdict {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }

    pub(super) fn tone(self) -> Tone {
        match self {
            Self::Ok => Tone::Good,
            Self::Warning => Tone::Warning,
            Self::Failed => Tone::Bad,
            Self::Skipped => Tone::Quiet,
        }
    }
}

impl Finding {
    pub(super) fn new(check: &'static str, result: Verdict, finding: impl Into<String>) -> Self {
        let finding: String = finding.into();
        Self {
            check,
            result,
            // Names and messages may contain line breaks.
            finding: finding.split_whitespace().collect::<Vec<_>>().join(" "),
            fix: None,
        }
    }

    pub(super) fn ok(check: &'static str, finding: impl Into<String>) -> Self {
        Self::new(check, Verdict::Ok, finding)
    }

    /// The finding of a check that could not run.
    pub(super) fn unknown(check: &'static str, why: Failure) -> Self {
        let (message, fix) = match why {
            Failure::Reported { message, hint, .. } => (message, hint),
            Failure::Unread => ("it was interrupted".to_owned(), None),
        };
        let finding = format!("the check could not run: {message}");
        let fix = fix.filter(|fix| !fix.is_empty());
        Self {
            fix,
            ..Self::new(check, Verdict::Failed, finding)
        }
    }

    pub(super) fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }
}

/// A parameter and its type.
pub(super) type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// Runs a query without a named prepared statement, which would not work through transaction poolers.
pub(super) async fn rows(
    client: &Client,
    sql: &str,
    parameters: &[Parameter<'_>],
) -> Result<Vec<Row>, Failure> {
    Ok(client.query_typed(sql, parameters).await?)
}

/// Returns the first column of the first row.
pub(super) async fn value<T: for<'a> FromSql<'a>>(
    client: &Client,
    sql: &str,
) -> Result<T, Failure> {
    let rows = rows(client, sql, &[]).await?;
    let row = rows
        .first()
        .ok_or_else(|| Failure::problem("the server returned no row"))?;
    Ok(row.try_get(0)?)
}

/// Runs a query whose rows are problems: each has a finding and its fix.
pub(super) async fn wrong(
    client: &Client,
    check: &'static str,
    result: Verdict,
    sql: &str,
    parameters: &[Parameter<'_>],
) -> Findings {
    let rows = rows(client, sql, parameters).await?;
    let finding = |row: &Row| {
        let finding = Finding::new(check, result, row.try_get::<_, String>(0)?);
        Ok(finding.fix(row.try_get::<_, String>(1)?))
    };
    rows.iter().map(finding).collect()
}

/// Returns the problems or, if there are none, the finding `fine`.
pub(super) fn or_ok(found: Vec<Finding>, check: &'static str, fine: &str) -> Vec<Finding> {
    match found.is_empty() {
        true => vec![Finding::ok(check, fine)],
        false => found,
    }
}
