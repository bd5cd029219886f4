//! The command line.

mod groups;
mod relay;
mod serve;

use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use pgherald_core::ChannelName;
use postgres_protocol::escape::escape_identifier;

pub(crate) use self::groups::{DeadLetters, Group, List, Parked, Selection};
pub(crate) use self::relay::Relay;
pub(crate) use self::serve::{NewToken, Serve, Token};
use crate::words;

/// PostgreSQL changes as typed events: install triggers, watch events, operate durable handlers.
#[derive(Debug, Parser)]
#[command(
    name = "pgherald",
    version,
    propagate_version = true,
    after_help = "\
The database is given by --database-url, else by DATABASE_URL. Settings that these leave out come from PGHOST, PGHOSTADDR,
PGPORT, PGUSER, PGPASSWORD, PGPASSFILE, PGDATABASE, PGSSLMODE, PGSSLROOTCERT, PGAPPNAME, PGOPTIONS, PGCONNECT_TIMEOUT and
PGTARGETSESSIONATTRS, then from ~/.pgpass. PGSERVICE is refused unless host and database are given.

Examples:
  pgherald install users orders            shows what it would do, changes nothing
  pgherald install users --commit          installs triggers that announce every change of users
  pgherald watch users                     shows changes as they happen
  pgherald grant app --to consume          shows the rights that the role of a program needs
  pgherald doctor                          finds problems, and prints a fix for each

