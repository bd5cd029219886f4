//! The cost for writers: single-row updates by 16 pgbench clients with no trigger, with PGCacheWatch's trigger, with pgherald's
//! triggers in both modes, and with a trigger that only inserts a constant row into a table like the outbox, which is the lower
//! bound for triggers with an outbox. The contestants take turns, and their medians are compared.
//!
//! `PGHERALD_SECONDS` sets the duration of a turn (default 5), `PGHERALD_TURNS` the number of turns (default 5), and
//! `PGHERALD_PROTOCOL` how pgbench sends statements (`simple`, `extended` or, by default, `prepared`).

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "benchmarks may panic"
)]

mod support;

use std::io::Write;
use std::process::{Command, Stdio};

use pgherald::TableName;
use pgherald::trigger::{self, TriggerSpec};
use pgherald_testkit::{Binaries, Postgres};
use tokio_postgres::{Client, NoTls};

const CLIENTS: &str = "16";
const SCALE: u32 = 10;

/// Equivalent to the trigger of PGCacheWatch 0.4.2: one notification per statement, with time and table.
const PGCACHEWATCH: &str = "CREATE FUNCTION announce() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM pg_notify('ch_pgcachewatch_table_change', json_build_object(
            'operation', lower(TG_OP), 'table', TG_TABLE_NAME, 'sent_at', now())::text);
        RETURN NEW;
    END $$;
    CREATE TRIGGER announce AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON pgbench_accounts
        EXECUTE FUNCTION announce()";

/// A table with the columns, defaults and indexes of a part of the outbox. The trigger does not read the changed rows.
const CONSTANT: &str = "CREATE SEQUENCE constant_id;
    CREATE TABLE constant (
        id bigint NOT NULL DEFAULT nextval('constant_id'), xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
        sent_at timestamptz NOT NULL DEFAULT clock_timestamp(), relation bigint NOT NULL, hash integer NOT NULL,
        part smallint NOT NULL, operation \"char\" NOT NULL, key text, columns text, old_columns text, changed text[]
    );
    CREATE INDEX ON constant (id); CREATE INDEX ON constant (xid, id);
    CREATE FUNCTION announce() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO constant (relation, hash, part, operation, key) VALUES (1, 2, 0, 'U', '123456');
        RETURN NULL;
    END $$;
    CREATE TRIGGER announce AFTER UPDATE ON pgbench_accounts REFERENCING NEW TABLE AS n OLD TABLE AS o
        FOR EACH STATEMENT EXECUTE FUNCTION announce()";

#[derive(Clone, Copy, Debug, PartialEq)]
enum Contestant {
    NoTrigger,
    Pgcachewatch,
    Notify,
    Outbox,
    Constant,
}

const ALL: [Contestant; 5] = [
    Contestant::NoTrigger,
    Contestant::Pgcachewatch,
    Contestant::Notify,
    Contestant::Outbox,
    Contestant::Constant,
];

impl Contestant {
    fn name(self) -> &'static str {
        match self {
            Self::NoTrigger => "no trigger",
            Self::Pgcachewatch => "PGCacheWatch's trigger",
            Self::Notify => "pgherald, notify",
            Self::Outbox => "pgherald, outbox",
            Self::Constant => "a constant row",
        }
    }

    async fn install(self, client: &Client) {
        let sql = "DROP TRIGGER IF EXISTS announce ON pgbench_accounts; DROP FUNCTION IF EXISTS announce();
            DROP TABLE IF EXISTS constant; DROP SEQUENCE IF EXISTS constant_id";
        client
            .batch_execute(sql)
            .await
            .expect("no trigger of others");
        let all = trigger::plan_uninstall_all(client).await.expect("a plan");
        all.apply(client).await.expect("no triggers");
        let spec = TriggerSpec::new(TableName::new("public", "pgbench_accounts").expect("a name"));
        let spec = match self {
            Self::NoTrigger => return,
            Self::Pgcachewatch => {
                return client.batch_execute(PGCACHEWATCH).await.expect("a trigger");
            }
            Self::Constant => return client.batch_execute(CONSTANT).await.expect("a trigger"),
            Self::Notify => spec,
            Self::Outbox => spec.outbox(),
        };
        let plan = trigger::plan(client, &[spec]).await.expect("a plan");
        plan.apply(client).await.expect("triggers");
    }
}

fn number(name: &str, default: u32) -> u32 {
    std::env::var(name)
        .ok()
        .and_then(|value| value.parse().ok())
        .unwrap_or(default)
}

/// Runs pgbench with `script` on its standard input. Returns its output.
fn pgbench(arguments: &[&str], url: &str, script: &str) -> String {
    let program = Binaries::find().expect("binaries").dir().join("pgbench");
    let mut command = Command::new(&program);
    command.args(arguments).arg(url).stdin(Stdio::piped());
    let spawned = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut pgbench = spawned.unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    let mut input = pgbench.stdin.take().expect("a pipe");
    input.write_all(script.as_bytes()).expect("a script");
    drop(input);
    let output = pgbench.wait_with_output().expect("an end");
    assert!(output.status.success(), "pgbench {arguments:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Transactions per second.
fn turn(url: &str, script: &str, seconds: &str) -> f64 {
    let protocol = std::env::var("PGHERALD_PROTOCOL").unwrap_or_else(|_| "prepared".to_owned());
    let common = ["-n", "-c", CLIENTS, "-j", "2", "-T", seconds, "-f", "-"];
    let arguments = [&common[..], &["-M", &*protocol]].concat();
    let printed = pgbench(&arguments, url, script);
    printed
        .lines()
        .find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok())
        .unwrap_or_else(|| panic!("no tps in {printed}"))
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let server = Postgres::builder()
        .setting("fsync", "on")
        .setting("synchronous_commit", "on")
        .setting("shared_buffers", "512MB")
        .setting("max_wal_size", "4GB")
        .start()
        .await
        .expect("a server");
    let url = server.create_database().await.expect("a database");
    pgbench(&["-i", "-q", "-s", &SCALE.to_string()], &url, "");
    let (client, connection) = tokio_postgres::connect(&url, NoTls)
        .await
        .expect("a connection");
    tokio::spawn(connection);
    let rows = SCALE * 100_000;
    let script = format!(
        "\\set aid random(1, {rows})\nUPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid = :aid;\n"
    );
    let seconds = number("PGHERALD_SECONDS", 5).to_string();
    let mut figures = ALL.map(|_| Vec::new());
    for _ in 0..number("PGHERALD_TURNS", 5) {
        for (figures, contestant) in figures.iter_mut().zip(ALL) {
            contestant.install(&client).await;
            client
                .batch_execute("CHECKPOINT")
                .await
                .expect("a checkpoint");
            let tps = {
                let (url, script, seconds) = (url.clone(), script.clone(), seconds.clone());
                tokio::task::spawn_blocking(move || turn(&url, &script, &seconds))
                    .await
                    .expect("a turn")
            };
            figures.push(tps);
        }
    }
    let medians = figures.map(support::median);
    println!("| | tps | of no trigger | of PGCacheWatch |\n|---|---:|---:|---:|");
    for (contestant, tps) in ALL.into_iter().zip(medians) {
        let (of_none, of_theirs) = (tps / medians[0], tps / medians[1]);
        println!(
            "| {} | {tps:.0} | {of_none:.2} | {of_theirs:.2} |",
            contestant.name()
        );
    }
}
