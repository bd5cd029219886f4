//! The rights on schema pgherald that a role needs for each purpose, and the rights that it has.
//!
//! ```text
//!   NEEDS ──┬── missing ──► grants   `pgherald grant` runs them, `pgherald doctor` suggests them
//!   held ───┴── surplus ──► revokes  `pgherald doctor` suggests them
//! ```
//!
//! `NEEDS` is the only list of needed rights. `grant` grants these, and `doctor` reports missing ones and superfluous ones by it.

use std::collections::BTreeMap;

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

use crate::arguments::Purpose;
use crate::failure::Failure;

/// The kinds of objects, in the order in which rights on them are granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Database,
    Schema,
    Table,
    Sequence,
    Function,
}

/// Privileges that a purpose needs on objects of one kind.
struct Need {
    purpose: Purpose,
    kind: Kind,
    names: &'static [&'static str],
    privileges: &'static [&'static str],
}

/// All needs. `Consume` and `Install` also have those of `Read`.
const NEEDS: [Need; 14] = {
    use Kind::{Function, Schema, Sequence, Table};
    use Purpose::{Consume, Install, Read};
    const fn need(
        purpose: Purpose,
        kind: Kind,
        names: &'static [&'static str],
        privileges: &'static [&'static str],
    ) -> Need {
        Need {
            purpose,
            kind,
            names,
            privileges,
        }
    }
    [
        need(Read, Schema, &["pgherald"], &["USAGE"]),
        need(
            Read,
            Table,
            &[
                "consumer_group",
                "consumer_group_status",
                "consumer_node",
                "consumer_requirement",
                "consumer_slice",
                "outbox",
                "outbox_event",
                "outbox_part",
                "outbox_relation",
                "outbox_retention",
                "parked_event",
            ],
            &["SELECT"],
        ),
        // USAGE would be enough, but would also let the role call nextval.
        need(Read, Sequence, &["outbox_id"], &["SELECT"]),
        need(
            Read,
            Function,
            &["history", "read_cursor", "restored"],
            &["EXECUTE"],
        ),
        // No DELETE, because consumers do not delete groups.
        need(
            Consume,
            Table,
            &["consumer_group", "consumer_slice"],
            &["INSERT", "UPDATE"],
        ),
        need(
            Consume,
            Table,
            &["consumer_cursor"],
            &["SELECT", "INSERT", "UPDATE"],
        ),
        need(
            Consume,
            Table,
            &["consumer_node", "consumer_requirement", "parked_event"],
            &["INSERT", "UPDATE", "DELETE"],
        ),
        need(Consume, Function, &["trim_outbox"], &["EXECUTE"]),
        // The owner of the schema has these rights. Other roles may install only if a superuser owns the schema.
        need(Install, Schema, &["pgherald"], &["CREATE"]),
        need(
            Install,
            Function,
            &["notify_rows", "rows_query"],
            &["EXECUTE"],
        ),
        // Triggers record with the rights of the role that installed them.
        need(
            Install,
            Table,
            &["outbox", "outbox_0", "outbox_1", "outbox_2", "outbox_3"],
            &["INSERT"],
        ),
        need(Install, Table, &["outbox_relation"], &["INSERT"]),
        need(Install, Sequence, &["outbox_id"], &["USAGE"]),
        need(Install, Sequence, &["outbox_clock"], &["SELECT", "UPDATE"]),
    ]
};

/// One privilege on one object.
#[derive(Debug)]
struct Right {
    kind: Kind,
    name: String,
    /// The object as written in GRANT.
    target: String,
    privilege: String,
    /// Whether the role has it, on the whole object.
    is_held: bool,
    /// Whether the role has the rights of the object's owner.
    is_owner: bool,
    /// The roles to which the privilege was granted, on the object or its columns, among the roles whose rights this role has.
    /// Quoted.
    grantees: Vec<String>,
    /// The grantees that may grant the privilege to other roles.
    grantors: Vec<String>,
}

impl Right {
    fn of(row: &Row) -> Result<Self, Failure> {
        let kind = match row.try_get(0)? {
            "database" => Kind::Database,
            "schema" => Kind::Schema,
            "table" => Kind::Table,
            "sequence" => Kind::Sequence,
            _ => Kind::Function,
        };
        Ok(Self {
            kind,
            name: row.try_get(1)?,
            target: row.try_get(2)?,
            privilege: row.try_get(3)?,
            is_held: row.try_get(4)?,
            is_owner: row.try_get(5)?,
            grantees: row.try_get(6)?,
            grantors: row.try_get(7)?,
        })
    }

    fn is_needed(&self, purpose: Purpose) -> bool {
        NEEDS.iter().any(|need| {
            (need.purpose == Purpose::Read || need.purpose == purpose)
                && need.kind == self.kind
                && need.names.contains(&&*self.name)
                && need.privileges.contains(&&*self.privilege)
        })
    }

