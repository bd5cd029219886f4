//! Invalid payloads and names are reported as errors of their kind, counted, and replaced by a resync. Valid events still arrive.

use pgherald::{ChannelName, ErrorKind, GetStatus, ResyncReason, Signal, Source};
use pgherald_testkit::Sight;

use crate::support::{
    DEADLINE, client, database, insert, listen, live, numbers, source, watched_table,
};

#[actix::test]
async fn undecodable_payloads_become_resyncs_in_commit_order() {
    let url = database().await;
    let client = client(&url).await;
    let spec = watched_table(&client, "t").await;
    let (listener, probe) = listen(source(&url).watch(spec)).await;
    live(&probe).await;

    let longest = "x".repeat(7_999);
    let bad = [
        "",
        "not json",
        "{\"operation\":\"upsert\",\"table\":\"t\",\"sent_at\":\"2026-01-02T03:04:05Z\"}",
        "{\"operation\":\"insert\"}",
        "[1,2,3]",
        "{\"operation\":\"insert\",\"table\":\"t\",\"sent_at\":\"yesterday\"}",
        &longest,
    ];
    for (n, payload) in bad.iter().enumerate() {
        client
            .execute("SELECT pg_notify('pgherald', $1)", &[payload])
            .await
            .unwrap();
        insert(&client, "t", n as i64).await;
    }
    let all = |seen: &pgherald_testkit::Seen| numbers(seen).len() == bad.len();
    let seen = probe.wait_for("every row", DEADLINE, all).await.unwrap();
    assert_eq!(numbers(&seen), (0..bad.len() as i64).collect::<Vec<_>>());

    let errors: Vec<pgherald::Error> = seen
        .resyncs()
        .flat_map(|resync| resync.reasons().to_vec())
        .filter_map(|reason| match reason {
            ResyncReason::Undecodable(error) => Some(error),
            _ => None,
        })
        .collect();
    assert!(errors.iter().all(|error| error.kind() == ErrorKind::Decode));
    let counts = listener.send(GetStatus).await.unwrap().counts;
    assert_eq!(counts.undecodable, bad.len() as u64);
    assert_eq!(counts.disconnected, 0);

    // A resync replaces each invalid payload, before the row that was inserted after it.
    let mut resyncs = 0;
    for sight in &seen.log()[1..] {
        match sight {
            Sight::Resync(_) => resyncs += 1,
            Sight::Events(_) => assert!(resyncs > 0, "a row without the resync before it"),
        }
    }
}

#[actix::test]
async fn a_flood_of_undecodable_payloads_is_counted_exactly_and_causes_few_resyncs() {
    const FLOOD: u64 = 20_000;
    let url = database().await;
    let client = client(&url).await;
    let spec = watched_table(&client, "t").await;
    let other = ChannelName::new("other").unwrap();
    let mut source = source(&url).watch(spec).channel(other).build().unwrap();
    while !matches!(source.next().await, Signal::Live) {}
    // The flood alternates between two channels, with one row in its middle and one at its end.
    let half = FLOOD / 4;
    let flood = |word: &str| {
        format!(
            "SELECT pg_notify(c, '{word} ' || n) FROM generate_series(1, {half}) n, unnest('{{pgherald,other}}'::text[]) c"
        )
    };
    let sql = format!(
        "BEGIN; {}; INSERT INTO t VALUES (1); {}; INSERT INTO t VALUES (2); COMMIT",
        flood("junk"),
        flood("more")
    );
    client.batch_execute(&sql).await.unwrap();

    let (mut undecodable, mut resyncs, mut rows) = (0, 0, 0);
    while rows < 2 {
        match source.next().await {
            Signal::Resync(resync) => {
                undecodable += resync.undecodable();
                resyncs += 1;
            }
            Signal::Events(events) => {
                // Resyncs for all payloads before the row have already arrived.
                rows += events.len();
                assert!(
                    undecodable >= half * 2 * rows as u64,
                    "{undecodable} before row {rows}"
                );
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(undecodable, FLOOD);
    assert!(resyncs < 200, "{resyncs} resyncs");
}

#[actix::test]
async fn an_undecodable_payload_resyncs_only_subscriptions_of_its_channel() {
    use pgherald::Filter;
    let url = database().await;
    let client = client(&url).await;
    let spec = watched_table(&client, "t").await;
    let noisy = ChannelName::new("Noisy \"channel\"").unwrap();
    let (listener, everything) = listen(source(&url).watch(spec).channel(noisy.clone())).await;
    let table_only = pgherald_testkit::Probe::start();
    let filter = Filter::new().channel(ChannelName::default());
    crate::support::subscribe(&listener, &table_only, filter).await;
    live(&everything).await;

    client
        .execute("SELECT pg_notify($1, 'junk')", &[&noisy.as_str()])
        .await
        .unwrap();
    insert(&client, "t", 1).await;
    let seen = everything
        .wait_for("row 1", DEADLINE, |seen| numbers(seen) == [1])
        .await
        .unwrap();
    assert_eq!(seen.resyncs().count(), 2);
    let seen = table_only
        .wait_for("row 1", DEADLINE, |seen| numbers(seen) == [1])
        .await
        .unwrap();
    assert_eq!(seen.resyncs().count(), 1);
}

#[test]
fn channel_names_that_postgresql_would_alter_are_rejected() {
    for (name, part) in [
        ("", "is empty"),
        ("a\0b", "NUL"),
        (&*"x".repeat(64), "64 bytes"),
        (&*"ü".repeat(32), "64 bytes"),
    ] {
        let error = ChannelName::new(name).unwrap_err();
        assert!(
            error.is_config() && error.to_string().contains(part),
            "{error}"
        );
    }
    assert!(ChannelName::new("x".repeat(63)).is_ok());
}

#[actix::test]
async fn pgcachewatch_payloads_are_decoded_unchanged() {
    let url = database().await;
    let client = client(&url).await;
    // The function and trigger that version 0.4.2 of PGCacheWatch installs, on its own channel.
    let install = "
        CREATE TABLE theirs (id int);
        CREATE FUNCTION announce() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM pg_notify('ch_pgcachewatch_table_change', json_build_object(
                'operation', lower(TG_OP), 'table', TG_TABLE_NAME, 'sent_at', now())::text);
            RETURN NEW;
        END $$;
        CREATE TRIGGER announce AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON theirs
            EXECUTE FUNCTION announce();";
    client.batch_execute(install).await.unwrap();
    let channel = ChannelName::new(ChannelName::PGCACHEWATCH).unwrap();
    let (_listener, probe) = listen(source(&url).channel(channel)).await;
    live(&probe).await;
    client
        .batch_execute("INSERT INTO theirs VALUES (1)")
        .await
        .unwrap();
    client.batch_execute("TRUNCATE theirs").await.unwrap();
    let two = |seen: &pgherald_testkit::Seen| seen.events().count() == 2;
    let seen = probe.wait_for("two events", DEADLINE, two).await.unwrap();
    let shown: Vec<String> = seen.events().map(ToString::to_string).collect();
    assert_eq!(shown, ["insert theirs", "truncate theirs"]);
    assert!(
        seen.events()
            .all(|event| event.backend_pid() != 0 && event.schema().is_none())
    );
}
