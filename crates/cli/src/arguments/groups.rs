//! Arguments of the commands for groups of durable handlers and their events.

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};

use super::condition;

#[derive(Debug, Subcommand)]
pub(crate) enum Group {
    /// List groups, with the tables that they require, their lag, consumers, parked events and dead letters
    List,
    /// Show what a group requires, its consumers and slices, and why its events fail
    Show {
        /// The group
        group: String,
    },
    /// Start no further attempts; running ones finish
    Pause {
        /// The group
        group: String,
    },
    /// End a pause
    Resume {
        /// The group
        group: String,
    },
    /// Move the group to another position in the outbox
    #[command(after_help = "\
Examples:
  pgherald group seek enrich-users beginning
  pgherald group seek enrich-users '2026-11-24 10:00+00'
  pgherald group seek enrich-users '2 hours ago' --commit

It prints the effects of the move. Without --commit, it moves the group only if no event is skipped and at most 1,000 are
delivered again; otherwise it changes nothing and ends with exit code 1.")]
    Seek {
        /// The group
        group: String,
        /// beginning (of the rows that are kept), now, or a time as PostgreSQL reads it
        #[arg(allow_hyphen_values = true)]
        to: String,
        /// Move the group even if events are skipped, or more than 1,000 are delivered again
        #[arg(long)]
        commit: bool,
    },
    /// Show what deleting a group deletes; with --commit, delete it. Refused while its consumers run
    Delete {
        /// The group
        group: String,
        /// Delete it
        #[arg(long)]
        commit: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Parked {
    /// List parked events, oldest first
    List(List),
    /// Show all details of one parked event
    Show {
        /// The group
        group: String,
        /// The event's id
        #[arg(allow_negative_numbers = true)]
        id: i64,
    },
    /// Make parked events due now, whether consumers run or not. Their attempts still count
    #[command(after_help = "\
Examples:
  pgherald parked retry enrich-users --all
  pgherald parked retry enrich-users --table users
  pgherald parked retry enrich-users --table users --where key=7
  pgherald parked retry enrich-users 4711 4712")]
    Retry(Selection),
}

#[derive(Debug, Subcommand)]
pub(crate) enum DeadLetters {
    /// List dead letters, oldest first
    List(List),
    /// Show all details of one dead letter
    Show {
        /// The group
        group: String,
        /// The event's id
        #[arg(allow_negative_numbers = true)]
        id: i64,
    },
    /// Retry dead letters; they have all their attempts again
    Retry(Selection),
    /// Delete dead letters
    Discard(Selection),
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// List only events of this group
    #[arg(long, value_name = "GROUP")]
    pub(crate) group: Option<String>,
    /// List at most this many events of each group
    #[arg(
        long,
        default_value_t = 100,
        value_name = "N",
        allow_hyphen_values = true
    )]
    pub(crate) limit: usize,
}

/// Events of one group: by id, all of them, those of a table, or those of one row.
#[derive(Debug, Args)]
pub(crate) struct Selection {
    /// The group
    pub(crate) group: String,
    /// The ids of the events
    #[arg(
        required_unless_present_any = ["all", "table"],
        conflicts_with_all = ["all", "table"],
        allow_negative_numbers = true,
        value_name = "ID"
    )]
    pub(crate) ids: Vec<i64>,
    /// All events of the group
    #[arg(long, conflicts_with = "table")]
    pub(crate) all: bool,
    /// Events of this table: name or schema.name
    #[arg(long, value_name = "TABLE", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) table: Option<String>,
    /// Only events of the row with this key: key=VALUE, or COLUMN=VALUE of a key of several columns
    #[arg(long = "where", requires = "table", value_name = "COLUMN=VALUE", value_parser = condition)]
    pub(crate) conditions: Vec<(String, String)>,
}
