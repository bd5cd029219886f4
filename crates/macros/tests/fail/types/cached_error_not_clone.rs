use std::error::Error;

use pgherald::{Table, cached};

#[derive(Clone, Table)]
#[table(name = "users", key = "id")]
struct User {
    id: i64,
}

#[derive(PartialEq)]
struct Failed;

#[cached(row_of = User)]
async fn two(id: i64) -> Result<i64, Failed> {
    Ok(id)
}

#[cached(row_of = User)]
async fn alias(id: i64) -> std::io::Result<i64> {
    Ok(id)
}

#[cached(row_of = User)]
async fn any(id: i64) -> Result<i64, Box<dyn Error>> {
    Ok(id)
}

#[cached(row_of = User)]
async fn any_of_threads(id: i64) -> Result<i64, Box<dyn Error + Send + Sync>> {
    Ok(id)
}

fn main() {}
