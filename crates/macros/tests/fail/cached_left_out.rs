use pgherald::{Table, cached};

#[derive(Clone, Table)]
#[table(name = "users", key = "id")]
struct User {
    id: i64,
}

#[cached(row_of = User, key = id)]
async fn of_tenant(tenant: i64, id: i64) -> (i64, i64) {
    (tenant, id)
}

#[cached(table_of = User, key = id)]
async fn shown(id: i64, lang: &str) -> String {
    format!("{id} {lang}")
}

#[cached(row_of = User, key = user.id, key_type = i64)]
async fn by_expression(user: User, share: f64) -> f64 {
    share * user.id as f64
}

#[cached(table_of = User, key = id)]
async fn pattern(id: i64, (a, b): (i64, i64)) -> i64 {
    id + a + b
}

#[cached(row_of = User, ignore(pol))]
async fn mistyped(pool: &User, id: i64) -> i64 {
    pool.id + id
}

#[cached(table_of = User, key = (id, lang), ignore(lang))]
async fn both(id: i64, lang: &str) -> String {
    format!("{id} {lang}")
}

#[cached(row_of = User, ignore = pool)]
async fn unparsable(pool: &User, id: i64) -> i64 {
    pool.id + id
}

#[cached(table_of = User)]
async fn object(source: &dyn Fn(i64) -> i64, id: i64) -> i64 {
    source(id)
}

fn main() {}
