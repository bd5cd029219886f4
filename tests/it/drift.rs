//! Triggers that vanish behind our back: while they are not in place, the listener is not live.

use pgherald::trigger;

use crate::support::{
    DEADLINE, cause, client, database, insert, install, listen, live, not_live, numbers, source,
    watched_table,
};

#[actix::test]
async fn dropped_triggers_are_noticed_and_their_return_is_announced() {
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
    assert!(cause(&seen).is_triggers(), "{}", cause(&seen).chain());
    assert!(
        cause(&seen).to_string().contains("pgherald_notify_insert"),
        "{}",
        cause(&seen)
    );
    insert(&client, "t", 1).await;
    // What still arrives is passed on.
    insert(&client, "other", 2).await;
    probe
        .wait_for("row 2", DEADLINE, |seen| numbers(seen) == [2])
        .await
        .unwrap();

    install(&client, &spec).await;
    let seen = live(&probe).await;
    assert_eq!(
        seen.resyncs().last().unwrap().to_string(),
        "triggers_restored"
    );
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
    assert!(cause(&seen).is_triggers(), "{}", cause(&seen).chain());
    client
        .batch_execute("ALTER TABLE t ENABLE TRIGGER pgherald_notify_update")
        .await
        .unwrap();
    live(&probe).await;
}

#[actix::test]
async fn a_dropped_table_is_named_and_its_return_is_announced() {
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
