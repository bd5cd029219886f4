//! Several hosts are tried in turn, as libpq tries them.

use std::time::Duration;

use pgherald::{ConnectConfig, Error, ErrorKind};
use pgherald_testkit::{FaultProxy, Postgres};
use tokio_postgres::Client;

use crate::support::{
    DEADLINE, cause, client, insert, listen, live, not_live, numbers, source, watched_table,
};

/// A proxy in front of the shared server, and a database on it.
async fn front() -> (FaultProxy, &'static Postgres, String) {
    let server = Postgres::shared().await.unwrap();
    let proxy = FaultProxy::start((server.host(), server.port()))
        .await
        .unwrap();
    (proxy, server, server.create_database().await.unwrap())
}

/// `url` with the proxy as its first host and the server as its second.
fn both(url: &str, proxy: &FaultProxy, server: &Postgres) -> String {
    let own = format!("{}:{}", server.host(), server.port());
    let url = url.replace(&own, &format!("127.0.0.1:{},{own}", proxy.port()));
    assert!(url.contains(','), "{url}");
    url
}

async fn connect(url: &str) -> Result<Client, Error> {
    let config: ConnectConfig = url.parse()?;
    config.client().await
}

#[actix::test]
async fn a_silent_host_uses_only_its_own_connect_timeout() {
    let (proxy, server, url) = front().await;
    proxy.stall();
    let url = format!("{}?connect_timeout=1", both(&url, &proxy, server));
    let client = connect(&url).await.unwrap();
    client.simple_query("SELECT 1").await.unwrap();
}

#[actix::test]
async fn a_listener_whose_first_host_hangs_reconnects_through_the_second() {
    let (proxy, server, url) = front().await;
    let client = client(&url).await;
    let spec = watched_table(&client, "t").await;
    let both = both(&url, &proxy, server);
    let (_listener, probe) = listen(source(&both).watch(spec)).await;
    live(&probe).await;
    assert_eq!(proxy.connections(), 1, "the first host is preferred");
    proxy.stall();
    not_live(&probe).await;
    live(&probe).await;
    insert(&client, "t", 1).await;
    let one = |seen: &pgherald_testkit::Seen| numbers(seen) == [1];
    probe.wait_for("row 1", DEADLINE, one).await.unwrap();
}

#[actix::test]
async fn the_error_names_every_host_with_its_own_cause() {
    let (proxy, server, url) = front().await;
    proxy.stall();
    let silent = format!("127.0.0.1:{}", proxy.port());
    let own = format!("{}:{}", server.host(), server.port());
    let url = url.replace(
        &own,
        &format!("127.0.0.1:1,{silent},no-such-host.invalid:5"),
    );
    let error = connect(&format!("{url}?connect_timeout=1"))
        .await
        .unwrap_err();
    let chain = error.chain();
    assert!(error.is_connection() && error.is_retryable());
    for part in [
        "127.0.0.1:1: ",
        "refused",
        &format!("{silent}: no answer within 1s"),
        "no-such-host.invalid:5: ",
    ] {
        assert!(chain.contains(part), "{part:?} is not in: {chain}");
    }
}

#[actix::test]
async fn a_host_that_rejects_the_password_ends_the_search() {
    let strict = Postgres::builder().password("right").start().await.unwrap();
    let (_, server, url) = front().await;
    let own = format!("{}:{}", server.host(), server.port());
    let url = url.replace(
        &format!("@{own}"),
        &format!(":wrong@{}:{},{own}", strict.host(), strict.port()),
    );
    // libpq: "If a connection is established successfully, but authentication fails, the remaining hosts in the list
    // are not tried."
    let error = connect(&url).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Authentication, "{}", error.chain());
}

#[actix::test]
async fn a_missing_unix_socket_leads_to_the_next_host() {
    let (_, server, url) = front().await;
    let database = url.rsplit('/').next().unwrap();
    let (host, port) = (server.host(), server.port());
    let url = format!("host=/nowhere,{host} port={port},{port} user=postgres dbname={database}");
    connect(&url).await.unwrap();
    let addresses =
        format!("hostaddr=127.0.0.1,{host} port=1,{port} user=postgres dbname={database}");
    connect(&addresses).await.unwrap();
}

#[test]
fn different_numbers_of_hosts_and_ports_are_rejected_at_once() {
    for text in [
        "host=a,b,c hostaddr=127.0.0.1,127.0.0.2 user=u",
        "host=a,b,c port=1,2 user=u",
    ] {
        let error = text.parse::<ConnectConfig>().unwrap_err();
        assert!(error.is_config(), "{text}: {error:?}");
    }
}

#[actix::test]
async fn a_connect_timeout_longer_than_the_sources_leaves_time_for_the_next_host() {
    let (proxy, server, url) = front().await;
    proxy.stall();
    let url = format!("{}?connect_timeout=60", both(&url, &proxy, server));
    let source = source(&url).connect_timeout(Duration::from_secs(6));
    let (_listener, probe) = listen(source).await;
    live(&probe).await;
}

/// A server that reports itself as a replica, but follows no primary.
async fn replica() -> Postgres {
    let server = Postgres::start().await.unwrap();
    server.stop().await.unwrap();
    std::fs::write(server.data_dir().join("standby.signal"), "").unwrap();
    server.start_again().await.unwrap();
    server
}

#[actix::test]
async fn a_primary_with_read_only_default_transactions_is_found_behind_a_replica() {
    let (replica, primary) = (replica().await, Postgres::start().await.unwrap());
    let url = primary.url();
    let admin = client(&url).await;
    let spec = watched_table(&admin, "t").await;
    admin
        .batch_execute("ALTER DATABASE postgres SET default_transaction_read_only = on")
        .await
        .unwrap();
    let own = format!("{}:{}", primary.host(), primary.port());
    let both = format!("{}:{},{own}", replica.host(), replica.port());
    let (_listener, probe) = listen(source(&url.replace(&own, &both)).watch(spec)).await;
    live(&probe).await;
    insert(&admin, "t", 1).await;
    let one = |seen: &pgherald_testkit::Seen| numbers(seen) == [1];
    probe.wait_for("row 1", DEADLINE, one).await.unwrap();
}

#[actix::test]
async fn a_list_of_replicas_only_is_rejected_by_name() {
    let replica = replica().await;
    let own = format!("{}:{}", replica.host(), replica.port());
    let url = replica.url().replace(&own, &format!("{own},{own}"));
    let (_listener, probe) = listen(source(&url)).await;
    let error = cause(&not_live(&probe).await);
    assert_eq!(error.kind(), ErrorKind::Replica, "{}", error.chain());
    assert_eq!(
        error.chain().matches("replica").count(),
        2,
        "{}",
        error.chain()
    );
}
