use std::path::Path;

use pgherald::{Table, cached};

#[derive(Clone, Table)]
#[table(name = "users", key = "id")]
struct User {
    id: i64,
}

#[cached(row_of = User)]
async fn file(path: &Path, id: i64) -> i64 {
    path.components().count() as i64 + id
}

fn main() {}
