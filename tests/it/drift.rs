//! Triggers that are dropped or changed while a listener runs. The listener is not live while they are not in place.

use pgherald::trigger::{self, TriggerSpec};
use pgherald::{ChannelName, ErrorKind};
use pgherald_testkit::Probe;
use tokio_postgres::Client;

use crate::support::{
    DEADLINE, cause, client, database, insert, install, listen, live, not_live, numbers, source,
    watched_table,
};

/// Installs the triggers again, and checks that a resync announces them.
async fn restore(client: &Client, spec: &TriggerSpec, probe: &Probe) {
    install(client, spec).await;
    let seen = live(probe).await;
    let resync = seen.resyncs().last().unwrap().to_string();
    assert_eq!(resync, "triggers_restored");
}

#[actix::test]
async fn a_dropped_trigger_degrades_the_listener_and_its_return_causes_a_resync() {
    let url = database().await;
    let client = client(&url).await;
    let spec = watched_table(&client, "t").await;
    watched_table(&client, "other").await;
    let (_listener, probe) = listen(source(&url).watch(spec.clone())).await;
    live(&probe).await;

    client
        .batch_execute("DROP TRIGGER pgherald_notify_insert ON t")
        .await
        .unwrap();
    let seen = not_live(&probe).await;
    assert_eq!(
        cause(&seen).kind(),
        ErrorKind::Triggers,
        "{}",
        cause(&seen).chain()
    );
    assert!(
        cause(&seen).to_string().contains("pgherald_notify_insert"),
        "{}",
        cause(&seen)
    );
    // A resync now would not cover what is lost from here on.
    let resyncs: Vec<_> = seen.resyncs().map(ToString::to_string).collect();
    assert_eq!(resyncs, ["started"]);
    insert(&client, "t", 1).await;
    // Events of triggers that are in place still arrive.
    insert(&client, "other", 2).await;
    probe
        .wait_for("row 2", DEADLINE, |seen| numbers(seen) == [2])
        .await
        .unwrap();

    restore(&client, &spec, &probe).await;
    insert(&client, "t", 3).await;
    probe
        .wait_for("row 3", DEADLINE, |seen| numbers(seen) == [2, 3])
        .await
        .unwrap();
}

#[actix::test]
async fn a_disabled_trigger_counts_as_missing() {
    let url = database().await;
    let client = client(&url).await;
    let spec = watched_table(&client, "t").await;
    client
        .batch_execute("ALTER TABLE t DISABLE TRIGGER pgherald_notify_update")
        .await
        .unwrap();
    let (_listener, probe) = listen(source(&url).watch(spec)).await;
    let seen = not_live(&probe).await;
    assert_eq!(
        cause(&seen).kind(),
        ErrorKind::Triggers,
        "{}",
        cause(&seen).chain()
    );
    client
        .batch_execute("ALTER TABLE t ENABLE TRIGGER pgherald_notify_update")
        .await
        .unwrap();
    live(&probe).await;
}

/// Such triggers announce events, but not all of those that the listener requires.
#[actix::test]
async fn triggers_on_another_channel_or_with_fewer_operations_count_as_missing() {
    let url = database().await;
    let client = client(&url).await;
    let spec = watched_table(&client, "t").await;
    let (_listener, probe) = listen(source(&url).watch(spec.clone())).await;
    live(&probe).await;
    let elsewhere = spec.clone().channel(ChannelName::new("elsewhere").unwrap());
    let fewer = spec.clone().when_changed(["note"]);
    for (other, reason) in [(elsewhere, "another channel"), (fewer, "leave out updates")] {
        install(&client, &other).await;
        let seen = not_live(&probe).await;
        assert!(
            cause(&seen).chain().contains(reason),
            "{}",
            cause(&seen).chain()
        );
        restore(&client, &spec, &probe).await;
    }
}

#[actix::test]
async fn a_dropped_table_is_reported_by_name_and_its_return_causes_a_resync() {
    let url = database().await;
    let client = client(&url).await;
    let spec = watched_table(&client, "t").await;
    let (_listener, probe) = listen(source(&url).watch(spec.clone())).await;
    live(&probe).await;
    client.batch_execute("DROP TABLE t").await.unwrap();
    let seen = not_live(&probe).await;
    assert!(
        cause(&seen).to_string().contains("public.t"),
        "{}",
        cause(&seen)
    );
    let plan = trigger::plan(&client, std::slice::from_ref(&spec)).await;
    assert!(plan.unwrap_err().is_config());
    watched_table(&client, "t").await;
    live(&probe).await;
}

