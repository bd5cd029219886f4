//! Writers: updates beside wide values that do not change, and transaction ids.

use pgherald::TableName;
use pgherald::trigger::TriggerSpec;

use crate::cost::time_of_process;
use crate::stage::Stage;
use crate::{Asked, print};

pub(crate) async fn measure(asked: &Asked) {
    let wide = "writers, bytes of unchanged columns";
    if asked.wants(wide) {
        let sizes = asked.sizes(&[100, 100_000], &[100, 1_000, 10_000, 100_000, 1_000_000]);
        for (what, spec) in [
            ("", every as fn(TriggerSpec) -> TriggerSpec),
            (", with old columns", |spec| every(spec).old_columns()),
            (", with a value limit", |spec| {
                every(spec).value_limit(8_192)
            }),
        ] {
            let mut costs = Vec::new();
            for size in sizes {
                costs.push(updates(*size, Some(spec)).await / updates(*size, None).await);
            }
            print(&format!("{wide}{what}"), "times no trigger", sizes, &costs);
        }
    }
    let ids = "writers, inserts of one transaction";
    if asked.wants(ids) {
        let sizes = &[1, 100];
        let mut costs = Vec::new();
        for size in sizes {
            costs.push(transaction_ids(*size).await);
        }
        print(ids, "transaction ids", sizes, &costs);
    }
}

fn every(spec: TriggerSpec) -> TriggerSpec {
    spec.every_column()
}

/// The microseconds of an update of a number beside a text of `bytes` that cannot be compressed.
async fn updates(bytes: usize, spec: Option<fn(TriggerSpec) -> TriggerSpec>) -> f64 {
    let stage = Stage::new().await;
    stage
        .run(&format!(
            "CREATE TABLE wide (id int PRIMARY KEY, value int, body text);
            INSERT INTO wide SELECT n, 0, (
                SELECT substr(string_agg(md5(n || ' ' || m), ''), 1, {bytes}) FROM generate_series(0, {bytes} / 32) AS m
            ) FROM generate_series(1, 100) AS n"
        ))
        .await;
    if let Some(spec) = spec {
        let table = TriggerSpec::new(TableName::new("public", "wide").unwrap());
        stage.install(&[spec(table).outbox()]).await;
    }
    stage.run("VACUUM ANALYZE").await;
    let pid = stage.pid().await;
    let update = stage
        .client
        .prepare("UPDATE wide SET value = value + 1 WHERE id = $1");
    let update = update.await.unwrap();
    let rounds = 400;
    let mut before = time_of_process(pid);
    for round in 0..rounds + 100 {
        if round == 100 {
            before = time_of_process(pid);
        }
        let id = round % 100 + 1;
        let updated = stage.client.execute(&update, &[&id]).await.unwrap();
        assert_eq!(updated, 1);
    }
    let cost = time_of_process(pid).saturating_sub(before);
    cost.as_secs_f64() * 1e6 / f64::from(rounds)
}

/// The number of transaction ids for a transaction of `inserts` statements.
async fn transaction_ids(inserts: usize) -> f64 {
    let stage = Stage::new().await;
    stage.recorded("t").await;
    let next = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint";
    let next = async || {
        let row = stage.client.query_one(next, &[]).await.unwrap();
        row.get::<_, i64>(0)
    };
    let before = next().await;
    let inserts: String = (0..inserts)
        .map(|id| format!("INSERT INTO t0 VALUES ({id}, 0); "))
        .collect();
    stage.run(&format!("BEGIN; {inserts} COMMIT")).await;
    (next().await - before) as f64
}
