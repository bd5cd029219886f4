use pgherald::{Table, cached};

#[derive(Clone, Table)]
#[table(name = "users", key = "id")]
struct User {
    id: i64,
}

struct Users;

impl Users {
    #[cached(row_of = User)]
    async fn find(&self, id: i64) -> i64 {
        id
    }

    #[cached(row_of = User, key = id)]
    async fn made(&self, id: i64) -> Option<Self> {
        (id < 0).then_some(Self)
    }
}

fn main() {}
