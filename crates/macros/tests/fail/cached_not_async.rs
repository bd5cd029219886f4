use std::pin::Pin;

use pgherald::{Table, cached};

#[derive(Clone, Table)]
#[table(name = "users", key = "id")]
struct User {
    id: i64,
}

#[cached(row_of = User)]
fn not_async(id: i64) -> i64 {
    id
}

// What `async_trait` makes of an `async fn`.
#[cached(row_of = User)]
fn rewritten<'async_trait>(id: i64) -> Pin<Box<dyn Future<Output = i64> + Send + 'async_trait>> {
    Box::pin(async move { id })
}

#[cached(row_of = User)]
struct NoFunction;

fn main() {}
