//! LISTEN succeeds but notifications are lost, as behind a pooler in transaction mode.

use pgherald::ErrorKind;
use pgherald_testkit::{FaultProxy, Postgres};

use crate::support::{cause, listen, live, not_live, source};

async fn deaf_proxy() -> (FaultProxy, String) {
    let server = Postgres::shared().await.unwrap();
    let url = server.create_database().await.unwrap();
    let proxy = FaultProxy::start((server.host(), server.port()))
        .await
        .unwrap();
    proxy.deafen();
    let url = format!("{}?sslmode=disable", proxy.url(&url));
    (proxy, url)
}

#[actix::test]
async fn a_deaf_session_never_becomes_live() {
    let (proxy, url) = deaf_proxy().await;
    let (_listener, probe) = listen(source(&url)).await;
    let seen = not_live(&probe).await;
    assert_eq!(
        cause(&seen).kind(),
        ErrorKind::NoNotifications,
        "{}",
        cause(&seen).chain()
    );
    assert!(cause(&seen).hint().contains("pooler"));
    proxy.resume();
    live(&probe).await;
}

#[actix::test]
async fn the_check_for_lost_notifications_can_be_disabled() {
    let (_proxy, url) = deaf_proxy().await;
    let (_listener, probe) = listen(source(&url).probe(false)).await;
    live(&probe).await;
}
