use std::sync::Arc;

use pgherald::{Table, cached};

#[derive(Clone, Table)]
#[table(name = "users", key = "id")]
struct User {
    id: i64,
}

#[derive(Clone)]
struct Failed;

type DbResult<T> = Result<T, Failed>;
type IoResult<T> = Result<T, std::io::Error>;

#[cached(row_of = User)]
async fn alias(id: i64) -> DbResult<User> {
    Ok(User { id })
}

#[cached(row_of = User)]
async fn error_not_clone(id: i64) -> IoResult<User> {
    Ok(User { id })
}

#[cached(row_of = User)]
async fn within(id: i64) -> Option<Result<User, Failed>> {
    Some(Ok(User { id }))
}

#[cached(row_of = User)]
async fn shared(id: i64) -> Arc<IoResult<User>> {
    Arc::new(Ok(User { id }))
}

#[cached(row_of = User)]
async fn twice(id: i64) -> Result<DbResult<User>, Failed> {
    Ok(Ok(User { id }))
}

fn main() {}
