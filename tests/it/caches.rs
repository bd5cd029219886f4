//! Caches on a real PostgreSQL server: actors, timers and write tokens. `tests/coherence` tests their promises under faults.

use std::sync::Arc;
use std::time::Duration;

use pgherald::{
    Backoff, CacheBuilder, CacheHandle, Debounced, ErrorKind, Herald, Overflow, Refresh,
    SubscriptionOptions, Table, Timed, WhenNotLive, trigger::TriggerSpec,
};
use pgherald_testkit::{FaultProxy, Postgres};
use tokio_postgres::Client;

use crate::support::{DEADLINE, client, config, database};

struct User;

impl Table for User {
    const NAME: &'static str = "users";
    const KEY: &'static [&'static str] = &["id"];
    type Key = i64;
}

async fn users() -> (String, Client, Herald) {
    let url = database().await;
    let client = client(&url).await;
    let sql = "CREATE TABLE users (id bigint PRIMARY KEY, name text NOT NULL);
               INSERT INTO users VALUES (1, 'Ada'), (2, 'Alan')";
    client.batch_execute(sql).await.unwrap();
    let herald = Herald::builder(config(&url).application_name("listener"))
        .watch::<User>()
        .unwrap()
        .install_triggers()
        .start()
        .await
        .unwrap();
    herald.live().await.unwrap();
    (url, client, herald)
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(DEADLINE, waiting).await;
    assert!(waited.is_ok(), "{what}");
}

async fn live(cache: &CacheHandle<i64, String>) {
    until("the cache is live", || cache.is_live()).await;
}

async fn name(client: &Client, id: i64) -> Result<String, tokio_postgres::Error> {
    let sql = "SELECT name FROM users WHERE id = $1";
    Ok(client.query_one(sql, &[&id]).await?.get(0))
}

async fn read(cache: &CacheHandle<i64, String>, client: &Client, id: i64) -> String {
    let loaded = cache.get_or_load(id, || name(client, id)).await;
    loaded.unwrap().as_str().to_owned()
}

async fn rename(client: &Client, id: i64, name: &str) {
    let sql = "UPDATE users SET name = $2 WHERE id = $1";
    client.execute(sql, &[&id, &name]).await.unwrap();
}

#[actix::test]
async fn an_update_invalidates_the_cached_row() {
    let (_, client, herald) = users().await;
    let cache = herald
        .start_cache(CacheBuilder::new("users").row_of::<User>())
        .await
        .unwrap();
    live(&cache).await;
    assert_eq!(read(&cache, &client, 1).await, "Ada");
    assert_eq!(read(&cache, &client, 2).await, "Alan");
    rename(&client, 1, "Grace").await;
    until("row 1 is invalidated", || cache.get(&1).is_none()).await;
    assert_eq!(cache.get(&2).as_deref().map(String::as_str), Some("Alan"));
    assert_eq!(read(&cache, &client, 1).await, "Grace");
    // The events also arrive if no other code holds the address of the cache's actor.
    client.batch_execute("TRUNCATE users").await.unwrap();
    until("all is invalidated", || cache.get(&2).is_none()).await;
}

