use pgherald::Table;

#[derive(Table)]
#[table(name = "users", key = "id")]
enum Kind {
    User { id: i64 },
}

#[derive(Table)]
#[table(name = "users", key = "id")]
struct Pair(i64, String);

#[derive(Table)]
#[table(name = "users", key = "id")]
struct Unit;

#[derive(Table)]
#[table(name = "users", key = "id")]
struct Row<T> {
    id: T,
}

fn main() {}
