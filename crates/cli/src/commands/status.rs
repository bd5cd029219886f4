//! `pgherald status`.
//!
//! ```text
//! look (the database, once) ──► Picture ──► tables, or one object
//!   ▲                              │
//!   └── after two seconds ◄────────┘ --watch; a look that fails is said, and the next one connects anew
//! ```

use std::io;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use pgherald_core::group::Group;
use pgherald_core::outbox;
use pgherald_core::trigger::{self, Watched};
use serde::Serialize;
use tokio_postgres::Client;

use super::group::has_outbox;
use super::group_health::state;
use crate::arguments::Status;
use crate::database::Database;
use crate::failure::Failure;
use crate::guarded::guarded;
use crate::interrupt::interrupted;
use crate::output::{Output, Text, Tone};
use crate::words;

/// How long between two looks.
const INTERVAL: Duration = Duration::from_secs(2);
/// After how long a look that is watched counts as failed. Counting lag takes a while where it is millions.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) async fn run(
    database: &Database,
    output: &mut Output,
    arguments: &Status,
) -> Result<ExitCode, Failure> {
    if !arguments.watch {
        let picture = look(&database.client().await?).await?;
        show(output, &picture)?;
        output.flush()?;
        return Ok(ExitCode::SUCCESS);
    }
    tokio::select! {
        biased;
        done = interrupted() => done?,
        failed = watch(database, output) => failed?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Looks again and again; ends only if the first look fails, or nobody reads what is said.
async fn watch(database: &Database, output: &mut Output) -> Result<(), Failure> {
    let mut client = Some(database.client().await?);
    let mut was_shown = false;
    let mut is_lost = false;
    let redraws = output.is_terminal() && !output.is_json();
    loop {
        match watched_look(database, &mut client).await {
            Ok(picture) => {
                if redraws {
                    output.clear()?;
                } else if was_shown && !output.is_json() {
                    output.line("")?;
                }
                show(output, &picture)?;
                (was_shown, is_lost) = (true, false);
            }
            Err(failure) if !was_shown => return Err(failure),
            Err(failure) => {
                client = None;
                if !is_lost {
                    say_lost(output, &failure)?;
                }
                is_lost = true;
            }
        }
        output.flush()?;
        tokio::time::sleep(INTERVAL).await;
    }
}

/// A look, on the connection there is or a new one, that does not take for ever.
async fn watched_look(
    database: &Database,
    client: &mut Option<Client>,
) -> Result<Picture, Failure> {
    let looking = async {
        let client = match client {
            Some(client) => client,
            None => client.insert(database.client().await?),
        };
        look(client).await
    };
    let late = |_| Failure::problem(format!("no answer within {PATIENCE:?}"));
    tokio::time::timeout(PATIENCE, looking)
        .await
        .map_err(late)?
}

fn say_lost(output: &mut Output, failure: &Failure) -> io::Result<()> {
    #[derive(Serialize)]
    struct Lost<'a> {
        at: String,
        error: &'a str,
    }
    let at = words::time(SystemTime::now());
    let Failure::Told { message, .. } = failure else {
        return Ok(());
    };
    if output.is_json() {
        return output.object(&Lost { at, error: message });
    }
    let line = format!(
        "{at}  lost: {}; trying again.",
        words::shortened(message, 200)
    );
    output.line("")?;
    let line = output.toned(Tone::Bad, &line);
    output.line(line)
}

/// How everything stands.
#[derive(Debug, Serialize)]
struct Picture {
    /// By the clock of this machine.
    at: String,
    /// Whether anything of pgherald is in this database.
    is_installed: bool,
    sessions: Vec<Session>,
    tables: Vec<Table>,
    outbox: Option<Outbox>,
    /// Why outbox and groups are not shown although there are some.
    #[serde(skip_serializing_if = "Option::is_none")]
    hidden: Option<String>,
    groups: Vec<GroupState>,
}

/// A session of pgherald's in this database.
#[derive(Debug, Serialize)]
struct Session {
    /// `listener`, `consumer`, `outbox reader` (of a listener or a consumer), or `other`.
    role: String,
    application_name: String,
    pid: i32,
    user: String,
    /// Empty of a socket in the file system, and where this role may not see it.
    client_address: String,
    since: String,
    state: String,
}

#[derive(Debug, Serialize)]
struct Table {
    /// The function's name, if its comment does not tell the table.
    table: String,
    mode: Option<&'static str>,
    channel: Option<String>,
    operations: Vec<&'static str>,
    key: Vec<String>,
    columns: Vec<String>,
    /// Whether replicated rows fire triggers, too.
    replicated: bool,
    triggers: usize,
    /// The first thing that is not as it should be.
    drift: Option<String>,
}

#[derive(Debug, Serialize)]
struct Outbox {
    bytes: u64,
    oldest_seconds: Option<f64>,
    keep_seconds: f64,
    max_bytes: u64,
}

#[derive(Debug, Serialize)]
struct GroupState {
    group: String,
    /// Its problems, or `up to date`.
    state: String,
    is_paused: bool,
    lag_events: i64,
    lag_seconds: f64,
    slices: i32,
    /// Events that wait for another attempt, or behind such.
    parked: i64,
    /// Of so many rows.
    parked_keys: i64,
    /// Parked events that have failed.
    failing: i64,
    /// Those of them that were parked within the last five minutes.
    failing_recently: i64,
    oldest_failing_seconds: Option<f64>,
    dead_letters: i64,
    /// Those of them that were given up within the last five minutes.
    dead_recently: i64,
    last_error: Option<String>,
    nodes: Vec<Node>,
}

#[derive(Debug, Serialize)]
struct Node {
    id: i64,
    description: String,
    /// Below zero if it is over, and nobody has noticed.
    lease_seconds: f64,
    slices: i64,
}

async fn look(client: &Client) -> Result<Picture, Failure> {
    let looking = async {
        let (sessions, tables) = (sessions(client).await?, tables(client).await?);
        Ok((sessions, tables, has_outbox(client).await?))
    };
    let (sessions, tables, has_outbox) = guarded(client, looking).await?;
    let (mut hidden, mut shown) = (None, (None, Vec::new()));
    if has_outbox {
        let looking = async { Ok((Some(outbox(client).await?), groups(client).await?)) };
        match guarded(client, looking).await {
            Ok(found) => shown = found,
            // What this role may not see is no reason to show nothing.
            Err(failure) if failure.is_forbidden() => hidden = failure.message(),
            Err(failure) => return Err(failure),
        }
    }
    let (outbox, groups) = shown;
    Ok(Picture {
        at: words::time(SystemTime::now()),
        is_installed: !tables.is_empty() || outbox.is_some() || hidden.is_some(),
        sessions,
        tables,
        outbox,
        hidden,
        groups,
    })
}

async fn sessions(client: &Client) -> Result<Vec<Session>, Failure> {
    let rows = client.query(include_str!("sql/sessions.sql"), &[]).await?;
    let session = |row: &tokio_postgres::Row| {
        Ok(Session {
            role: row.try_get(0)?,
            application_name: row.try_get(1)?,
            pid: row.try_get(2)?,
            user: row.try_get(3)?,
            client_address: row.try_get(4)?,
            since: row.try_get(5)?,
            state: row.try_get(6)?,
        })
    };
    rows.iter().map(session).collect()
}

async fn tables(client: &Client) -> Result<Vec<Table>, Failure> {
    let actual = trigger::inspect_all(client, &[]).await?;
    let table = |watched: Watched| {
        let Some(spec) = watched.current() else {
            return Table {
                table: watched.function,
                mode: None,
                channel: None,
                operations: Vec::new(),
                key: Vec::new(),
                columns: Vec::new(),
                replicated: false,
                triggers: watched.triggers,
                drift: Some("the function's comment does not tell what it was made for".to_owned()),
            };
        };
        let name = format!("{}: ", spec.table());
        let drifts = actual.verify(&spec);
        let drift = match watched.former() {
            Some(former) => Some(format!("renamed, its changes come under {former}")),
            None => drifts.first().map(ToString::to_string),
        };
        Table {
            table: spec.table().to_string(),
            mode: Some(if spec.is_outbox() { "outbox" } else { "notify" }),
            channel: (!spec.is_outbox()).then(|| spec.channel_name().to_string()),
            operations: spec
                .announced()
                .iter()
                .map(|operation| operation.as_str())
                .collect(),
            key: spec.key_names().unwrap_or_default().to_vec(),
            columns: spec.column_names().to_vec(),
            replicated: spec.is_replicated(),
            triggers: watched.triggers,
            // The table stands beside it.
            drift: drift.map(|drift| drift.strip_prefix(&name).unwrap_or(&drift).to_owned()),
        }
    };
    Ok(actual.watched().into_iter().map(table).collect())
}

async fn outbox(client: &Client) -> Result<Outbox, Failure> {
    let status = outbox::status(client).await?;
    Ok(Outbox {
        bytes: status.bytes,
        oldest_seconds: status.oldest.map(|oldest| oldest.as_secs_f64()),
        keep_seconds: status.keep.as_secs_f64(),
        max_bytes: status.max_bytes,
    })
}

async fn groups(client: &Client) -> Result<Vec<GroupState>, Failure> {
    let nodes = client.query(include_str!("sql/nodes.sql"), &[]).await?;
    let parked = client
        .query(include_str!("sql/parked_keys.sql"), &[])
        .await?;
    let mut groups = Vec::new();
    for status in Group::all(client).await? {
        let mut group = GroupState {
            state: state(&status),
            is_paused: status.is_paused,
            lag_events: status.lag_events,
            lag_seconds: status.lag.as_secs_f64(),
            slices: status.slices,
            parked: status.parked,
            parked_keys: 0,
            failing: status.failing,
            failing_recently: status.failing_recently,
            oldest_failing_seconds: status.oldest_failing.map(|oldest| oldest.as_secs_f64()),
            dead_letters: status.dead_letters,
            dead_recently: status.dead_recently,
            last_error: status.last_error,
            nodes: Vec::new(),
            group: status.name,
        };
        for row in &parked {
            if row.try_get::<_, &str>(0)? == group.group {
                group.parked_keys = row.try_get(1)?;
            }
        }
        for row in &nodes {
            if row.try_get::<_, &str>(0)? == group.group {
                group.nodes.push(Node {
                    id: row.try_get(1)?,
                    description: row.try_get(2)?,
                    lease_seconds: row.try_get(3)?,
                    slices: row.try_get(4)?,
                });
            }
        }
        groups.push(group);
    }
    Ok(groups)
}

fn show(output: &mut Output, picture: &Picture) -> io::Result<()> {
    if output.is_json() {
        return output.object(picture);
    }
    output.line(&picture.at)?;
    show_sessions(output, &picture.sessions)?;
    if !picture.is_installed {
        output.line("")?;
        output.line("Nothing is installed in this database.")?;
        return output.line("Begin with: pgherald install TABLE --commit");
    }
    show_tables(output, &picture.tables)?;
    if let Some(why) = &picture.hidden {
        output.line("")?;
        output.line(&format!("Outbox: not shown: {why}"))?;
    }
    if let Some(outbox) = &picture.outbox {
        show_outbox(output, outbox)?;
        show_groups(output, &picture.groups)?;
    }
    Ok(())
}

/// A table under its title, or the title and "none".
fn section<C>(
    output: &mut Output,
    title: &str,
    headings: &[&str],
    rows: &[Vec<C>],
) -> io::Result<()>
where
    for<'a> &'a C: Into<Text>,
{
    output.line("")?;
    if rows.is_empty() {
        return output.line(&format!("{title}: none"));
    }
    output.line(title)?;
    output.table(headings, rows)
}

fn show_sessions(output: &mut Output, sessions: &[Session]) -> io::Result<()> {
    let row = |session: &Session| {
        vec![
            session.role.clone(),
            session.application_name.clone(),
            session.pid.to_string(),
            session.user.clone(),
            session.client_address.clone(),
            session.since.clone(),
            session.state.clone(),
        ]
    };
    let rows: Vec<_> = sessions.iter().map(row).collect();
    let headings = [
        "ROLE",
        "APPLICATION",
        "PID",
        "USER",
        "CLIENT",
        "SINCE",
        "STATE",
    ];
    section(output, "Sessions", &headings, &rows)
}

fn show_tables(output: &mut Output, tables: &[Table]) -> io::Result<()> {
    let mut rows = Vec::new();
    for table in tables {
        let state = match &table.drift {
            None => output.toned(Tone::Good, "ok"),
            Some(drift) => output.toned(Tone::Bad, drift),
        };
        let cells = [
            table.table.clone(),
            match (table.mode.unwrap_or("unknown"), table.replicated) {
                (mode, false) => mode.to_owned(),
                (mode, true) => format!("{mode},replicated"),
            },
            table.channel.clone().unwrap_or_else(|| "-".to_owned()),
            table.operations.join(","),
            list(&table.key),
            list(&table.columns),
            table.triggers.to_string(),
        ];
        let mut row: Vec<Text> = cells.iter().map(Text::from).collect();
        // Last, for its colour counts as width.
        row.push(state);
        rows.push(row);
    }
    let headings = [
        "TABLE",
        "MODE",
        "CHANNEL",
        "OPERATIONS",
        "KEY",
        "COLUMNS",
        "TRIGGERS",
        "STATE",
    ];
    section(output, "Watched tables", &headings, &rows)
}

fn list(names: &[String]) -> String {
    match names {
        [] => "-".to_owned(),
        names => names.join(","),
    }
}

fn show_outbox(output: &mut Output, outbox: &Outbox) -> io::Result<()> {
    let row = vec![
        words::size(outbox.bytes),
        outbox
            .oldest_seconds
            .map_or_else(|| "empty".to_owned(), words::duration),
        words::duration(outbox.keep_seconds),
        words::size(outbox.max_bytes),
    ];
    section(
        output,
        "Outbox",
        &["SIZE", "OLDEST", "KEPT FOR", "AT MOST"],
        &[row],
    )
}

fn show_groups(output: &mut Output, groups: &[GroupState]) -> io::Result<()> {
    let row = |group: &GroupState| {
        vec![
            group.group.clone(),
            group.state.clone(),
            words::count(group.lag_events, "event"),
            words::duration(group.lag_seconds),
            group.nodes.len().to_string(),
            group.parked.to_string(),
            group.parked_keys.to_string(),
            group.failing.to_string(),
            group.dead_letters.to_string(),
        ]
    };
    let rows: Vec<_> = groups.iter().map(row).collect();
    let headings = [
        "GROUP",
        "STATE",
        "LAG",
        "OLDEST",
        "NODES",
        "PARKED",
        "KEYS",
        "FAILING",
        "DEAD LETTERS",
    ];
    section(output, "Groups", &headings, &rows)?;
    show_failures(output, groups)?;
    let node = |group: &GroupState, node: &Node| {
        let lease = match node.lease_seconds {
            left if left > 0.0 => words::duration(left),
            over => format!("over for {}", words::duration(-over)),
        };
        let slices = format!("{} of {}", node.slices, group.slices);
        vec![group.group.clone(), node.description.clone(), lease, slices]
    };
    let nodes = groups
        .iter()
        .flat_map(|group| group.nodes.iter().map(move |of| node(group, of)));
    let rows: Vec<_> = nodes.collect();
    section(
        output,
        "Nodes",
        &["GROUP", "NODE", "LEASE", "SLICES"],
        &rows,
    )
}

/// Groups whose events fail, if there are some.
fn show_failures(output: &mut Output, groups: &[GroupState]) -> io::Result<()> {
    let fails = |group: &&GroupState| group.failing > 0 || group.dead_letters > 0;
    let row = |group: &GroupState| {
        let oldest = group.oldest_failing_seconds;
        vec![
            group.group.clone(),
            format!("{} of {} parked", group.failing, group.parked),
            group.failing_recently.to_string(),
            oldest.map_or_else(|| "-".to_owned(), words::duration),
            group.dead_letters.to_string(),
            group.dead_recently.to_string(),
            words::shortened(group.last_error.as_deref().unwrap_or("-"), 80),
        ]
    };
    let rows: Vec<_> = groups.iter().filter(fails).map(row).collect();
    if rows.is_empty() {
        return Ok(());
    }
    let headings = [
        "GROUP",
        "FAILING",
        "IN 5 MIN",
        "OLDEST",
        "DEAD LETTERS",
        "IN 5 MIN",
        "LAST ERROR",
    ];
    section(output, "Failures", &headings, &rows)
}