#[actix::test]
async fn a_write_token_waits_until_the_cache_has_applied_the_write() {
    let (url, client, herald) = users().await;
    let cache = herald
        .start_cache(CacheBuilder::new("users").row_of::<User>())
        .await
        .unwrap();
    live(&cache).await;
    let mut writer = crate::support::client(&url).await;
    for round in 0..50 {
        read(&cache, &client, 1).await;
        let transaction = writer.transaction().await.unwrap();
        let written = format!("name {round}");
        let sql = "UPDATE users SET name = $1 WHERE id = 1";
        transaction.execute(sql, &[&written]).await.unwrap();
        let token = cache.write_token();
        token.announce(&transaction).await.unwrap();
        transaction.commit().await.unwrap();
        token.applied(DEADLINE).await.unwrap();
        assert_eq!(read(&cache, &client, 1).await, written);
    }
    // The writer uses another library: the token gives it the statement and the parameters. This works after the commit, too.
    rename(&client, 1, "Grace").await;
    let token = cache.write_token();
    let (channel, payload) = token.parameters();
    let sql = pgherald::WriteToken::sql();
    client.query(sql, &[&channel, &payload]).await.unwrap();
    token.applied(DEADLINE).await.unwrap();
    assert_eq!(read(&cache, &client, 1).await, "Grace");
    // The token of a transaction that is rolled back never arrives.
    let transaction = writer.transaction().await.unwrap();
    let token = cache.write_token();
    token.announce(&transaction).await.unwrap();
    transaction.rollback().await.unwrap();
    let error = token.applied(Duration::from_millis(50)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
}

#[actix::test]
async fn the_cache_actor_wakes_at_the_strategys_deadlines() {
    let (_, client, herald) = users().await;
    let (quiet, at_most) = (Duration::from_millis(50), Duration::from_millis(500));
    let debounced = CacheBuilder::new("debounced")
        .row_of::<User>()
        .strategy(Debounced::new(quiet, at_most).unwrap());
    let debounced = herald.start_cache(debounced).await.unwrap();
    let timed = CacheBuilder::new("timed")
        .row_of::<User>()
        .strategy(Timed::every(Duration::from_millis(100)).unwrap());
    let timed = herald.start_cache(timed).await.unwrap();
    live(&debounced).await;
    live(&timed).await;
    read(&debounced, &client, 1).await;
    read(&timed, &client, 2).await;
    rename(&client, 1, "Grace").await;
    until("the quiet ends", || debounced.get(&1).is_none()).await;
    until("the interval ends", || timed.get(&2).is_none()).await;
    assert_eq!(debounced.stats().invalidated_by_event, 1);
}

#[actix::test]
async fn the_cache_actor_reloads_invalidated_values() {
    let (url, client, herald) = users().await;
    let source = std::sync::Arc::new(crate::support::client(&url).await);
    let refresh = Refresh::new(DEADLINE, move |id| {
        let source = source.clone();
        async move { Ok(name(&source, id).await?) }
    });
    let cache = CacheBuilder::new("users")
        .row_of::<User>()
        .refresh(refresh.eager());
    let cache = herald.start_cache(cache).await.unwrap();
    live(&cache).await;
    read(&cache, &client, 1).await;
    rename(&client, 1, "Grace").await;
    until("the new value is there", || {
        cache.get(&1).as_deref().map(String::as_str) == Some("Grace")
    })
    .await;
}

#[actix::test]
async fn reads_bypass_the_cache_after_a_shutdown() {
    let (_, client, herald) = users().await;
    let day = Duration::from_secs(24 * 60 * 60);
    // The cache stops although a deadline of its strategy is pending.
    let stale = CacheBuilder::new("stale")
        .row_of::<User>()
        .strategy(Timed::every(day).unwrap())
        .when_not_live(WhenNotLive::ServeStale { max_age: day });
    let stale = herald.start_cache(stale).await.unwrap();
    let cache = herald
        .start_cache(CacheBuilder::new("users").row_of::<User>())
        .await
        .unwrap();
    live(&cache).await;
    live(&stale).await;
    read(&cache, &client, 1).await;
    read(&stale, &client, 1).await;
    herald.shutdown(DEADLINE).await.unwrap();
    assert!(cache.get(&1).is_none());
    rename(&client, 1, "Grace").await;
    assert_eq!(read(&cache, &client, 1).await, "Grace");
    // No handle of the actor is left, so the actor stops.
    until("its driver is gone", || stale.get(&1).is_none()).await;
}

#[actix::test]
async fn a_herald_rejects_invalid_caches() {
    let (_, _, herald) = users().await;
    let builder = || CacheBuilder::<i64, String>::new("users").row_of::<User>();
    assert!(
        herald
            .start_cache(builder().capacity(0))
            .await
            .unwrap_err()
            .is_config()
    );
    let options = SubscriptionOptions::new("").capacity(0);
    let error = herald.start_cache(builder().subscription(options)).await;
    assert!(error.unwrap_err().is_config());
    let options = SubscriptionOptions::new("").overflow(Overflow::CoalesceByKey);
    let error = herald.start_cache(builder().subscription(options)).await;
    assert!(error.unwrap_err().is_config());
}

#[actix::test]
async fn a_key_column_of_another_type_flushes_the_cache_rather_than_serve_stale_values() {
    let url = database().await;
    let client = client(&url).await;
    // The Rust type declares bigint, but the column is text.
    let sql = "CREATE TABLE users (id text PRIMARY KEY, name text NOT NULL);
               INSERT INTO users VALUES ('1', 'Ada')";
    client.batch_execute(sql).await.unwrap();
    let herald = Herald::builder(config(&url))
        .watch_with(TriggerSpec::of::<User>().unwrap())
        .install_triggers()
        .start()
        .await
        .unwrap();
    let cache = herald
        .start_cache(CacheBuilder::new("users").row_of::<User>())
        .await
        .unwrap();
    live(&cache).await;
    let load = async || Ok::<_, String>("Ada".to_owned());
    cache.get_or_load(1, load).await.unwrap();
    let sql = "UPDATE users SET name = 'Grace'";
    client.batch_execute(sql).await.unwrap();
    until("the cache is flushed", || cache.get(&1).is_none()).await;
    assert_eq!(cache.stats().flushed_by_mismatch, 1);
}

struct Order;

impl Table for Order {
    const NAME: &'static str = "orders";
    const KEY: &'static [&'static str] = &["id"];
    type Key = i64;
}

