//! Write tokens: waiting until the caller's own write has been applied.

use std::time::Duration;

use pgherald_core::__private::host::events::Router;
use pgherald_core::{
    CacheBuilder, ErrorKind, Event, Operation, Overflow, Resync, ResyncReason, Signal, WhenNotLive,
    Windowed, WriteToken,
};

use crate::support::{DEADLINE, Rig, User, settle, update, users, users_with, within};

/// The event that PostgreSQL would send for the token once the transaction is committed.
fn announced(token: &WriteToken) -> Event {
    let (channel, payload) = token.parameters();
    let mut events = Vec::new();
    let now = std::time::SystemTime::now();
    pgherald_core::__private::host::events::Decoder::new()
        .decode(channel, &payload, 1, now, &mut events)
        .unwrap();
    events.remove(0)
}

#[tokio::test]
async fn a_token_is_applied_after_the_events_before_it() {
    let mut rig = users();
    assert!(rig.cache.insert(&rig.cache.stamp(), 7, 1));
    let token = rig.cache.write_token();
    let event = announced(&token);
    let waiting = tokio::spawn(token.applied(DEADLINE));
    settle().await;
    assert!(!waiting.is_finished());
    rig.apply([update(7), event]);
    within(waiting).await.unwrap().unwrap();
    assert_eq!(rig.cache.get(&7), None);
    assert_eq!(
        rig.cache.stats().invalidated_by_event,
        1,
        "a token is no event"
    );
}

#[tokio::test]
async fn a_token_may_be_applied_before_the_caller_waits() {
    let mut rig = users();
    let token = rig.cache.write_token();
    let event = announced(&token);
    rig.apply([update(7), event]);
    within(token.applied(DEADLINE)).await.unwrap();
}

#[tokio::test]
async fn a_token_waits_for_a_strategy_that_holds_events() {
    let mut rig = users_with(|builder| builder.strategy(Windowed::events(3).unwrap()));
    let token = rig.cache.write_token();
    let event = announced(&token);
    rig.apply([update(1), event]);
    let waiting = tokio::spawn(token.applied(DEADLINE));
    rig.apply([update(2)]);
    settle().await;
    assert!(!waiting.is_finished());
    rig.apply([update(3)]);
    within(waiting).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_token_ends_at_its_deadline() {
    let rig = users();
    let token = rig.cache.write_token();
    let error = token.applied(Duration::from_millis(20)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(
        error.to_string().contains("channel \"pgherald\""),
        "{error}"
    );
}

#[tokio::test]
async fn a_resync_while_waiting_applies_the_token() {
    let mut rig = users();
    let waiting = tokio::spawn(rig.cache.write_token().applied(DEADLINE));
    settle().await;
    rig.down();
    rig.reconnect();
    rig.pump();
    within(waiting).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_token_may_have_been_lost_before_a_resync() {
    let mut rig = users();
    let token = rig.cache.write_token();
    rig.down();
    rig.reconnect();
    rig.pump();
    // Loaded after the resync, but before the commit.
    assert!(rig.cache.insert(&rig.cache.stamp(), 7, 1));
    within(token.applied(DEADLINE)).await.unwrap();
    assert_eq!(rig.cache.get(&7), None);
}

#[tokio::test]
async fn a_token_does_not_wait_while_reads_bypass_the_cache() {
    let mut rig = users();
    rig.down();
    within(rig.cache.write_token().applied(10 * DEADLINE))
        .await
        .unwrap();
    let mut rig = Rig::live(
        CacheBuilder::<i64, u64>::new("users")
            .row_of::<User>()
            .when_not_live(WhenNotLive::ServeStale { max_age: DEADLINE }),
    );
    rig.down();
    let error = rig.cache.write_token().applied(Duration::from_millis(1));
    assert!(
        error.await.unwrap_err().kind() == ErrorKind::Timeout,
        "it may serve what was before"
    );
    let waiting = tokio::spawn(rig.cache.write_token().applied(10 * DEADLINE));
    settle().await;
    drop(rig.driver.take());
    within(waiting).await.unwrap().unwrap();
}

#[tokio::test]
async fn tokens_of_other_caches_are_ignored() {
    let mut rig = users();
    let token = rig.cache.write_token();
    let foreign = announced(&users().cache.write_token());
    let odd = Event::builder("pgherald", "write_token", Operation::Insert);
    rig.apply([foreign, odd.key("not a number").build()]);
    let waiting = token.applied(Duration::from_millis(1));
    assert_eq!(waiting.await.unwrap_err().kind(), ErrorKind::Timeout);
}

#[tokio::test]
async fn no_older_value_is_inserted_after_a_token_is_applied() {
    let mut rig = Rig::new(CacheBuilder::<i64, u64>::new("users").row_of::<User>());
    rig.router
        .publish(&Signal::Resync(Resync::new(ResyncReason::Reconnected)));
    // The cache was flushed for the session. The source is about to emit `Live`.
    rig.pump();
    let before = rig.cache.stamp();
    let token = rig.cache.write_token();
    // Version 2 is committed here.
    token.applied(Duration::from_secs(1)).await.unwrap();
    rig.router.publish(&Signal::Live);
    // The event of version 2 has not arrived yet.
    assert!(!rig.cache.insert(&before, 7, 1), "read before the commit");
}

/// As above, with a token that was created before the flush.
#[tokio::test]
async fn no_older_value_is_inserted_after_a_token_from_before_the_flush_is_applied() {
    let mut rig = users();
    let token = rig.cache.write_token();
    rig.down();
    rig.router
        .publish(&Signal::Resync(Resync::new(ResyncReason::Reconnected)));
    rig.pump();
    let before = rig.cache.stamp();
    token.applied(Duration::from_secs(1)).await.unwrap();
    rig.router.publish(&Signal::Live);
    assert!(!rig.cache.insert(&before, 7, 1), "read before the commit");
}

#[tokio::test]
async fn a_subscription_of_a_cache_does_not_coalesce() {
    let (_cache, driver) = CacheBuilder::<i64, u64>::new("users")
        .row_of::<User>()
        .build()
        .unwrap();
    let mut router = Router::new();
    let options = driver.subscription().overflow(Overflow::CoalesceByKey);
    assert!(router.subscribe(driver.filter(), options).is_err());
}

/// Tokens are not recorded in the outbox, so a token that was announced during an outage never arrives.
#[tokio::test]
async fn a_token_may_have_been_lost_if_the_source_caught_up() {
    let mut rig = users();
    let (waited_for, not_yet) = (rig.cache.write_token(), rig.cache.write_token());
    let waiting = tokio::spawn(waited_for.applied(DEADLINE));
    settle().await;
    rig.down();
    rig.resume();
    rig.pump();
    within(waiting).await.unwrap().unwrap();
    // Loaded before the commit of the second token's transaction.
    assert!(rig.cache.insert(&rig.cache.stamp(), 7, 1));
    within(not_yet.applied(DEADLINE)).await.unwrap();
    assert_eq!(rig.cache.get(&7), None);
}
