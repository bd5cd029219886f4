use pgherald::{Table, Windowed, cached};

#[derive(Clone, Table)]
#[table(name = "users", key = "id")]
struct User {
    id: i64,
}

#[cached(row_of = User, strategy = Windowed::events(3))]
async fn without_question_mark(id: i64) -> i64 {
    id
}

fn main() {}