#[actix::test]
async fn a_cache_of_an_unwatched_table_is_rejected() {
    let (url, client, herald) = users().await;
    let sql = "CREATE TABLE orders (id bigint PRIMARY KEY)";
    client.batch_execute(sql).await.unwrap();
    let cache = || CacheBuilder::<i64, String>::new("both").row_of::<User>();
    let error = herald
        .start_cache(cache().table_of::<Order>())
        .await
        .unwrap_err();
    assert!(error.is_config(), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("public.orders") && text.contains("watch"),
        "{text}"
    );
    // On an unknown channel the herald cannot know which tables are watched. Tables passed to the source count as watched.
    let others = || pgherald::ChannelName::new("others").unwrap();
    let orders = TriggerSpec::of::<Order>().unwrap();
    let all_known = || Herald::builder(config(&url)).watch::<User>().unwrap();
    for herald in [
        all_known().channel(others()),
        all_known().source(|source| source.channel(others())),
        all_known()
            .source(|source| source.watch(orders))
            .install_triggers(),
    ] {
        let herald = herald.start().await.unwrap();
        herald
            .start_cache(cache().table_of::<Order>())
            .await
            .unwrap();
    }
}

fn recorded() -> TriggerSpec {
    TriggerSpec::of::<User>().unwrap().outbox()
}