    /// Returns the predefined role that gives this right, if the right was not granted otherwise. Predefined roles that only read
    /// are left out, because they are granted for all tables of the server.
    fn predefined(&self) -> Option<&'static str> {
        if !self.is_held || self.is_owner || !self.grantees.is_empty() {
            return None;
        }
        match &*self.privilege {
            "INSERT" | "UPDATE" | "DELETE" => Some("pg_write_all_data"),
            "MAINTAIN" => Some("pg_maintain"),
            _ => None,
        }
    }
}

/// The role that owns schema pgherald.
#[derive(Debug)]
pub(crate) struct Owner {
    pub(crate) name: String,
    /// The name as in SQL.
    pub(crate) quoted: String,
    is_superuser: bool,
}

/// The rights of one role.
#[derive(Debug)]
pub(crate) struct Rights {
    pub(crate) role: String,
    /// The role's name, as in SQL.
    pub(crate) quoted: String,
    pub(crate) is_superuser: bool,
    /// `None` if there is no schema.
    pub(crate) owner: Option<Owner>,
    /// Whether the role has the rights of the schema's owner.
    pub(crate) is_owner: bool,
    pub(crate) has_outbox: bool,
    rights: Vec<Right>,
}

/// A statement that changes rights, with its parts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// The rights, such as `SELECT, UPDATE on pgherald.outbox`.
    pub(crate) rights: String,
    /// The role whose rights are revoked, as in SQL. Empty for a grant.
    pub(crate) grantee: String,
    pub(crate) statement: String,
}

impl Rights {
    /// Reads the rights of the role with this name. `None` if there is no such role. Call it within
    /// [`guarded`](crate::guarded::guarded), because its queries do not qualify names.
    pub(crate) async fn of(client: &Client, role: &str) -> Result<Option<Self>, Failure> {
        let sql = include_str!("sql/role.sql");
        let rows = client.query_typed(sql, &[(&role, Type::TEXT)]).await?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        let oid: u32 = row.try_get(0)?;
        let owner = match row.try_get(3)? {
            None => None,
            Some(name) => Some(Owner {
                name,
                quoted: row.try_get(4)?,
                is_superuser: row.try_get(5)?,
            }),
        };
        let sql = include_str!("sql/rights.sql");
        let rights = client.query_typed(sql, &[(&oid, Type::OID)]).await?;
        Ok(Some(Self {
            role: role.to_owned(),
            quoted: row.try_get(1)?,
            is_superuser: row.try_get(2)?,
            owner,
            is_owner: row.try_get(6)?,
            has_outbox: row.try_get(7)?,
            rights: rights.iter().map(Right::of).collect::<Result<_, _>>()?,
        }))
    }

    /// Returns the role that installs all tables of this database, if this role may not install.
    pub(crate) fn installer(&self) -> Option<&Owner> {
        let owner = self.owner.as_ref()?;
        (!self.is_superuser && !self.is_owner && !owner.is_superuser).then_some(owner)
    }

    /// Whether the role has any right on the schema, its tables or its sequences.
    pub(crate) fn has_some(&self) -> bool {
        let granted =
            |right: &Right| right.is_held && !matches!(right.kind, Kind::Database | Kind::Function);
        self.rights.iter().any(granted)
    }

    /// Returns the purpose that fits the rights of the role best: the one with the fewest missing and superfluous rights.
    pub(crate) fn purpose(&self) -> Purpose {
        if self.is_owner || self.owner.is_none() {
            return Purpose::Install;
        }
        let possible = Purpose::ALL.into_iter().filter(|purpose| {
            let is_installed_by_other = self.installer().is_some();
            *purpose != Purpose::Install || !is_installed_by_other
        });
        // Rights from predefined roles show no purpose in this database.
        let differs = |right: &&Right, purpose| {
            let is_granted = right.is_held && right.predefined().is_none();
            right.kind != Kind::Database && right.is_needed(purpose) != is_granted
        };
        let distance = |purpose: &Purpose| {
            let rights = self.rights.iter();
            rights.filter(|right| differs(right, *purpose)).count()
        };
        possible.min_by_key(distance).unwrap_or(Purpose::Read)
    }

    fn missing(&self, purpose: Purpose) -> impl Iterator<Item = &Right> {
        let has_schema = self.owner.is_some();
        self.rights.iter().filter(move |right| {
            let is_needed = match right.kind {
                // CREATE on the database is needed only to create the schema.
                Kind::Database => purpose == Purpose::Install && !has_schema,
                _ => right.is_needed(purpose),
            };
            is_needed && !right.is_held && !self.is_superuser
        })
    }

