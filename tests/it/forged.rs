//! In notify mode a role that may only connect can forge events. The effects of such events are bounded.

use pgherald::{Filter, GetStatus};
use pgherald_testkit::{Probe, Seen};

use crate::support::{
    DEADLINE, client, database, insert, listen, live, numbers, source, subscribe, watched_table,
};

fn forged(table: &str, more: &str) -> String {
    format!(
        r#"{{"v":1,"operation":"insert","schema":"public","table":"{table}","sent_at":"2026-01-02T03:04:05Z"{more}}}"#
    )
}

#[actix::test]
async fn forged_events_are_bounded_by_their_payload_and_do_not_stop_the_source() {
    let url = database().await;
    let owner = client(&url).await;
    let spec = watched_table(&owner, "t").await;
    let role = format!("stranger_{}", fastrand::u64(..));
    owner
        .batch_execute(&format!("CREATE ROLE {role} LOGIN"))
        .await
        .unwrap();
    let stranger = client(&format!("{url}?user={role}")).await;
    let (listener, everything) = listen(source(&url).watch(spec)).await;
    let of_t = Probe::start();
    subscribe(&listener, &of_t, Filter::new().table("public", "t")).await;
    live(&everything).await;

    // As many keys as fit into one payload.
    let none = forged("t", r#","key":["n"],"keys":[]"#).len();
    let count = (7_999 - none).div_ceil(2);
    let keys = vec!["1"; count].join(",");
    let most = forged("t", &format!(r#","key":["n"],"keys":[{keys}]"#));
    assert!((7_998..8_000).contains(&most.len()), "{}", most.len());
    assert!(count < 4_000, "{count} keys in one payload");
    let outbox_id = r#","key":["n"],"keys":[5],"outbox_id":5,"id":5,"xid":5"#;
    for payload in [
        forged("other", r#","key":["n"],"keys":[6]"#),
        forged("t", outbox_id),
        most,
    ] {
        let sql = "SELECT pg_notify('pgherald', $1)";
        stranger.execute(sql, &[&payload]).await.unwrap();
    }
    insert(&owner, "t", 2).await;

    let is_last = |seen: &Seen| numbers(seen).last() == Some(&2);
    let seen = of_t.wait_for("row 2", DEADLINE, is_last).await.unwrap();
    assert_eq!(seen.events().count(), 1 + count + 1);
    // A forged event names only its own table, and claims no position in the outbox.
    assert!(seen.events().all(|event| event.table() == "t"));
    assert!(seen.events().all(|event| event.outbox_id().is_none()));
    let counts = listener.send(GetStatus).await.unwrap().counts;
    assert_eq!((counts.disconnected, counts.undecodable), (0, 0));
    owner
        .batch_execute(&format!("DROP ROLE {role}"))
        .await
        .unwrap();
}
