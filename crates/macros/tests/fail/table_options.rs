use pgherald::Table;

#[derive(Table)]
#[table(nmae = "users", key = "id")]
struct Mistyped {
    id: i64,
}

#[derive(Table)]
#[table(name = "users", name = "people", key = "id")]
struct Twice {
    id: i64,
}

#[derive(Table)]
#[table(name = "a.b.c", key = ["id", "id"])]
struct TooMany {
    id: i64,
}

#[derive(Table)]
#[table(name = "app.users", schema = "app", key = "id")]
struct SchemaTwice {
    id: i64,
}

#[derive(Table)]
#[table(name = "\"users", key = "id")]
struct Unclosed {
    id: i64,
}

#[derive(Table)]
#[table(name = "users", key = id)]
struct Unquoted {
    id: i64,
}

fn main() {}
