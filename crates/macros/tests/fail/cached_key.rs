use pgherald::{Table, cached};

#[derive(Clone, Table)]
#[table(name = "users", key = "id")]
struct User {
    id: i64,
}

#[cached(row_of = User, key = (id,,))]
async fn unparsable(id: i64) -> i64 {
    id
}

#[cached(row_of = User, key = id + 1)]
async fn expression(id: i64) -> i64 {
    id
}

#[cached(row_of = User, key = (id, language))]
async fn unknown(id: i64, lang: String) -> (i64, String) {
    (id, lang)
}

#[cached(row_of = User)]
async fn pattern((id, _): (i64, i64), _: bool) -> i64 {
    id
}

#[cached(row_of = User)]
async fn borrowed(id: Option<&i64>) -> bool {
    id.is_some()
}

fn main() {}
