//! `pgherald dead-letters`.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;

use pgherald_core::group::{Group, ParkedEvent};
use serde::Serialize;
use serde_json::Value;
use tokio_postgres::Client;

use super::group::{must_exist, names};
use crate::arguments::{DeadLetters, Selection};
use crate::database::Database;
use crate::failure::Failure;
use crate::keys::Key;
use crate::output::Output;
use crate::words;

/// How many are changed at a time: none of these statements takes long, and progress can be seen.
const CHUNK: usize = 1_000;
/// How many are read at a time.
const PAGE: usize = 100;
/// How much of an error stands in a list.
const SHORT: usize = 80;

pub(crate) async fn run(
    database: &Database,
    output: &mut Output,
    arguments: &DeadLetters,
) -> Result<ExitCode, Failure> {
    let client = Arc::new(database.client().await?);
    match arguments {
        DeadLetters::List { group, limit } => {
            list(&client, output, group.as_deref(), *limit).await?;
        }
        DeadLetters::Show { group, id } => {
            must_exist(&client, group).await?;
            let letter = one(&Group::new(&client, group), *id).await?;
            let letter = letter.ok_or_else(|| missing(group, &[*id]))?;
            show(output, &Letter::of(group, &letter))?;
        }
        DeadLetters::Retry(selection) => change(&client, output, Action::Retry, selection).await?,
        DeadLetters::Discard(selection) => {
            change(&client, output, Action::Discard, selection).await?;
        }
    }
    output.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// The dead letter with this id.
async fn one(group: &Group<'_>, id: i64) -> Result<Option<ParkedEvent>, Failure> {
    let event = group.parked_event(id).await?;
    Ok(event.filter(|event| event.dead_at.is_some()))
}

fn missing(group: &str, ids: &[i64]) -> Failure {
    let message = match ids {
        [id] => format!("{id} is no dead letter of group {group:?}"),
        ids => format!(
            "none of {} is a dead letter of group {group:?}",
            numbers(ids)
        ),
    };
    let group = words::option("group", group);
    Failure::problem(message).hint(format!("pgherald dead-letters list {group}"))
}

/// A dead letter as it is shown.
#[derive(Debug, Serialize)]
struct Letter<'a> {
    group: &'a str,
    id: i64,
    /// `insert public.users 7`
    event: String,
    schema: Option<String>,
    table: Option<String>,
    operation: Option<&'static str>,
    key: Option<Key<'a>>,
    columns: Option<Value>,
    old_columns: Option<Value>,
    changed: Option<Vec<String>>,
    recorded_at: Option<String>,
    parked_at: String,
    dead_at: Option<String>,
    attempts: u32,
    error: Option<String>,
}

fn parsed(json: &str) -> Option<Value> {
    serde_json::from_str(json).ok()
}

impl<'a> Letter<'a> {
    fn of(group: &'a str, letter: &'a ParkedEvent) -> Self {
        let event = letter.event.as_ref();
        let described = match event {
            Some(event) => event.to_string(),
            None if letter.id < 0 => "resync".to_owned(),
            None => "cannot be understood".to_owned(),
        };
        Self {
            group,
            id: letter.id,
            event: described,
            schema: event.and_then(|event| event.schema().map(str::to_owned)),
            table: event.map(|event| event.table().to_owned()),
            operation: event.map(|event| event.operation().as_str()),
            key: event.and_then(Key::of),
            columns: event.and_then(|event| parsed(&event.columns_json()?)),
            old_columns: event.and_then(|event| parsed(&event.old_columns_json()?)),
            changed: event.and_then(|event| event.changed().map(<[String]>::to_vec)),
            recorded_at: event.map(|event| words::time(event.sent_at())),
            parked_at: words::time(letter.parked_at),
            dead_at: letter.dead_at.map(words::time),
            attempts: letter.attempts,
            error: letter.error.clone(),
        }
    }
}

async fn list(
    client: &Arc<Client>,
    output: &mut Output,
    group: Option<&str>,
    limit: usize,
) -> Result<(), Failure> {
    let groups = match group {
        Some(name) => {
            must_exist(client, name).await?;
            vec![name.to_owned()]
        }
        None => names(client).await?,
    };
    let mut rows = Vec::new();
    let mut incomplete = Vec::new();
    for name in &groups {
        let group = Group::new(client, name);
        let (mut left, mut last) = (limit, None);
        loop {
            // One more than is shown, to tell whether there are more.
            let some = left.min(PAGE);
            let letters = group.dead_letters(last, some + 1).await?;
            for letter in letters.iter().take(some) {
                last = Some(letter.id);
                let letter = Letter::of(name, letter);
                match output.is_json() {
                    true => output.object(&letter)?,
                    false => rows.push(row(letter)),
                }
            }
            left -= some;
            if letters.len() <= some {
                break;
            }
            if left == 0 {
                incomplete.push(name.as_str());
                break;
            }
        }
    }
    if output.is_json() {
        return Ok(());
    }
    if !rows.is_empty() {
        let headings = ["GROUP", "ID", "EVENT", "ATTEMPTS", "DEAD SINCE", "ERROR"];
        output.table(&headings, &rows)?;
    } else if incomplete.is_empty() {
        output.line("There are no dead letters.")?;
    }
    for name in incomplete {
        output.line(&format!("There are more of {name}: raise --limit."))?;
    }
    Ok(())
}

