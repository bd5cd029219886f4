use pgherald::{Table, cached};

#[derive(Clone, Table)]
#[table(name = "users", key = "id")]
struct User {
    id: i64,
}

#[cached(row_of = User)]
async fn other_key(id: String) -> String {
    id
}

#[cached(table_of = User)]
async fn no_hash(share: f64) -> f64 {
    share
}

struct Connection;

#[cached(row_of = User)]
async fn forgotten(connection: &Connection, id: i64) -> i64 {
    let _ = connection;
    id
}

fn main() {}
