//! A transactional handler that runs the steps of a test.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use pgherald_core::group::{Consumer, ConsumerHandle, TransactionalHandler};
use pgherald_core::{Attempt, DurableOptions, Event, HandlerResult};
use tokio_postgres::Transaction;

use crate::support::{Log, Scene, shown, until};

/// A step of the handler.
pub(crate) enum Step {
    /// Records its event in `effects`.
    Note,
    /// Runs SQL in the transaction; an error fails the attempt.
    Sql(String),
    /// Runs SQL and ignores its error.
    Try(String),
    /// Logs the first column of the first row.
    Show(String),
    /// Runs no statement for a while.
    Rest(Duration),
    /// Waits until the cell is `true`.
    Wait(Rc<Cell<bool>>),
    Fail,
}

type Script = Rc<dyn Fn(&str, u32) -> Vec<Step>>;

struct Scripted {
    log: Log,
    script: Script,
}

impl TransactionalHandler for Scripted {
    type Event = Event;

    async fn handle(
        &self,
        event: Event,
        attempt: Attempt,
        transaction: &mut Transaction<'_>,
    ) -> HandlerResult {
        let line = shown(&event);
        self.log.note(format!("{line}#{}", attempt.number()));
        for step in (self.script)(&line, attempt.number()) {
            match step {
                Step::Note => {
                    let (id, value) = line.split_once('=').unwrap();
                    let note = "INSERT INTO effects (id, value, worker) VALUES ($1, $2, 0)";
                    let (id, value): (i32, i64) = (id.parse()?, value.parse()?);
                    transaction.execute(note, &[&id, &value]).await?;
                }
                Step::Sql(sql) => transaction.batch_execute(&sql).await?,
                Step::Try(sql) => drop(transaction.batch_execute(&sql).await),
                Step::Show(sql) => {
                    let row = transaction.query_one(&sql, &[]).await?;
                    self.log.note(row.get::<_, String>(0));
                }
                Step::Rest(time) => tokio::time::sleep(time).await,
                Step::Wait(is_set) => until("set", || is_set.get(), String::new).await,
                Step::Fail => return Err("as the script says".into()),
            }
        }
        Ok(())
    }
}

/// Starts a consumer. `script` returns the steps for an event and the number of its attempt.
pub(crate) fn start(
    url: &str,
    options: DurableOptions,
    log: &Log,
    script: impl Fn(&str, u32) -> Vec<Step> + 'static,
) -> ConsumerHandle {
    let (log, script): (Log, Script) = (log.clone(), Rc::new(script));
    let factory = move || Scripted {
        log: log.clone(),
        script: Rc::clone(&script),
    };
    let (handle, consumer) =
        Consumer::transactional(url.parse().unwrap(), options, factory).unwrap();
    tokio::task::spawn_local(consumer.run());
    handle
}

/// The rows of `effects`, in order.
pub(crate) async fn effects(scene: &Scene) -> Vec<(i32, i64)> {
    let sql = "SELECT id, value FROM public.effects ORDER BY id, number";
    let rows = scene.client.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}
