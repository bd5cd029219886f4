use pgherald::Table;

#[derive(Table)]
struct User {
    id: i64,
}

#[derive(Table)]
#[table(key = "id")]
struct Order {
    id: i64,
}

fn main() {}
