use pgherald::{Table, cached};

#[derive(Clone, Table)]
#[table(name = "users", key = "id")]
struct User {
    id: i64,
}

struct Users;

impl Users {
    #[cached(row_of = User, key = id)]
    async fn find(&mut self, id: i64) -> i64 {
        id
    }
}

#[cached(row_of = User, key = id)]
async fn with_connection(connection: &mut Vec<i64>, id: i64) -> i64 {
    connection.push(id);
    id
}

#[cached(row_of = User, key = id)]
async fn with_some<'a>(connection: Option<&'a mut Vec<i64>>, id: i64) -> i64 {
    connection.map_or(0, |connection| connection.len() as i64) + id
}

fn main() {}
