//! What this role may do. All of it is a warning: to listen to notifications no right is needed.

use tokio_postgres::Client;

use super::finding::{Findings, Verdict, or_ok, value, wrong};

/// Who installs, if that is somebody else.
const INSTALLER: &str = "SELECT (
    SELECT r.rolname::text FROM pg_catalog.pg_namespace AS n JOIN pg_catalog.pg_roles AS r ON r.oid = n.nspowner
    WHERE n.nspname = 'pgherald' AND NOT pg_has_role(n.nspowner, 'USAGE'))";

pub(super) async fn check(client: &Client) -> Findings {
    let check = "rights";
    let sql = include_str!("rights.sql");
    let found = wrong(client, check, Verdict::Warning, sql, &[]).await?;
    let role: String = value(client, "SELECT current_user::text").await?;
    let installer: Option<String> = value(client, INSTALLER).await?;
    let fine = match installer {
        None => format!("role {role} may install and read what there is, and run groups"),
        Some(owner) => {
            format!("role {role} may read what there is, and run groups; role {owner} installs")
        }
    };
    Ok(or_ok(found, check, &fine))
}
