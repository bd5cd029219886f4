use pgherald::{Table, cached};

#[derive(Clone, Table)]
#[table(name = "users", key = "id")]
struct User {
    id: i64,
}

struct Users;

impl Users {
    #[cached(row_of = User)]
    async fn without_self(id: i64) -> i64 {
        id
    }
}

fn main() {}
