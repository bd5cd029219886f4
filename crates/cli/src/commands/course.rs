//! What is to become of what is installed: one decision, which `doctor` tells and `upgrade` carries out.

use pgherald_core::TableName;
use pgherald_core::trigger::{self, TriggerSpec, Watched};
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::plan::refusal;
use crate::failure::Failure;

/// What is to become of one installation.
#[derive(Debug)]
pub(super) enum Course {
    /// It does not tell what it was made for.
    Unreadable,
    /// Nobody calls it, and its name has come to another table of ours: it has no say.
    Overtaken,
    /// It stays with the table that it was made for, which may be gone.
    Stay(TriggerSpec),
    /// It follows its table, which was renamed.
    Follow(Renamed),
}

/// A table that was renamed.
#[derive(Debug)]
pub(super) struct Renamed {
    pub(super) former: TableName,
    /// What still fits of what was installed, under the present name.
    pub(super) spec: TriggerSpec,
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
    let spec = trigger::fitting(client, spec).await?;
    Ok(Course::Follow(Renamed {
        former: former.clone(),
        refusal: refusal(client, &spec).await?,
        heir: heir(client, one, made_for.clone()).await?,
        spec,
    }))
}

async fn heir(client: &Client, one: &Watched, made_for: TriggerSpec) -> Result<Heir, Failure> {
    let table = made_for.table();
    let sql = include_str!("sql/heir.sql");
    let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 3] = [
        (&table.schema(), Type::TEXT),
        (&table.name(), Type::TEXT),
        (&one.function, Type::TEXT),
    ];
    let rows = client.query_typed(sql, &parameters).await?;
    let Some(row) = rows.first() else {
        return Ok(Heir::None);
    };
    let (is_watched, may): (bool, bool) = (row.try_get(0)?, row.try_get(1)?);
    if is_watched {
        return Ok(Heir::None);
    }
    if !may {
        return Ok(Heir::Unfit("you may put no triggers on it".to_owned()));
    }
    let spec = trigger::fitting(client, made_for).await?;
    Ok(match refusal(client, &spec).await? {
        None => Heir::Fit(spec),
        Some(why) => Heir::Unfit(why),
    })
}
