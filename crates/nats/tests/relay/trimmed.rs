//! Events that were trimmed before a relay had read them.

use std::time::Duration;

use pgherald_core::outbox::{Retention, set_retention};

use crate::support::{Scene, local, options, resyncs};

#[tokio::test]
async fn loss_is_announced_although_the_relay_stops_before_it_has_recorded_it() {
    local(async {
        let scene = Scene::new().await;
        let options = || options("fleet").slices(1).lease(Duration::from_secs(10));
        let first = scene.relay(options());
        scene.write(1..=10).await;
        scene.until_relayed().await;
        first.drained().await;
        let keep = Retention::new(Duration::ZERO).max_bytes(1);
        set_retention(&scene.client, keep).await.unwrap();
        for _ in 0..4 {
            scene.write(1..=100).await;
            scene.run("SELECT pgherald.trim_outbox('0 s', 1)").await;
        }
        set_retention(&scene.client, Retention::default())
            .await
            .unwrap();
        // More than one page.
        scene.write(1..=10_000).await;
        scene
            .run(
                "CREATE SEQUENCE refusals;
                 CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
                 BEGIN PERFORM nextval('public.refusals'), pg_sleep(1); RAISE 'refused'; END $$;
                 CREATE TRIGGER refuse BEFORE INSERT ON pgherald.parked_event FOR EACH ROW EXECUTE FUNCTION refuse()",
            )
            .await;
        let second = scene.relay(options());
        // Meanwhile, the next page is read.
        scene
            .until_text("SELECT (last_value >= 3)::text FROM refusals", "true")
            .await;
        drop(second);
        scene
            .run(
                "DROP TRIGGER refuse ON pgherald.parked_event;
                 UPDATE pgherald.consumer_slice SET node = NULL, epoch = epoch + 1;
                 UPDATE pgherald.consumer_cursor SET epoch = epoch + 1, generation = 0",
            )
            .await;
        let third = scene.relay(options());
        third
            .until("every event", |handle| {
                let report = handle.report().consumer;
                report.slices == 1 && report.in_flight == 0 && report.handled > 0
            })
            .await;
        scene
            .until("the resync", |stored| !resyncs(stored, "trimmed").is_empty())
            .await;
    })
    .await;
}