    /// Rights and grant options that were granted and are not needed.
    fn surplus(&self, purpose: Purpose) -> impl Iterator<Item = &Right> {
        self.rights.iter().filter(move |right| {
            let is_granted = !right.grantees.is_empty() || right.predefined().is_some();
            right.kind != Kind::Database
                && is_granted
                && !right.is_owner
                && (!right.is_needed(purpose) || !right.grantors.is_empty())
        })
    }

    /// Returns the statements that grant the rights that the role lacks for `purpose`.
    pub(crate) fn grants(&self, purpose: Purpose) -> Vec<Change> {
        self.granting(self.missing(purpose))
    }

    /// Returns the statements that grant the rights that the role's triggers lack, because triggers run with the rights of the role
    /// that installed them. If `records`, they record changes in the outbox; otherwise they announce changes.
    pub(crate) fn grants_of_triggers(&self, records: bool) -> Vec<Change> {
        let is_used = |right: &&Right| match right.kind {
            Kind::Database => false,
            Kind::Schema => right.privilege == "USAGE",
            Kind::Function => NEEDS
                .iter()
                .any(|need| need.purpose == Purpose::Install && need.names.contains(&&*right.name)),
            Kind::Table => records && right.privilege == "INSERT",
            Kind::Sequence => records,
        };
        self.granting(self.missing(Purpose::Install).filter(is_used))
    }

    fn granting<'a>(&self, rights: impl Iterator<Item = &'a Right>) -> Vec<Change> {
        let rights = rights.map(|right| ("", "", right));
        changes(rights, |privileges, targets, _| {
            format!("GRANT {privileges} ON {targets} TO {};", self.quoted)
        })
    }

    /// Returns the statements that revoke the rights that the role does not need for `purpose`.
    pub(crate) fn revokes(&self, purpose: Purpose) -> Vec<Change> {
        let granted = self.surplus(purpose).flat_map(|right| {
            let (prefix, from) = match right.is_needed(purpose) {
                true => ("GRANT OPTION FOR ", &right.grantors),
                false => ("", &right.grantees),
            };
            from.iter().map(move |grantee| (prefix, &**grantee, right))
        });
        let statement = |privileges: &str, targets: &str, grantee: &str| {
            format!("REVOKE {privileges} ON {targets} FROM {grantee};")
        };
        let inherited = self.surplus(purpose);
        let inherited = inherited.filter_map(|right| Some(("", right.predefined()?, right)));
        let membership =
            |_: &str, _: &str, role: &str| format!("REVOKE {role} FROM {};", self.quoted);
        let mut all = changes(granted, statement);
        all.extend(changes(inherited, membership));
        all
    }
}

/// Builds one change for all objects of a kind with the same privileges and the same grantee. The items of `rights` are the prefix
/// of a privilege, a grantee and a right.
fn changes<'a>(
    rights: impl Iterator<Item = (&'static str, &'a str, &'a Right)>,
    statement: impl Fn(&str, &str, &str) -> String,
) -> Vec<Change> {
    let mut of_object: BTreeMap<_, Vec<&str>> = BTreeMap::new();
    for (prefix, grantee, right) in rights {
        let object = (right.kind, grantee, prefix, &*right.target);
        of_object.entry(object).or_default().push(&right.privilege);
    }
    let mut targets: BTreeMap<(Kind, &str, String), Vec<&str>> = BTreeMap::new();
    for ((kind, grantee, prefix, target), mut privileges) in of_object {
        privileges.sort_by_key(|privilege| {
            let place = ORDER.iter().position(|known| known == privilege);
            place.unwrap_or(ORDER.len())
        });
        let privileges = format!("{prefix}{}", privileges.join(", "));
        let same = (kind, grantee, privileges);
        targets.entry(same).or_default().push(target);
    }
    let targets = targets.into_iter();
    let change = targets.map(|((kind, grantee, privileges), targets)| {
        let list = listed(kind, &targets);
        Change {
            rights: format!("{privileges} on {list}"),
            statement: statement(&privileges, &list, grantee),
            grantee: grantee.to_owned(),
        }
    });
    change.collect()
}

/// The usual order of privileges in GRANT.
const ORDER: [&str; 6] = ["USAGE", "CREATE", "SELECT", "INSERT", "UPDATE", "DELETE"];

/// Lists objects of one kind, and names the kind once.
fn listed(kind: Kind, targets: &[&str]) -> String {
    let word = match kind {
        Kind::Database => "DATABASE ",
        Kind::Schema => "SCHEMA ",
        Kind::Table => "",
        Kind::Sequence => "SEQUENCE ",
        Kind::Function => "FUNCTION ",
    };
    let names = targets.iter();
    let names = names.map(|target| target.strip_prefix(word).unwrap_or(target));
    format!("{word}{}", names.collect::<Vec<_>>().join(", "))
}
