//! Checks the triggers of a source's tables, and reports the result in the name of the session.
//!
//! A source stores nothing in the database, because its role may have no right to write. But every role sees the names of all
//! sessions in `pg_stat_activity`. So `pgherald doctor` and `status` find listeners that are not live there.

use std::sync::{Mutex, PoisonError};

use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::options::Options;
use crate::error::{Error, Result};
use crate::trigger::{Check, Checker};

/// The maximum length of an `application_name`, in bytes. The server truncates longer names.
const LONGEST: usize = 63;

/// Checks the triggers for one session, and sets the name of the session to the result.
#[derive(Debug)]
pub(super) struct Watcher {
    checker: Checker,
    /// The name that the program has chosen.
    name: String,
    shown: Mutex<String>,
}

impl Watcher {
    /// Makes a watcher for a session that has just been opened.
    pub(super) fn new(options: &Options) -> Self {
        let name = options.config.name_of_session().to_owned();
        Self {
            checker: Checker::new(&options.specs),
            shown: Mutex::new(name.clone()),
            name,
        }
    }

    /// Checks the triggers. Updates the name of the session if the result has changed.
    pub(super) async fn check(&self, client: &Client) -> Result<Check> {
        let check = self.checker.check(client).await?;
        let table = check.losing().next().map(|drift| drift.table.to_string());
        let name = name(&self.name, table.as_deref());
        if *self.shown() != name {
            let sql = "SELECT pg_catalog.set_config('application_name', $1, false)";
            let set = client.query_typed(sql, &[(&name, Type::TEXT)]).await;
            set.map_err(|cause| Error::of_statement("cannot name the session", cause))?;
            *self.shown() = name;
        }
        Ok(check)
    }

    fn shown(&self) -> std::sync::MutexGuard<'_, String> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns a name such as `orders-api (not live: public.orders)`, shortened to the server's limit.
fn name(base: &str, table: Option<&str>) -> String {
    /// How many bytes of the program's own name are always kept.
    const OWN: usize = 24;
    let Some(table) = table else {
        return base.to_owned();
    };
    let (before, after) = (" (not live: ", ")");
    let room = LONGEST - before.len() - after.len();
    let table = shortened(table, room - base.len().min(OWN));
    let base = shortened(base, room - table.len());
    format!("{base}{before}{table}{after}")
}

fn shortened(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes).rev().find(|end| text.is_char_boundary(*end));
    match text.len() > bytes {
        true => &text[..end.unwrap_or_default()],
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::{LONGEST, name};

    #[test]
    fn session_names_show_the_table_and_keep_the_start_of_their_own_name() {
        assert_eq!(name("api", None), "api");
        assert_eq!(name("api", Some("public.a")), "api (not live: public.a)");
        assert_eq!(name("", Some("public.a")), " (not live: public.a)");
        let long = name(&"ä".repeat(60), Some(&"ö".repeat(60)));
        assert!(long.len() <= LONGEST && long.starts_with("äää"), "{long}");
        assert!(
            long.contains(" (not live: öööö") && long.ends_with(')'),
            "{long}"
        );
    }
}
