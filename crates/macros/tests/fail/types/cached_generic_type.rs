use pgherald::{Table, cached};

#[derive(Clone, Table)]
#[table(name = "users", key = "id")]
struct User {
    id: i64,
}

struct Repo<T>(T);

impl<T: Clone + 'static> Repo<T> {
    #[cached(row_of = User, ignore(self))]
    async fn find(&self, id: i64) -> i64 {
        id
    }
}

fn main() {}
