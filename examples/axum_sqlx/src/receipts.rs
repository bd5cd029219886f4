//! Writes a receipt for each order exactly once, although a durable handler may be called several times for one event.
//!
//! There are two ways. [`in_pgherald`] writes the receipt in the transaction that acknowledges the event. [`in_sqlx`] writes it
//! in a transaction of sqlx, together with the event's idempotency key: if the handler is called again for the same event,
//! the key already exists.

use pgherald::group::TransactionalHandler;
use pgherald::{Attempt, DurableOptions, EventHandler, HandlerResult, Herald, Inserted};
use sqlx::PgPool;
use std::time::Duration;
use tokio_postgres::Transaction;

use crate::shop::Order;

pub(crate) const GROUP: &str = "receipts";

fn options() -> DurableOptions {
    // After a process was killed, other processes wait this long before they take over its work.
    DurableOptions::new(GROUP).lease(Duration::from_secs(1))
}

/// Writes receipts in pgherald's transaction.
pub(crate) async fn in_pgherald(herald: &Herald) -> pgherald::Result<()> {
    let started = herald.start_transactional(options(), || WriteReceipt).await;
    started.map(drop)
}

struct WriteReceipt;

impl TransactionalHandler for WriteReceipt {
    type Event = Inserted<Order>;

    async fn handle(
        &self,
        inserted: Inserted<Order>,
        _: Attempt,
        transaction: &mut Transaction<'_>,
    ) -> HandlerResult {
        let order = inserted.row()?;
        let sql = "INSERT INTO shop_receipts (order_id, quantity) VALUES ($1, $2)";
        transaction
            .execute(sql, &[&order.id, &order.quantity])
            .await?;
        Ok(())
    }
}

/// Writes receipts in transactions of `pool`.
pub(crate) async fn in_sqlx(herald: &Herald, pool: PgPool) -> pgherald::Result<()> {
    let make = move || WriteReceiptWithSqlx { pool: pool.clone() };
    herald.start_durable(options(), make).await.map(drop)
}

struct WriteReceiptWithSqlx {
    pool: PgPool,
}

impl EventHandler for WriteReceiptWithSqlx {
    type Event = Inserted<Order>;

    async fn handle(&self, inserted: Inserted<Order>, attempt: Attempt) -> HandlerResult {
        let order = inserted.row()?;
        let key = attempt.idempotency_key().ok_or("an ephemeral handler")?;
        let mut transaction = self.pool.begin().await?;
        // If another attempt at the same event is running, this statement waits until it has ended.
        let sql = "INSERT INTO shop_handled_events VALUES ($1) ON CONFLICT DO NOTHING";
        let new_key = sqlx::query(sql)
            .bind(key.to_string())
            .execute(&mut *transaction)
            .await?;
        if new_key.rows_affected() == 0 {
            return Ok(()); // an earlier attempt has committed
        }
        sqlx::query("INSERT INTO shop_receipts (order_id, quantity) VALUES ($1, $2)")
            .bind(order.id)
            .bind(order.quantity)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(())
    }
}
