//! The commands about groups of durable handlers and their events.

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};

use super::condition;

#[derive(Debug, Subcommand)]
pub(crate) enum Group {
    /// List them, with the tables that they require, their lag, consumers, parked events and dead letters
    List,
    /// Show what one requires, its consumers and slices, and why its events fail
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

It prints what the move does. It moves at once only if no event is skipped and at most 1,000 are delivered again; else it changes
nothing and ends with exit code 1, unless --commit is given.")]
    Seek {
        /// The group
        group: String,
        /// beginning (of what is kept), now, or a time as PostgreSQL reads it
        #[arg(allow_hyphen_values = true)]
        to: String,
        /// Move it also if events are skipped, or more than 1,000 are delivered again
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
    /// List them, oldest first
    List(List),
    /// Show one with all its details
    Show {
        /// Its group
        group: String,
        /// Its event's number
        #[arg(allow_negative_numbers = true)]
        id: i64,
    },
    /// Make them due now, while consumers run or not. They keep the number of their attempts
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
    /// List them, oldest first
    List(List),
    /// Show one with all its details
    Show {
        /// Its group
        group: String,
        /// Its event's number
        #[arg(allow_negative_numbers = true)]
        id: i64,
    },
    /// Retry them, with all attempts again
    Retry(Selection),
    /// Delete them
    Discard(Selection),
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Of this group only
    #[arg(long, value_name = "GROUP")]
    pub(crate) group: Option<String>,
    /// At most this many of each group
    #[arg(
        long,
        default_value_t = 100,
        value_name = "N",
        allow_hyphen_values = true
    )]
    pub(crate) limit: usize,
}

/// Events of one group: by number, all of them, those of a table, or those of one row.
#[derive(Debug, Args)]
pub(crate) struct Selection {
    /// Their group
    pub(crate) group: String,
    /// Their events' numbers
    #[arg(
        required_unless_present_any = ["all", "table"],
        conflicts_with_all = ["all", "table"],
        allow_negative_numbers = true,
        value_name = "ID"
    )]
    pub(crate) ids: Vec<i64>,
    /// All of the group
    #[arg(long, conflicts_with = "table")]
    pub(crate) all: bool,
    /// Those of this table: name or schema.name
    #[arg(long, value_name = "TABLE", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) table: Option<String>,
    /// Only those of the row with this key: key=VALUE, or COLUMN=VALUE of a key of several columns
    #[arg(long = "where", requires = "table", value_name = "COLUMN=VALUE", value_parser = condition)]
    pub(crate) conditions: Vec<(String, String)>,
}
