use pgherald::{Table, cached};

#[derive(Clone, Table)]
#[table(name = "users", key = "id")]
struct User {
    id: i64,
}

#[cached(row_of = User, errors_for = std::time::Duration::from_secs(5))]
async fn without_errors(id: i64) -> Option<i64> {
    Some(id)
}

#[cached(row_of = User, errors_for)]
async fn without_time(id: i64) -> Result<i64, i64> {
    Ok(id)
}

#[cached(row_of = User, load_timeout(5))]
async fn without_sign(id: i64) -> Result<i64, i64> {
    Ok(id)
}

#[cached(row_of = User, load_timeout = std::time::Duration::MAX, load_timeout = std::time::Duration::MAX)]
async fn twice(id: i64) -> i64 {
    id
}

fn main() {}