#[actix::test]
async fn triggers_disabled_between_two_heartbeats_cause_a_resync() {
    let url = database().await;
    let client = client(&url).await;
    let spec = watched_table(&client, "t").await;
    let (_listener, probe) = listen(source(&url).watch(spec)).await;
    live(&probe).await;
    client
        .batch_execute(
            "BEGIN; ALTER TABLE t DISABLE TRIGGER ALL; INSERT INTO t VALUES (1);
             ALTER TABLE t ENABLE TRIGGER ALL; COMMIT",
        )
        .await
        .unwrap();
    let resynced = |seen: &pgherald_testkit::Seen| seen.resyncs().count() == 2;
    let seen = probe
        .wait_for("the resync", DEADLINE, resynced)
        .await
        .unwrap();
    assert_eq!(
        seen.resyncs().last().unwrap().to_string(),
        "triggers_restored"
    );
    assert_eq!(
        seen.health().len(),
        2,
        "it was live all the time: {:?}",
        seen.health()
    );
}

#[actix::test]
async fn a_restored_trigger_causes_a_resync_while_another_is_still_missing() {
    let url = database().await;
    let client = client(&url).await;
    let first = watched_table(&client, "t").await;
    let second = watched_table(&client, "u").await;
    let (_listener, probe) = listen(source(&url).watch(first).watch(second.clone())).await;
    live(&probe).await;
    let names = |seen: &pgherald_testkit::Seen, tables: &[&str]| {
        matches!(seen.health().last(), Some(pgherald::Health::Degraded { cause, .. })
            if tables.iter().all(|table| cause.to_string().contains(table)))
    };
    client
        .batch_execute("DROP TRIGGER pgherald_notify_insert ON t")
        .await
        .unwrap();
    probe
        .wait_for("t", DEADLINE, |seen| names(seen, &["public.t"]))
        .await
        .unwrap();
    client
        .batch_execute("DROP TRIGGER pgherald_notify_insert ON u")
        .await
        .unwrap();
    let both = ["public.t", "public.u"];
    probe
        .wait_for("both", DEADLINE, |seen| names(seen, &both))
        .await
        .unwrap();
    install(&client, &second).await;
    let resynced = |seen: &pgherald_testkit::Seen| {
        seen.resyncs()
            .any(|resync| resync.to_string() == "triggers_restored")
    };
    let seen = probe
        .wait_for("the resync", DEADLINE, resynced)
        .await
        .unwrap();
    assert!(!seen.health().last().unwrap().is_live());
}

#[actix::test]
async fn tables_that_swap_names_are_not_mistaken_for_each_other() {
    let url = database().await;
    let client = client(&url).await;
    let spec = watched_table(&client, "t").await;
    let other = watched_table(&client, "other").await;
    let (_listener, probe) = listen(source(&url).watch(spec.clone())).await;
    live(&probe).await;
    let swap =
        "ALTER TABLE t RENAME TO x; ALTER TABLE other RENAME TO t; ALTER TABLE x RENAME TO other";
    client.batch_execute(swap).await.unwrap();
    let seen = not_live(&probe).await;
    assert!(
        cause(&seen).chain().contains("under another name"),
        "{}",
        cause(&seen).chain()
    );
    restore(&client, &spec, &probe).await;
    // The table goes on under its former name. A listener under the new name is not live until the triggers are installed again.
    let drifts = trigger::verify(&client, std::slice::from_ref(&other)).await;
    assert!(drifts.unwrap().iter().all(trigger::Drift::loses_changes));
    install(&client, &other).await;
    let drifts = trigger::verify(&client, &[spec, other]).await.unwrap();
    assert!(drifts.is_empty(), "{drifts:?}");
    insert(&client, "t", 3).await;
    probe
        .wait_for("row 3", DEADLINE, |seen| numbers(seen) == [3])
        .await
        .unwrap();
}
