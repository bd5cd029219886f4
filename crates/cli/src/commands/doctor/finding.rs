//! What a check has found.

use serde::Serialize;
use tokio_postgres::types::{FromSql, ToSql, Type};
use tokio_postgres::{Client, Row};

use crate::failure::Failure;
use crate::output::Tone;

/// What a check has found; an error if it could not run.
pub(in crate::commands) type Findings = Result<Vec<Finding>, Failure>;

/// One line, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(in crate::commands) struct Finding {
    pub(super) check: &'static str,
    pub(super) result: Verdict,
    pub(in crate::commands) finding: String,
    /// SQL or a command to paste, where there is such.
    pub(in crate::commands) fix: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    Ok,
    /// It works, and may not for long, or not for everybody.
    Warning,
    /// Changes go unheard or unhandled.
    Failed,
    /// There is nothing to look at, or this role may not see it.
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
            // Names and messages may hold line breaks.
            finding: finding.split_whitespace().collect::<Vec<_>>().join(" "),
            fix: None,
        }
    }

    pub(super) fn ok(check: &'static str, finding: impl Into<String>) -> Self {
        Self::new(check, Verdict::Ok, finding)
    }

    /// The check could not run.
    pub(super) fn unknown(check: &'static str, why: Failure) -> Self {
        let (message, fix) = match why {
            Failure::Reported { message, hint, .. } => (message, hint),
            Failure::Unread => ("it was interrupted".to_owned(), None),
        };
        let finding = format!("could not be looked at: {message}");
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

/// Asks without leaving a prepared statement, which poolers would mind.
pub(super) async fn rows(
    client: &Client,
    sql: &str,
    parameters: &[Parameter<'_>],
) -> Result<Vec<Row>, Failure> {
    Ok(client.query_typed(sql, parameters).await?)
}

/// The first column of the first row.
pub(super) async fn value<T: for<'a> FromSql<'a>>(
    client: &Client,
    sql: &str,
) -> Result<T, Failure> {
    let rows = rows(client, sql, &[]).await?;
    let row = rows
        .first()
        .ok_or_else(|| Failure::problem("the server answered nothing"))?;
    Ok(row.try_get(0)?)
}

/// What is wrong, of a query that returns a finding and its fix in each row.
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

/// What is wrong, or that nothing is.
pub(super) fn or_ok(found: Vec<Finding>, check: &'static str, fine: &str) -> Vec<Finding> {
    match found.is_empty() {
        true => vec![Finding::ok(check, fine)],
        false => found,
    }
}
