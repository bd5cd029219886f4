use pgherald::{Table, cached};

#[derive(Clone, Table)]
#[table(name = "users", key = "id")]
struct User {
    id: i64,
}

#[cached(row_of = User)]
async fn other_type(id: i32) -> i32 {
    id
}

#[cached(row_of = User)]
async fn several(id: i64, lang: String) -> (i64, String) {
    (id, lang)
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Client;

#[cached(row_of = User)]
async fn forgotten(client: &Client, id: i64) -> i64 {
    let _ = client;
    id
}

fn main() {}
