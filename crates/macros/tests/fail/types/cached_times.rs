use pgherald::{Table, cached};

#[derive(Clone, Table)]
#[table(name = "users", key = "id")]
struct User {
    id: i64,
}

#[cached(row_of = User, load_timeout = 5)]
async fn seconds(id: i64) -> i64 {
    id
}

#[cached(row_of = User, errors_for = "5s")]
async fn text(id: i64) -> Result<i64, i64> {
    Ok(id)
}

fn main() {}
