use pgherald::{Table, cached};

#[derive(Clone, Table)]
#[table(name = "users", key = "id")]
struct User {
    id: i64,
}

#[cached(row_of = User)]
fn not_async(id: i64) -> i64 {
    id
}

#[cached(row_of = User)]
struct NoFunction;

fn main() {}