Exit codes: 0 success; 1 a problem was found; 2 wrong usage or no connection."
)]
pub(crate) struct Arguments {
    /// The database: a URL (postgresql://user@host/database?sslmode=verify-full) or key=value pairs
    #[arg(long, global = true, value_name = "URL", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) database_url: Option<String>,
    /// Print JSON instead of tables; streams print one object on each line
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Install triggers that announce or record the changes of tables: show a summary; with --sql, the SQL; with --commit, run it
    Install(Install),
    /// Show the SQL that removes installed triggers; with --commit, run it
    Uninstall(Uninstall),
    /// Show the SQL that upgrades everything installed to this version; with --commit, run it
    Upgrade(Upgrade),
    /// Show the SQL that gives a role the rights it needs to read, to run groups, or to install; with --commit, run it
    Grant(Grant),
    /// Show events as they happen
    Watch(Watch),
    /// Check server, triggers, outbox, groups and notifications, and print a fix for each problem
    Doctor(Doctor),
    /// Show listeners, watched tables, and groups of durable handlers
    Status(Status),
    /// List, show, pause, resume, move or delete groups of durable handlers
    #[command(subcommand)]
    Group(Group),
    /// List, show or retry events that wait for another attempt, or behind such an event of the same row
    #[command(subcommand)]
    Parked(Parked),
    /// List, show, retry or discard events that durable handlers gave up
    #[command(subcommand)]
    DeadLetters(DeadLetters),
    /// Serve events over WebSocket and Server-Sent Events to clients without access to the database
    Serve(Serve),
    /// Store events in a stream of NATS JetStream, each exactly once
    Relay(Relay),
    /// Make access tokens for the clients of pgherald serve
    #[command(subcommand)]
    Token(Token),
    /// Start a temporary server with a running durable handler, to try the commands
    Demo,
    /// Print completions for a shell
    #[command(
        after_help = "Example:\n  pgherald completions bash > /etc/bash_completion.d/pgherald"
    )]
    Completions {
        /// The shell
        shell: Shell,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pgherald install users
  pgherald install users --sql                     for a review, or a migration
  pgherald install users --columns email,company --when-changed email --commit
  pgherald install shop.orders --mode outbox --columns '*' --old-columns --commit
  pgherald install --from tables.json --commit
  pgherald install --from tables.json --check      for CI: exit code 1 if something else is installed
  pgherald install --from tables.json --migration > migrations/0007_pgherald.sql
                                                   a script for a migration tool; needs no connection")]
pub(crate) struct Install {
    /// Tables: name or schema.name
    #[arg(required_unless_present = "from", value_name = "TABLE", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) tables: Vec<String>,
    /// A manifest of tables with their options, as HeraldBuilder::manifest exports it; - reads it from standard input
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = [
            "tables", "mode", "channel", "key", "columns", "old_columns", "value_limit", "operations", "when_changed",
            "replicated"
        ]
    )]
    pub(crate) from: Option<PathBuf>,
    /// Announce changes with NOTIFY, or record them in the outbox, from which durable handlers read them [default: notify;
    /// required to change the mode of a table]
    #[arg(long, value_enum)]
    pub(crate) mode: Option<Mode>,
    /// The channel to notify [default: pgherald; PGCacheWatch listens to ch_pgcachewatch_table_change]
    #[arg(long, value_name = "CHANNEL", value_parser = channel)]
    pub(crate) channel: Option<ChannelName>,
    /// Columns of the key [default: the primary key]
    #[arg(long, value_name = "COLUMN,…")]
    pub(crate) key: Vec<Columns>,
    /// Columns whose values the event carries; * for all
    #[arg(long, value_name = "COLUMN,…")]
    pub(crate) columns: Vec<Columns>,
    /// Record the old values of updates as well (outbox only)
    #[arg(long)]
    pub(crate) old_columns: bool,
    /// The maximum size of one value's text in bytes (outbox only); a larger value is reported as unavailable
    /// [default: 1048576]
    #[arg(long, value_name = "BYTES")]
    pub(crate) value_limit: Option<u32>,
    /// Operations [default: all]
    #[arg(long, value_delimiter = ',', value_name = "OPERATION,…", value_enum)]
    pub(crate) operations: Vec<Operation>,
    /// Only updates that change one of these columns
    #[arg(long, value_name = "COLUMN,…")]
    pub(crate) when_changed: Vec<Columns>,
    /// Also rows that logical replication applies, and writes of sessions with session_replication_role = replica
    #[arg(long)]
    pub(crate) replicated: bool,
    /// Remove options of the present installation that are not given here [default: keep them, and refuse if they conflict]
    #[arg(long)]
    pub(crate) narrow: bool,
    /// Only print the differences from the present installation; the exit code is 1 if there are any
    #[arg(long, conflicts_with = "commit")]
    pub(crate) check: bool,
    /// Print the whole SQL, with the summary as a comment
    #[arg(long, conflicts_with_all = ["commit", "check"])]
    pub(crate) sql: bool,
    /// Print a script for migrations instead: one statement that installs the tables on any database, whatever is installed
    /// there. Does not connect; TABLE is parsed as in SQL, in schema public if it names none
    #[arg(long, conflicts_with_all = ["commit", "check", "sql"])]
    pub(crate) migration: bool,
    /// Run the SQL instead of showing a summary of it
    #[arg(long)]
    pub(crate) commit: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pgherald uninstall users --commit\n  pgherald uninstall --all --commit"
)]
pub(crate) struct Uninstall {
    /// Tables: name or schema.name
    #[arg(
        required_unless_present = "all",
        conflicts_with = "all",
        value_name = "TABLE",
        value_parser = NonEmptyStringValueParser::new()
    )]
    pub(crate) tables: Vec<String>,
    /// Remove the triggers of all tables, the outbox with its rows, and all groups
    #[arg(long)]
    pub(crate) all: bool,
    /// Run the SQL instead of showing it
    #[arg(long)]
    pub(crate) commit: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Upgrade {
    /// Run the SQL instead of showing it
    #[arg(long)]
    pub(crate) commit: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pgherald grant dashboard --to read --commit
  pgherald grant app --to consume --commit
  pgherald grant shop_owner --to install --commit

Run it as the role that owns schema pgherald, and again after an upgrade. It revokes nothing: pgherald doctor, run as the
role, lists rights that the role does not need.")]
pub(crate) struct Grant {
    /// The role's name, exactly as stored, without the quotes of SQL
    #[arg(value_name = "ROLE", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) role: String,
    /// What the role is for
    #[arg(long, value_enum)]
    pub(crate) to: Purpose,
    /// Run the SQL instead of showing it
    #[arg(long)]
    pub(crate) commit: bool,
}

/// What a role is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Purpose {
    /// Read the outbox and the state of groups: outbox sources, status, doctor
    Read,
    /// Run groups of durable handlers, and operate them
    Consume,
    /// Install triggers on tables that the role owns
    Install,
}

