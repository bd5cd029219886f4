//! The history of an outbox: decides whether a cursor is still valid.

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::error::{Error, ErrorKind, Result};
use crate::trigger::{refuse_other_outbox, require_version};

/// The history to which transaction ids and positions in the outbox belong, as `pgherald.history()` returns it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct History {
    /// The identity of the outbox. Restoring or copying a database changes it.
    identity: String,
    /// The starts of the server, the newest last. Covers every transaction that readers may have seen.
    runs: Vec<String>,
}

impl History {
    /// Reads the history of the server's outbox. Begins a new history if the outbox, its cursors or its sequences were not
    /// written by this server.
    ///
    /// Fails if there is no outbox, or if the outbox has another version than this program.
    pub(crate) async fn of(client: &Client) -> Result<Self> {
        Self::read(client, true).await
    }

    /// Also checks the cursors if `with_cursors` is set, which takes long if they have many row versions.
    async fn read(client: &Client, with_cursors: bool) -> Result<Self> {
        let sql = include_str!("history.sql");
        let sql = sql.replace("{{with_cursors}}", &with_cursors.to_string());
        let messages = match client.simple_query(&sql).await {
            Ok(messages) => messages,
            Err(cause) => return Err(refused(client, cause).await),
        };
        let row = messages.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        let row =
            row.ok_or_else(|| Error::new(ErrorKind::Query, "pgherald.history() returned no row"))?;
        refuse_other_outbox(row.get("version"))?;
        let runs = row.get("runs").unwrap_or_default().split(',');
        Ok(Self {
            identity: row.get("identity").unwrap_or_default().to_owned(),
            runs: runs.map(str::to_owned).collect(),
        })
    }

    /// Returns whether a reader may continue from a cursor of `before`: the outbox is the same, and its server has not lost a
    /// transaction since.
    pub(crate) fn continues(&self, before: &Self) -> bool {
        let newest = before.runs.last();
        self.identity == before.identity && newest.is_some_and(|run| self.runs.contains(run))
    }

    /// Returns the identity of the outbox and the last start of the server as a text, for [`parse`](Self::parse).
    pub(crate) fn to_text(&self) -> String {
        let newest = self.runs.last().map_or("", String::as_str);
        format!("{},{newest}", self.identity)
    }

    /// Reads a text of [`to_text`](Self::to_text). It has the last start only, which is what [`continues`](Self::continues) needs
    /// of an earlier history.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (identity, newest) = text.split_once(',')?;
        Some(Self {
            identity: identity.to_owned(),
            runs: vec![newest.to_owned()],
        })
    }

    /// Identifies the period since the server may last have lost visible changes. A crash, a promotion and the restore of a base
    /// backup begin another period, and so does a restore or copy of the database's rows. A data directory that was copied while
    /// the server was stopped, and restored later, continues the period of the copy. After 100 starts in one period, each further
    /// start begins another one, because `runs` has the last 100.
    pub(crate) fn period(&self) -> String {
        let first = self.runs.first().map_or("", String::as_str);
        format!("{},{first}", self.identity)
    }

    pub(crate) fn is_same_outbox(&self, other: &Self) -> bool {
        self.identity == other.identity
    }

    /// Returns the identity of the outbox, and the starts of the server.
    pub(super) fn ids(&self) -> (&str, &[String]) {
        (&self.identity, &self.runs)
    }

    /// Fails if the history of the server's outbox does not continue this one. Does not check cursors.
    pub(crate) async fn confirm(&self, client: &Client) -> Result<()> {
        match Self::read(client, false).await?.continues(self) {
            true => Ok(()),
            false => Err(Error::new(
                ErrorKind::History,
                "the history of the outbox has changed: the server has crashed, was promoted, or was restored",
            )),
        }
    }
}

const LOCKED: &str = "cannot read the history of the outbox: another transaction has locked it, to record a start of the server \
    or to begin a new history; if this lasts, end that transaction, which SELECT pid, mode FROM pg_locks WHERE relation IN \
    ('pgherald.server_run'::regclass, 'pgherald.outbox_history'::regclass) shows";

/// Returns why the history could not be read: the outbox is missing, has another version, or `cause`.
async fn refused(client: &Client, cause: tokio_postgres::Error) -> Error {
    let is_missing = matches!(
        cause.code(),
        Some(
            &(SqlState::UNDEFINED_FUNCTION
                | SqlState::INVALID_SCHEMA_NAME
                | SqlState::UNDEFINED_TABLE)
        )
    );
    if cause.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) {
        return Error::of_statement(LOCKED, cause);
    }
    let error = Error::of_statement("cannot read the history of the outbox", cause);
    match is_missing {
        true => require_version(client).await.err().unwrap_or(error),
        false => error,
    }
}

#[cfg(test)]
mod tests {
    use super::History;

    fn history(identity: &str, runs: &[&str]) -> History {
        History {
            identity: identity.to_owned(),
            runs: runs.iter().map(|run| (*run).to_owned()).collect(),
        }
    }

    #[test]
    fn a_history_continues_while_its_server_has_lost_no_start() {
        let before = history("a", &["1", "2"]);
        assert!(before.continues(&before));
        assert!(history("a", &["1", "2", "3"]).continues(&before));
        assert!(!history("b", &["1", "2", "3"]).continues(&before));
        // The first case is a crash, which empties the table. In the second, the data directory was put back to before the
        // second start.
        assert!(!history("a", &["3"]).continues(&before));
        assert!(!history("a", &["1", "3"]).continues(&before));
    }
}
