//! The tables, the cached reads and the writes.

use std::sync::Arc;
use std::time::Duration;

use pgherald::group::Group;
use pgherald::trigger::{self, TriggerSpec};
use pgherald::{
    CacheBuilder, CacheHandle, ConnectConfig, Herald, HeraldBuilder, Table, TableName, WriteToken,
};
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, FromRow, PgPool};

use crate::Failure;
use crate::receipts::GROUP;

#[derive(Clone, Debug, Deserialize, FromRow, PartialEq, Serialize, Table)]
#[table(name = "shop_products", key = "id")]
pub(crate) struct Product {
    id: i64,
    pub(crate) name: String,
    pub(crate) price_cents: i64,
}

#[derive(Debug, Deserialize, Table)]
#[table(name = "shop_orders", key = "id")]
pub(crate) struct Order {
    pub(crate) id: i64,
    pub(crate) quantity: i32,
}

/// An order joined with its product.
#[derive(Debug, Deserialize, FromRow, PartialEq, Serialize)]
pub(crate) struct Summary {
    pub(crate) order_id: i64,
    pub(crate) product: String,
    pub(crate) total_cents: i64,
}

const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS shop_products (
        id bigint PRIMARY KEY, name text NOT NULL, price_cents bigint NOT NULL);
    INSERT INTO shop_products VALUES (1, 'Coffee', 450), (2, 'Cocoa', 500) ON CONFLICT DO NOTHING;
    CREATE TABLE IF NOT EXISTS shop_orders (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        product_id bigint NOT NULL REFERENCES shop_products, quantity integer NOT NULL);
    CREATE TABLE IF NOT EXISTS shop_receipts (order_id bigint NOT NULL, quantity integer NOT NULL);
    CREATE TABLE IF NOT EXISTS shop_handled_events (idempotency_key text PRIMARY KEY);";

/// Creates the tables. A real service has these statements in its migrations.
pub(crate) async fn create_tables(pool: &PgPool) -> Result<(), Failure> {
    sqlx::raw_sql(TABLES).execute(pool).await?;
    Ok(())
}

/// Returns the builder of the herald. Changes of products are announced. Changes of orders are recorded in the outbox, because
/// a durable handler needs all of them.
pub(crate) fn herald(options: &PgConnectOptions) -> Result<HeraldBuilder, Failure> {
    let config: ConnectConfig = options.to_url_lossy().as_str().parse()?;
    let builder = Herald::builder(config)
        .watch::<Product>()?
        .watch_with(TriggerSpec::of::<Order>()?.outbox());
    Ok(builder)
}

pub(crate) struct Shop {
    pool: PgPool,
    products: CacheHandle<i64, Option<Product>>,
    summaries: CacheHandle<i64, Option<Summary>>,
}

impl Shop {
    pub(crate) async fn new(herald: &Herald, pool: PgPool) -> pgherald::Result<Self> {
        let products = CacheBuilder::new("products").row_of::<Product>();
        // A summary has the key of its order. A product may be in any summary, so a change of a product invalidates all
        // summaries.
        let summaries = CacheBuilder::new("summaries")
            .row_of::<Order>()
            .table_of::<Product>();
        Ok(Self {
            pool,
            products: herald.start_cache(products).await?,
            summaries: herald.start_cache(summaries).await?,
        })
    }

    pub(crate) async fn product(&self, id: i64) -> Result<Arc<Option<Product>>, Failure> {
        let load = async || {
            sqlx::query_as("SELECT id, name, price_cents FROM shop_products WHERE id = $1")
                .bind(id)
                .fetch_optional(&self.pool)
                .await
        };
        Ok(self.products.get_or_load(id, load).await?)
    }

    pub(crate) async fn summary(&self, order_id: i64) -> Result<Arc<Option<Summary>>, Failure> {
        let load = async || {
            let sql = "SELECT o.id AS order_id, p.name AS product, o.quantity * p.price_cents AS total_cents
                       FROM shop_orders o JOIN shop_products p ON p.id = o.product_id WHERE o.id = $1";
            sqlx::query_as(sql)
                .bind(order_id)
                .fetch_optional(&self.pool)
                .await
        };
        Ok(self.summaries.get_or_load(order_id, load).await?)
    }

    /// Changes a product. Returns when this process's cache has applied the change, so the caller's next read sees it.
    pub(crate) async fn update_product(
        &self,
        id: i64,
        name: &str,
        price_cents: i64,
    ) -> Result<(), Failure> {
        let token = self.products.write_token();
        let mut transaction = self.pool.begin().await?;
        sqlx::query("UPDATE shop_products SET name = $2, price_cents = $3 WHERE id = $1")
            .bind(id)
            .bind(name)
            .bind(price_cents)
            .execute(&mut *transaction)
            .await?;
        // The token is sent in the same transaction, after the events of the write.
        let (channel, payload) = token.parameters();
        sqlx::query(WriteToken::sql())
            .bind(channel)
            .bind(payload)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        if let Err(error) = token.applied(Duration::from_secs(2)).await {
            tracing::warn!(%error, "the cache has not confirmed the write");
            self.products.invalidate(&id);
        }
        Ok(())
    }

    pub(crate) async fn order(&self, product_id: i64, quantity: i32) -> Result<i64, Failure> {
        let sql = "INSERT INTO shop_orders (product_id, quantity) VALUES ($1, $2) RETURNING id";
        let id = sqlx::query_scalar(sql)
            .bind(product_id)
            .bind(quantity)
            .fetch_one(&self.pool)
            .await?;
        Ok(id)
    }
}

/// Removes what the example has created.
pub(crate) async fn remove(options: &PgConnectOptions) -> Result<(), Failure> {
    let config: ConnectConfig = options.to_url_lossy().as_str().parse()?;
    let client = Arc::new(config.client().await?);
    Group::new(&client, GROUP).delete().await?;
    let tables = [
        TableName::new(Product::SCHEMA, Product::NAME)?,
        TableName::new(Order::SCHEMA, Order::NAME)?,
    ];
    let plan = trigger::plan_uninstall(&client, &tables).await?;
    plan.apply(&client).await?;
    let sql = "DROP TABLE shop_orders, shop_products, shop_receipts, shop_handled_events";
    client.batch_execute(sql).await?;
    Ok(())
}
