//! What this role may do. All of it is a warning: to listen to notifications no right is needed.

use tokio_postgres::Client;

use super::finding::{Findings, Verdict, or_ok, value, wrong};

pub(super) async fn check(client: &Client) -> Findings {
    let check = "rights";
    let sql = include_str!("rights.sql");
    let found = wrong(client, check, Verdict::Warning, sql, &[]).await?;
    let role: String = value(client, "SELECT current_user::text").await?;
    let fine = format!("role {role} may install and read what there is");
    Ok(or_ok(found, check, &fine))
}
