use pgherald::{Table, cached};

#[derive(Clone, Table)]
#[table(name = "users", key = "id")]
struct User {
    id: i64,
}

#[cached(row_off = User, capacity = 1, capacity = 2)]
async fn mistyped(id: i64) -> i64 {
    id
}

#[cached(row_of(User))]
async fn row_of(id: i64) -> i64 {
    id
}

#[cached(row_by = User)]
async fn row_by(id: i64) -> i64 {
    id
}

#[cached(keys_by(User))]
async fn keys_by(id: i64) -> i64 {
    id
}

#[cached(row_of = User, capacity)]
async fn no_value(id: i64) -> i64 {
    id
}

#[cached(row_of = User, key_type = i64)]
async fn no_key(id: i64) -> i64 {
    id
}

fn main() {}