impl Purpose {
    pub(crate) const ALL: [Self; 3] = [Self::Read, Self::Consume, Self::Install];
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pgherald watch
  pgherald watch users --operation insert,update
  pgherald watch orders --where key=7 --count 1
  pgherald watch --channel ch_pgcachewatch_table_change --json")]
pub(crate) struct Watch {
    /// Tables: name or schema.name [default: all that are installed]
    #[arg(value_name = "TABLE", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) tables: Vec<String>,
    /// Listen to this channel, including notifications from other programs
    #[arg(long, value_name = "CHANNEL", value_parser = channel)]
    pub(crate) channel: Option<ChannelName>,
    /// Only these operations
    #[arg(long, value_delimiter = ',', value_name = "OPERATION,…", value_enum)]
    pub(crate) operation: Vec<Operation>,
    /// Only rows with this key: key=VALUE, or COLUMN=VALUE of a key of several columns
    #[arg(long = "where", value_name = "COLUMN=VALUE", value_parser = condition)]
    pub(crate) conditions: Vec<(String, String)>,
    /// Stop after this many events
    #[arg(long, value_name = "N", allow_hyphen_values = true, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pgherald doctor
  pgherald doctor --long-transaction '30 s' --json

Exit codes: 0 no check failed, although some may warn; 1 a check failed; 2 no connection.")]
pub(crate) struct Doctor {
    /// Warn of transactions that have been open or prepared for longer than this PostgreSQL interval
    #[arg(
        long,
        default_value = "5min",
        value_name = "INTERVAL",
        allow_hyphen_values = true
    )]
    pub(crate) long_transaction: String,
    /// Warn if more than this share of the server's notification queue is in use; a share of 0.5 or more is a failure
    #[arg(long, default_value_t = 0.1, value_name = "SHARE", allow_hyphen_values = true, value_parser = share)]
    pub(crate) queue_usage: f64,
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Refresh every two seconds, until q or Ctrl-C. A terminal shows only as much as fits into it
    #[arg(long)]
    pub(crate) watch: bool,
}

/// Column names separated by commas. A name that contains a comma is in double quotes, as in SQL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Columns {
    names: Vec<String>,
    /// Whether the list is an unquoted `*`.
    is_every: bool,
}

impl Columns {
    /// Returns the names of all options.
    pub(crate) fn all(options: &[Self]) -> Vec<String> {
        options
            .iter()
            .flat_map(|columns| columns.names.clone())
            .collect()
    }

    /// Whether the options select all columns of the table.
    pub(crate) fn is_every(options: &[Self]) -> bool {
        matches!(options, [columns] if columns.is_every)
    }

    /// Returns the first name that is given twice.
    pub(crate) fn duplicate(options: &[Self]) -> Option<String> {
        let mut names = Self::all(options);
        names.sort();
        let pair = names.windows(2).find(|pair| pair[0] == pair[1]);
        pair.map(|pair| pair[0].clone())
    }

    /// Returns `name`, quoted if parsing it requires that.
    pub(crate) fn written(name: &str) -> String {
        match name.contains([',', '"']) || name == "*" {
            true => escape_identifier(name),
            false => name.to_owned(),
        }
    }
}

impl FromStr for Columns {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut names = Vec::new();
        let mut rest = text;
        loop {
            let name;
            (name, rest) = match rest.strip_prefix('"') {
                None => {
                    let end = rest.find(',').unwrap_or(rest.len());
                    (rest[..end].to_owned(), &rest[end..])
                }
                Some(quoted) => words::unquoted(quoted).ok_or("a double quote is not closed")?,
            };
            if name.is_empty() {
                return Err("a name is missing".to_owned());
            }
            names.push(name);
            match rest.strip_prefix(',') {
                Some(more) => rest = more,
                None if rest.is_empty() => {
                    let is_every = text == "*";
                    return Ok(Self { names, is_every });
                }
                None => return Err(format!("there is {rest:?} behind a name in double quotes")),
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    Notify,
    Outbox,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Operation {
    Insert,
    Update,
    Delete,
    Truncate,
}

impl From<Operation> for pgherald_core::Operation {
    fn from(operation: Operation) -> Self {
        match operation {
            Operation::Insert => Self::Insert,
            Operation::Update => Self::Update,
            Operation::Delete => Self::Delete,
            Operation::Truncate => Self::Truncate,
        }
    }
}

fn channel(text: &str) -> Result<ChannelName, String> {
    ChannelName::new(text).map_err(|error| error.chain())
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("write a share between 0 and 1, such as 0.1".to_owned()),
    }
}

fn condition(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((column, value)) if !column.is_empty() => Ok((column.to_owned(), value.to_owned())),
        _ => Err("write COLUMN=VALUE, such as key=7".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Columns;

    #[test]
    fn column_lists_are_separated_by_commas_and_quoted_as_in_sql() {
        let read = |text: &str| text.parse::<Columns>().map(|columns| columns.names);
        let names = ["id", "Odd, name", "a\"b", "c d", "*"];
        let written = names.map(Columns::written).join(",");
        assert_eq!(written, "id,\"Odd, name\",\"a\"\"b\",c d,\"*\"");
        assert_eq!(read(&written).unwrap(), names);
        for wrong in ["", "a,", ",a", "\"a", "\"a\"b", "\"\""] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        let is_every = |text: &str| Columns::is_every(&[text.parse().unwrap()]);
        assert_eq!(["*", "\"*\"", "*,id"].map(is_every), [true, false, false]);
    }

    #[test]
    fn the_clap_definition_is_valid() {
        super::Arguments::command().debug_assert();
    }
}