#[actix::test]
async fn a_cache_in_outbox_mode_keeps_unchanged_values_across_an_outage() {
    let url = database().await;
    let writer = client(&url).await;
    let sql = "CREATE TABLE users (id bigint PRIMARY KEY, name text NOT NULL);
               INSERT INTO users VALUES (1, 'Ada'), (2, 'Alan')";
    writer.batch_execute(sql).await.unwrap();
    let server = Postgres::shared().await.unwrap();
    let proxy = FaultProxy::start((server.host(), server.port()))
        .await
        .unwrap();
    let (often, soon) = (Duration::from_millis(200), Duration::from_millis(20));
    let herald = Herald::builder(config(&proxy.url(&url)))
        .watch_with(recorded())
        .source(|source| {
            source
                .heartbeat(often, often)
                .backoff(Backoff::new(soon, soon))
        })
        .poll_interval(soon)
        .install_triggers()
        .start()
        .await
        .unwrap();
    let cache = herald
        .start_cache(CacheBuilder::new("users").row_of::<User>())
        .await
        .unwrap();
    live(&cache).await;
    assert_eq!(read(&cache, &writer, 1).await, "Ada");
    assert_eq!(read(&cache, &writer, 2).await, "Alan");
    rename(&writer, 2, "Edsger").await;
    until("row 2 is invalidated", || cache.get(&2).is_none()).await;
    assert_eq!(read(&cache, &writer, 2).await, "Edsger");
    proxy.refuse();
    proxy.cut();
    until("the cache is blind", || !cache.is_live()).await;
    assert!(cache.get(&1).is_none());
    rename(&writer, 2, "Grace").await;
    let loads = cache.stats().loads;
    proxy.resume();
    live(&cache).await;
    assert_eq!(
        cache.get(&2).as_deref(),
        None,
        "the changed value is invalidated"
    );
    assert_eq!(cache.get(&1).as_deref().map(String::as_str), Some("Ada"));
    assert_eq!(read(&cache, &writer, 2).await, "Grace");
    let stats = cache.stats();
    assert_eq!((stats.loads, stats.flushed_by_resync), (loads + 1, 1));
}

#[actix::test]
async fn a_herald_watches_tables_in_both_modes() {
    let url = database().await;
    let writer = client(&url).await;
    let sql = "CREATE TABLE users (id bigint PRIMARY KEY, name text NOT NULL); INSERT INTO users VALUES (1, 'Ada');
               CREATE TABLE orders (id bigint PRIMARY KEY, name text NOT NULL); INSERT INTO orders VALUES (1, 'tea')";
    writer.batch_execute(sql).await.unwrap();
    let soon = Duration::from_millis(20);
    let herald = Herald::builder(config(&url).application_name("both"))
        .watch_with(recorded())
        .watch::<Order>()
        .unwrap()
        .source(|source| source.backoff(Backoff::new(soon, soon)))
        .install_triggers()
        .start()
        .await
        .unwrap();
    let users = herald
        .start_cache(CacheBuilder::new("users").row_of::<User>())
        .await
        .unwrap();
    let orders = herald
        .start_cache(CacheBuilder::new("orders").row_of::<Order>())
        .await
        .unwrap();
    live(&users).await;
    live(&orders).await;
    let listening =
        "FROM pg_stat_activity WHERE application_name = 'both' AND datname = current_database()";
    // The connection of notify mode fails, then that of outbox mode, then both.
    for (round, rest) in [
        "ORDER BY backend_start LIMIT 1",
        "ORDER BY backend_start DESC LIMIT 1",
        "",
    ]
    .iter()
    .enumerate()
    {
        let sql =
            format!("SELECT pg_terminate_backend(pid) FROM (SELECT pid {listening} {rest}) AS s");
        writer.batch_execute(&sql).await.unwrap();
        until("both are live again", || {
            users.is_live() && orders.is_live()
        })
        .await;
        let load = async || Ok::<_, String>("before".to_owned());
        users.get_or_load(1, load).await.unwrap();
        orders.get_or_load(1, load).await.unwrap();
        let sql = format!("UPDATE users SET name = '{round}'; UPDATE orders SET name = '{round}'");
        writer.batch_execute(&sql).await.unwrap();
        until("both caches have invalidated the row", || {
            users.get(&1).is_none() && orders.get(&1).is_none()
        })
        .await;
    }
    // The token arrives as a notification, possibly before the outbox reader has read the rows of its transaction.
    let token = users.write_token();
    token.announce(&writer).await.unwrap();
    let error = token.applied(DEADLINE).await.unwrap_err();
    assert!(
        error.is_config() && error.to_string().contains("public.users"),
        "{error}"
    );
    let token = orders.write_token();
    token.announce(&writer).await.unwrap();
    token.applied(DEADLINE).await.unwrap();
}

