//! The rows of the catalog, as the statement of [`inspect`](super::inspect()) returns them: each is a JSON text.

use std::collections::HashSet;

use serde::Deserialize;

use super::VERSION;
use super::note::{Note, Place};
use super::spec::TriggerSpec;
use super::version::version;
use crate::error::{Error, ErrorKind, Result};
use crate::name::TableName;
use crate::types::Type;

#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    pub(super) oid: i64,
    pub(super) columns: Vec<Column>,
    /// The table itself first, then its partitions and children of every level.
    pub(super) members: Vec<Member>,
}

impl Table {
    pub(super) fn place(&self) -> Place {
        let columns = self.columns.iter();
        Place {
            table: self.oid,
            columns: columns
                .map(|column| (column.name.clone(), column.number))
                .collect(),
        }
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Column {
    pub(super) root: i64,
    pub(super) number: i16,
    pub(super) name: String,
    /// The name of the type, or of the type behind a domain, if it comes with PostgreSQL. `enum` for an enum; otherwise empty.
    pub(super) type_name: String,
    /// The position in the primary key, from 1.
    pub(super) key_place: Option<i32>,
    /// Whether it is computed when it is read. Triggers cannot see such a column.
    pub(super) is_virtual: bool,
    /// The qualified and quoted name of the type or the domain.
    pub(super) exact_type: String,
    /// The type as it was declared.
    pub(super) declared: String,
    /// Whether values of its type have a fixed length, so that their texts are short.
    pub(super) is_short: bool,
    /// Whether its text may name objects of the database. Whether such a text contains the schema depends on the `search_path`.
    pub(super) names_objects: bool,
    /// Whether equal values may have different texts.
    pub(super) is_ambiguous: bool,
    #[serde(default)]
    pub(super) type_oid: i64,
    /// The type by which its texts are read.
    #[serde(skip)]
    pub(super) read_as: Type,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Member {
    pub(super) root: i64,
    pub(super) is_root: bool,
    #[serde(flatten)]
    pub(super) name: Name,
    pub(super) kind: String,
    /// Whether this role may create triggers on it.
    pub(super) may_have_triggers: bool,
}

impl Member {
    /// An ordinary table that is not a partition.
    pub(super) fn sample(name: TableName) -> Self {
        Self {
            root: 0,
            is_root: true,
            name: Name(name),
            kind: "r".to_owned(),
            may_have_triggers: true,
        }
    }

    /// Whether it is an ordinary or a partitioned table.
    pub(super) fn is_table(&self) -> bool {
        matches!(&*self.kind, "r" | "p")
    }
}

/// A table's name in the server's answer.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Hash)]
#[serde(try_from = "Parts")]
pub(super) struct Name(pub(super) TableName);

#[derive(Deserialize)]
struct Parts {
    schema: String,
    table: String,
}

impl TryFrom<Parts> for Name {
    type Error = Error;

    fn try_from(parts: Parts) -> Result<Self> {
        TableName::new(parts.schema, parts.table).map(Self)
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Server {
    pub(super) version: i32,
    pub(super) has_schema: bool,
    #[serde(flatten)]
    pub(super) owner: Option<Owner>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Owner {
    #[serde(rename = "owner")]
    pub(super) name: String,
    /// Whether the owner is this role or a superuser. Any other role could replace the object's code later.
    pub(super) is_trusted: bool,
}

impl Owner {
    /// Refuses an object whose owner could replace it by code that would run with this role's rights.
    pub(super) fn refuse_untrusted(&self, object: &str) -> Result<()> {
        if self.is_trusted {
            return Ok(());
        }
        let name = &self.name;
        Err(Error::new(
            ErrorKind::Unsuitable,
            format!(
                "{object} belongs to {name}, who could make the triggers run anything with your rights; \
                 install as {name}, or let a superuser own it"
            ),
        ))
    }
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Function {
    pub(super) name: String,
    pub(super) comment: Option<String>,
    pub(super) body: String,
    #[serde(flatten)]
    pub(super) owner: Owner,
    /// Whether this role may call it.
    pub(super) is_callable: bool,
    /// Whether it runs with its owner's rights.
    pub(super) is_definer: bool,
    pub(super) settings: Vec<String>,
    /// Whether the schema and the shared function belong to its owner or a superuser.
    pub(super) has_trusted_helper: bool,
    /// Whether its owner may call the shared function.
    pub(super) has_callable_helper: bool,
    /// Its specification, if its comment contains one.
    #[serde(skip)]
    pub(super) note: Option<Note>,
}

impl Function {
    /// The specification in its comment, if there is one. Columns of `table` that were renamed have their present names.
    pub(super) fn spec(&self, table: Option<&Table>) -> Option<TriggerSpec> {
        let note = self.note.clone()?;
        match table {
            Some(table) => note.following(&table.place()).spec(),
            None => note.spec(),
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Trigger {
    #[serde(flatten)]
    pub(super) on: Name,
    pub(super) relation: i64,
    pub(super) name: String,
    pub(super) function: String,
    /// Whether it is on the watched table itself, rather than on one of its partitions.
    pub(super) is_root: bool,
    /// The sessions in which it fires: O, all but replicas; R, replicas; A, all; D, none.
    pub(super) firing: char,
    pub(super) events: i16,
    pub(super) new_table: Option<String>,
    pub(super) old_table: Option<String>,
    pub(super) is_unconditional: bool,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Outbox {
    pub(super) comment: Option<String>,
    #[serde(flatten)]
    pub(super) owner: Owner,
    /// Whether this role may read the rows that the outbox relies on.
    is_readable: bool,
    /// Whether this role may read the requirements of groups.
    #[serde(default)]
    has_readable_requirements: bool,
    /// The rows that the outbox relies on, if it has this program's version and this role may read them.
    #[serde(skip)]
    pub(super) rows: Option<OutboxRows>,
}

impl Outbox {
    /// Whether this role may read the rows that the outbox relies on, and they have this program's version.
    pub(super) fn has_readable_rows(&self) -> bool {
        self.is_readable && version(self.comment.as_deref()) == Some(VERSION)
    }

    pub(super) fn has_readable_requirements(&self) -> bool {
        self.has_readable_requirements
    }
}

/// The rows that the outbox relies on. They are missing after a restore of the schema without data.
#[derive(Clone, Debug, Default)]
pub(super) struct OutboxRows {
    /// Whether all rows exist that readers and trimming rely on.
    pub(super) are_complete: bool,
    /// The relations that `outbox_relation` describes.
    pub(super) relations: HashSet<i64>,
}

/// A table with a similar name as one that does not exist.
#[derive(Deserialize)]
pub(super) struct Lookalike {
    pub(super) of: String,
    #[serde(flatten)]
    pub(super) name: Name,
}

/// Parses a row.
pub(super) fn parse<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T> {
    serde_json::from_str(json).map_err(|cause| {
        Error::with_source(ErrorKind::Query, "cannot interpret the catalog", cause)
    })
}