fn row(letter: Letter<'_>) -> Vec<String> {
    vec![
        letter.group.to_owned(),
        letter.id.to_string(),
        letter.event,
        letter.attempts.to_string(),
        letter.dead_at.unwrap_or_default(),
        words::shortened(&letter.error.unwrap_or_default(), SHORT),
    ]
}

fn show(output: &mut Output, letter: &Letter<'_>) -> io::Result<()> {
    if output.is_json() {
        return output.object(letter);
    }
    let json = |value: &Value| value.to_string();
    let lines = [
        ("Group", Some(letter.group.to_owned())),
        ("Id", Some(letter.id.to_string())),
        ("Event", Some(letter.event.clone())),
        ("Columns", letter.columns.as_ref().map(json)),
        ("Before", letter.old_columns.as_ref().map(json)),
        (
            "Changed",
            letter.changed.as_ref().map(|names| names.join(", ")),
        ),
        ("Recorded", letter.recorded_at.clone()),
        ("Parked", Some(letter.parked_at.clone())),
        ("Dead since", letter.dead_at.clone()),
        ("Attempts", Some(letter.attempts.to_string())),
        ("Error", letter.error.clone()),
    ];
    for (name, value) in lines {
        let Some(value) = value else { continue };
        // What an error has to say on further lines is set in.
        for (place, line) in value.split('\n').enumerate() {
            let name = if place == 0 { name } else { "" };
            output.line(&format!("{name:<10}  {line}"))?;
        }
    }
    Ok(())
}

/// What becomes of dead letters.
#[derive(Clone, Copy, Debug)]
enum Action {
    Retry,
    Discard,
}

#[derive(Debug, Serialize)]
struct Changed<'a> {
    group: &'a str,
    /// `retried` or `discarded`.
    action: &'static str,
    count: u64,
    /// Numbers that were asked for and are no dead letters.
    not_found: Vec<i64>,
}

impl Action {
    fn done(self) -> &'static str {
        match self {
            Self::Retry => "retried",
            Self::Discard => "discarded",
        }
    }

    async fn apply(self, group: &Group<'_>, ids: &[i64]) -> Result<u64, Failure> {
        Ok(match self {
            Self::Retry => group.retry_dead_letters(Some(ids)).await?,
            Self::Discard => group.discard_dead_letters(Some(ids)).await?,
        })
    }
}

async fn change(
    client: &Arc<Client>,
    output: &mut Output,
    action: Action,
    selection: &Selection,
) -> Result<(), Failure> {
    let Selection { group, ids, all } = selection;
    must_exist(client, group).await?;
    let found = ids_of(client, group, (!all).then_some(&**ids)).await?;
    let mut not_found = ids.clone();
    not_found.retain(|id| found.binary_search(id).is_err());
    not_found.sort_unstable();
    not_found.dedup();
    if found.is_empty() && !all {
        return Err(missing(group, &not_found));
    }
    let operator = Group::new(client, group);
    let mut progress = Progress::new(found.len());
    let mut count = 0;
    for chunk in found.chunks(CHUNK) {
        count += action.apply(&operator, chunk).await?;
        progress.advance(chunk.len());
    }
    drop(progress);
    if output.is_json() {
        let action = action.done();
        output.object(&Changed {
            group,
            action,
            count,
            not_found,
        })?;
        return Ok(());
    }
    let letters = words::count(count, "dead letter");
    output.line(&match action {
        Action::Retry => format!("{letters} of {group} to be tried again."),
        Action::Discard => format!("{letters} of {group} discarded."),
    })?;
    if !not_found.is_empty() {
        output.line(&format!("No dead letters: {}.", numbers(&not_found)))?;
    }
    Ok(())
}

/// The numbers of dead letters, in ascending order: all of a group, or those among `ids`.
async fn ids_of(client: &Client, group: &str, ids: Option<&[i64]>) -> Result<Vec<i64>, Failure> {
    let sql = "SELECT id FROM pgherald.parked_event
        WHERE group_name OPERATOR(pg_catalog.=) $1 AND dead_at IS NOT NULL
            AND ($2::bigint[] IS NULL OR id OPERATOR(pg_catalog.=) ANY ($2)) ORDER BY id";
    let rows = client.query(sql, &[&group, &ids]).await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

fn numbers(ids: &[i64]) -> String {
    ids.iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

/// How far it has come, on standard error, if somebody looks at that and it takes more than one step.
#[derive(Debug)]
struct Progress {
    of: usize,
    done: usize,
    is_shown: bool,
}

impl Progress {
    fn new(of: usize) -> Self {
        let is_shown = of > CHUNK && io::stderr().is_terminal();
        Self {
            of,
            done: 0,
            is_shown,
        }
    }

    fn advance(&mut self, by: usize) {
        self.done += by;
        if self.is_shown {
            // Nothing can be done about a standard error that is closed.
            let _ = write!(io::stderr(), "\r{} of {}", self.done, self.of);
        }
    }
}

/// Takes the line away, for what comes to stand in its place.
impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_shown {
            let _ = write!(io::stderr(), "\r\u{1b}[K");
        }
    }
}
