use pgherald::Table;
use serde::Deserialize;

#[derive(Deserialize, Table)]
#[table(name = "users", key = ["tenant", "id"])]
struct User {
    id: i64,
    #[serde(rename = "mail")]
    email: String,
}

fn main() {}
