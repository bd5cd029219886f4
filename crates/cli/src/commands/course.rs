//! What is to become of what is installed: one decision, which `doctor` tells and `upgrade` carries out.

use std::collections::{BTreeSet, HashMap, HashSet};

use pgherald_core::TableName;
use pgherald_core::trigger::{self, TriggerSpec, Watched};
use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};

use super::plan::refusals;
use crate::failure::Failure;
use crate::tables::{place, split};

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

/// What is to become of each of `installed`, which is all there is.
pub(super) async fn courses(
    client: &Client,
    installed: &[Watched],
) -> Result<Vec<Course>, Failure> {
    let tables: HashSet<_> = installed
        .iter()
        .filter_map(|one| one.table.as_ref())
        .collect();
    let mut courses = Vec::with_capacity(installed.len());
    let mut renamed = Vec::new();
    for one in installed {
        courses.push(match (&one.spec, one.current()) {
            (None, _) | (_, None) => Some(Course::Unreadable),
            (Some(made_for), _) if one.table.is_none() && tables.contains(made_for.table()) => {
                Some(Course::Overtaken)
            }
            (_, Some(spec)) if one.former().is_none() => Some(Course::Stay(spec)),
            (Some(made_for), Some(spec)) => {
                renamed.push((made_for.clone(), spec));
                None
            }
        });
    }
    let mut renamed = follow(client, renamed, installed).await?.into_iter();
    // Those that are left follow their tables, in their order.
    let courses = courses
        .into_iter()
        .map(|course| course.or_else(|| Some(Course::Follow(Box::new(renamed.next()?)))));
    Ok(courses.flatten().collect())
}

/// What there is to say of tables that were renamed: for each what it was made for, and the same under the present name.
async fn follow(
    client: &Client,
    renamed: Vec<(TriggerSpec, TriggerSpec)>,
    installed: &[Watched],
) -> Result<Vec<Renamed>, Failure> {
    if renamed.is_empty() {
        return Ok(Vec::new());
    }
    let (made_for, specs): (Vec<_>, Vec<_>) = renamed.into_iter().unzip();
    let before: Vec<_> = specs.iter().map(named).collect();
    let specs = trigger::fitting(client, specs).await?;
    let specs: Vec<_> = specs.into_iter().collect::<Result<_, _>>()?;
    let refusals = refusals(client, &specs).await?;
    let heirs = heirs(client, &made_for, installed).await?;
    let all = made_for
        .iter()
        .zip(before)
        .zip(specs)
        .zip(refusals)
        .zip(heirs);
    let all = all.map(|((((made_for, before), spec), refusal), heir)| Renamed {
        former: made_for.table().clone(),
        lost: before.difference(&named(&spec)).cloned().collect(),
        refusal,
        heir,
        spec,
    });
    Ok(all.collect())
}

/// The columns that a specification names.
fn named(spec: &TriggerSpec) -> BTreeSet<String> {
    let key = spec.key_names().unwrap_or_default();
    let all = key.iter().chain(spec.column_names());
    all.chain(spec.watched_columns()).cloned().collect()
}

/// What has the name of each table that was renamed, which was `made_for` that.
async fn heirs(
    client: &Client,
    made_for: &[TriggerSpec],
    installed: &[Watched],
) -> Result<Vec<Heir>, Failure> {
    let by_function: HashMap<_, _> = installed.iter().map(|one| (&one.function, one)).collect();
    let tables: Vec<_> = made_for.iter().map(TriggerSpec::table).collect();
    let standings = standings(client, &tables).await?;
    let mut heirs = Vec::with_capacity(made_for.len());
    let mut unwatched = Vec::new();
    for (made_for, standing) in made_for.iter().zip(standings) {
        let table = made_for.table();
        // One that is a part of another one may be watched for something else.
        let is_heard = |one: &&Watched| {
            let spec = one.spec.as_ref();
            let same = |spec: &TriggerSpec| {
                spec.is_outbox() == made_for.is_outbox()
                    && spec.channel_name() == made_for.channel_name()
            };
            one.table.as_ref() == Some(table) || spec.is_none_or(same)
        };
        heirs.push(match standing {
            None => Heir::None,
            Some(Standing { functions, .. })
                if functions
                    .iter()
                    .filter_map(|name| by_function.get(name).copied())
                    .any(|one| is_heard(&one)) =>
            {
                Heir::None
            }
            Some(Standing { may: false, .. }) => {
                Heir::Unfit(format!("{NO_RIGHT} it, or on a part of it"))
            }
            Some(_) => {
                unwatched.push(made_for.clone());
                Heir::Fit(made_for.clone())
            }
        });
    }
    if unwatched.is_empty() {
        return Ok(heirs);
    }
    let fitted = trigger::fitting(client, unwatched).await?;
    let fitted: Vec<_> = fitted.into_iter().collect::<Result<_, _>>()?;
    let refusals = refusals(client, &fitted).await?;
    let mut fitted = fitted.into_iter().zip(refusals);
    for heir in heirs.iter_mut().filter(|heir| matches!(heir, Heir::Fit(_))) {
        if let Some((spec, refusal)) = fitted.next() {
            *heir = refusal.map_or(Heir::Fit(spec), Heir::Unfit);
        }
    }
    Ok(heirs)
}

/// Why this role may not put triggers on each of `tables`, if it may not.
pub(super) async fn no_rights(
    client: &Client,
    tables: &[&TableName],
) -> Result<Vec<Option<String>>, Failure> {
    let standings = standings(client, tables).await?;
    let pairs = tables.iter().zip(standings);
    let why = pairs.map(|(table, standing)| {
        let may = standing.is_none_or(|standing| standing.may);
        (!may).then(|| format!("{NO_RIGHT} {table}, or on a part of it"))
    });
    Ok(why.collect())
}

const NO_RIGHT: &str = "you may not put triggers on";

/// What this role finds on a table.
#[derive(Clone, Debug, Default)]
struct Standing {
    /// The functions that watch it.
    functions: Vec<String>,
    /// Whether this role may put triggers on it.
    may: bool,
}

/// What this role finds on each of `tables`; `None` if it is none.
async fn standings(
    client: &Client,
    tables: &[&TableName],
) -> Result<Vec<Option<Standing>>, Failure> {
    let sql = include_str!("sql/standing.sql");
    let (schemas, names) = split(tables);
    let parameters: [(&(dyn ToSql + Sync), Type); 2] =
        [(&schemas, Type::TEXT_ARRAY), (&names, Type::TEXT_ARRAY)];
    let mut standings: Vec<Option<Standing>> = vec![None; tables.len()];
    for row in &client.query_typed(sql, &parameters).await? {
        let Some(standing) = standings.get_mut(place(row)?) else {
            continue;
        };
        let standing = standing.get_or_insert_default();
        standing
            .functions
            .extend(row.try_get::<_, Option<String>>(1)?);
        standing.may |= row.try_get::<_, Option<bool>>(2)?.unwrap_or_default();
    }
    Ok(standings)
}
