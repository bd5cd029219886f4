//! What is to become of what is installed: one decision, which `doctor` tells and `upgrade` carries out.

use std::collections::BTreeSet;

use pgherald_core::TableName;
use pgherald_core::trigger::{self, TriggerSpec, Watched};
use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};

use super::plan::refusal;
use crate::failure::Failure;

/// What is to become of one installation.
#[derive(Debug)]
pub(super) enum Course {
    /// It does not tell what it was made for.
    Unreadable,
    /// No table calls it, though what was a partition of one may, and its name has come to another table of ours: it has no
    /// say.
    Overtaken,
    /// It stays with the table that it was made for, which may be gone.
    Stay(TriggerSpec),
    /// It follows its table, which was renamed.
    Follow(Box<Renamed>),
}

/// A table that was renamed.
#[derive(Debug)]
pub(super) struct Renamed {
    pub(super) former: TableName,
    /// What still fits of what was installed, under the present name.
    pub(super) spec: TriggerSpec,
    /// Columns that were named and cannot be any more.
    pub(super) lost: Vec<String>,
    pub(super) heir: Heir,
    /// Why it cannot be installed, if it cannot.
    pub(super) refusal: Option<String>,
}

/// What has the name of a table that was renamed, and may have taken its place.
#[derive(Debug)]
pub(super) enum Heir {
    /// Nothing that is not watched.
    None,
    /// A table to install this on. The plan for it moves the renamed one along.
    Fit(TriggerSpec),
    /// A table that cannot be installed on, and why.
    Unfit(String),
}

impl Renamed {
    /// What goes, if something does.
    pub(super) fn loss(&self) -> Option<String> {
        let lost = self.lost.join(", ");
        (!lost.is_empty()).then(|| format!("goes on without {lost}, which it cannot have any more"))
    }

    /// What has to be installed.
    pub(super) fn into_spec(self) -> TriggerSpec {
        match self.heir {
            Heir::Fit(spec) => spec,
            Heir::None | Heir::Unfit(_) => self.spec,
        }
    }
}

/// What is to become of `one`, where `installed` is all there is.
pub(super) async fn course(
    client: &Client,
    one: &Watched,
    installed: &[Watched],
) -> Result<Course, Failure> {
    let (Some(made_for), Some(spec)) = (&one.spec, one.current()) else {
        return Ok(Course::Unreadable);
    };
    let has_name = |other: &Watched| other.table.as_ref() == Some(made_for.table());
    if one.table.is_none() && installed.iter().any(has_name) {
        return Ok(Course::Overtaken);
    }
    let Some(former) = one.former() else {
        return Ok(Course::Stay(spec));
    };
    let before = named(&spec);
    let spec = trigger::fitting(client, spec).await?;
    let left = named(&spec);
    Ok(Course::Follow(Box::new(Renamed {
        former: former.clone(),
        lost: before.difference(&left).cloned().collect(),
        refusal: refusal(client, &spec).await?,
        heir: heir(client, made_for.clone(), installed).await?,
        spec,
    })))
}

/// The columns that a specification names.
fn named(spec: &TriggerSpec) -> BTreeSet<String> {
    let key = spec.key_names().unwrap_or_default();
    let all = key.iter().chain(spec.column_names());
    all.chain(spec.watched_columns()).cloned().collect()
}

async fn heir(
    client: &Client,
    made_for: TriggerSpec,
    installed: &[Watched],
) -> Result<Heir, Failure> {
    let table = made_for.table();
    let Some((functions, may)) = standing(client, table).await? else {
        return Ok(Heir::None);
    };
    // One that is a part of another one may be watched for something else.
    let is_heard = |one: &Watched| {
        let spec = one.spec.as_ref();
        let same = |spec: &TriggerSpec| {
            spec.is_outbox() == made_for.is_outbox()
                && spec.channel_name() == made_for.channel_name()
        };
        functions.contains(&one.function)
            && (one.table.as_ref() == Some(table) || spec.is_none_or(same))
    };
    if installed.iter().any(is_heard) {
        return Ok(Heir::None);
    }
    if !may {
        return Ok(Heir::Unfit(format!("{NO_RIGHT} it, or on a part of it")));
    }
    let spec = trigger::fitting(client, made_for).await?;
    Ok(match refusal(client, &spec).await? {
        None => Heir::Fit(spec),
        Some(why) => Heir::Unfit(why),
    })
}

/// Why this role may not put triggers on `table`, if it may not.
pub(super) async fn no_right(
    client: &Client,
    table: &TableName,
) -> Result<Option<String>, Failure> {
    let standing = standing(client, table).await?;
    let may = standing.is_none_or(|(_, may)| may);
    Ok((!may).then(|| format!("{NO_RIGHT} {table}, or on a part of it")))
}

const NO_RIGHT: &str = "you may not put triggers on";

/// The functions that watch a table, and whether this role may put triggers on it; `None` if it is none.
async fn standing(
    client: &Client,
    table: &TableName,
) -> Result<Option<(Vec<String>, bool)>, Failure> {
    let sql = include_str!("sql/standing.sql");
    let parameters: [(&(dyn ToSql + Sync), Type); 2] =
        [(&table.schema(), Type::TEXT), (&table.name(), Type::TEXT)];
    let rows = client.query_typed(sql, &parameters).await?;
    let standing = rows
        .first()
        .map(|row| Ok::<_, Failure>((row.try_get(0)?, row.try_get(1)?)));
    standing.transpose()
}
