use pgherald::{Table, cached};

#[derive(Clone, Table)]
#[table(name = "users", key = "id")]
struct User {
    id: i64,
}

trait Find {
    async fn find(&self, id: i64) -> i64;
}

struct Users;

impl Find for Users {
    #[cached(row_of = User, ignore(self))]
    async fn find(&self, id: i64) -> i64 {
        id
    }
}

fn main() {}
