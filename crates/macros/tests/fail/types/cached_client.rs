use std::sync::Arc;

use pgherald::{Table, cached};

#[derive(Clone, Table)]
#[table(name = "users", key = "id")]
struct User {
    id: i64,
}

/// Shares state, as a client does, and is of one tenant.
struct Client {
    connection: Arc<dyn Fn(i64) -> i64 + Send + Sync>,
    tenant: i64,
}

#[cached(row_of = User)]
async fn of_tenant(client: &Client, id: i64) -> i64 {
    client.tenant + (client.connection)(id)
}

/// Data, by whatever name.
struct Pool {
    tenant: i64,
}

#[cached(row_of = User)]
async fn of_pool(pool: &Pool, id: i64) -> i64 {
    pool.tenant + id
}

fn main() {}