struct Visit;

impl Table for Visit {
    const NAME: &'static str = "visits";
    const KEY: &'static [&'static str] = &["id"];
    type Key = String;
}

#[actix::test]
async fn a_cache_of_strings_over_uuids_is_an_error_with_the_key_types_that_fit() {
    let url = database().await;
    let sql = "CREATE TABLE visits (id uuid PRIMARY KEY)";
    client(&url).await.batch_execute(sql).await.unwrap();
    let herald = Herald::builder(config(&url))
        .watch::<Visit>()
        .unwrap()
        .install_triggers()
        .start()
        .await
        .unwrap();
    let strings = CacheBuilder::<String, i64>::new("visits");
    let error = herald
        .start_cache(strings.row_of::<Visit>())
        .await
        .unwrap_err();
    assert!(error.is_config(), "{error:?}");
    let message = error.to_string();
    for part in [
        "\"visits\"",
        "\"id\" of public.visits",
        "uuid::Uuid",
        "String",
    ] {
        assert!(message.contains(part), "{part} in {message}");
    }
    // A cache of a whole table compares no keys, so any key type fits.
    let whole = CacheBuilder::<String, i64>::new("visits").table_of::<Visit>();
    herald.start_cache(whole).await.unwrap();
}

#[actix::test]
async fn the_key_types_of_many_caches_are_read_once() {
    let url = database().await;
    let sql = "CREATE TABLE visits (id text PRIMARY KEY)";
    client(&url).await.batch_execute(sql).await.unwrap();
    let server = Postgres::shared().await.unwrap();
    let proxy = FaultProxy::start((server.host(), server.port()))
        .await
        .unwrap();
    let herald = Herald::builder(config(&proxy.url(&url)))
        .watch::<Visit>()
        .unwrap()
        .install_triggers()
        .start()
        .await
        .unwrap();
    herald.live().await.unwrap();
    let cache = || CacheBuilder::<String, i64>::new("visits").row_of::<Visit>();
    herald.start_cache(cache()).await.unwrap();
    let before = proxy.statements();
    for _ in 0..50 {
        herald.start_cache(cache()).await.unwrap();
    }
    // The listener may have sent a few.
    let statements = proxy.statements() - before;
    assert!(statements < 25, "{statements} statements for 50 caches");

    // What was read before is read again where it does not fit.
    let of_numbers =
        || CacheBuilder::<i64, i64>::new("numbers").row_by::<Visit>(|id| id.to_string());
    herald.start_cache(of_numbers()).await.unwrap();
    let sql = "ALTER TABLE visits ALTER id TYPE uuid USING id::uuid";
    client(&url).await.batch_execute(sql).await.unwrap();
    let other = Herald::builder(config(&proxy.url(&url)))
        .watch::<Visit>()
        .unwrap()
        .install_triggers()
        .start()
        .await
        .unwrap();
    other.live().await.unwrap();
    let error = other.start_cache(of_numbers()).await.unwrap_err();
    assert!(error.to_string().contains("uuid"), "{error}");
    let sql = "ALTER TABLE visits ALTER id TYPE text";
    client(&url).await.batch_execute(sql).await.unwrap();
    other.start_cache(of_numbers()).await.unwrap();
}

#[actix::test]
async fn dropping_all_handles_of_a_cache_ends_its_subscription() {
    let (_, client, herald) = users().await;
    let mut freed = Vec::new();
    for number in 0..20 {
        let builder = CacheBuilder::<i64, Arc<String>>::new(format!("cache{number}"));
        let cache = herald.start_cache(builder.row_of::<User>()).await.unwrap();
        cache.live().await.unwrap();
        let value = Arc::new(name(&client, 1).await.unwrap());
        freed.push(Arc::downgrade(&value));
        assert!(cache.insert(&cache.stamp(), 1, value));
    }
    until("the values are freed", || {
        freed.iter().all(|value| value.upgrade().is_none())
    })
    .await;
}
