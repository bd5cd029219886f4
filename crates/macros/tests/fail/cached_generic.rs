use pgherald::{Table, cached};

#[derive(Clone, Table)]
#[table(name = "users", key = "id")]
struct User {
    id: i64,
}

#[cached(row_of = User, key = id)]
async fn with_parameter<D: Clone>(database: D, id: i64) -> i64 {
    let _ = database;
    id
}

#[cached(row_of = User, key = id)]
async fn with_impl(database: impl Clone, id: i64) -> i64 {
    let _ = database;
    id
}

/// Without a key of its own: the argument would be a part of it.
#[cached(row_of = User)]
async fn with_impl_and_no_key(database: &impl Clone, id: i64) -> i64 {
    let _ = database;
    id
}

fn main() {}
