//! After `FaultProxy::deafen`, clients receive the results of queries but no notifications, until `resume`.

mod support;

use std::future::poll_fn;

use pgherald_testkit::{FaultProxy, Postgres};
use tokio_postgres::{AsyncMessage, NoTls};

#[tokio::test]
async fn proxy_deafen_drops_notifications_only() {
    let server = Postgres::shared().await.unwrap();
    let proxy = FaultProxy::start((server.host(), server.port()))
        .await
        .unwrap();
    let (client, mut connection) = tokio_postgres::connect(&proxy.url(&server.url()), NoTls)
        .await
        .unwrap();
    let (received, mut notifications) = tokio::sync::mpsc::channel(8);
    tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
            if let AsyncMessage::Notification(notification) = message {
                received
                    .send(notification.payload().to_owned())
                    .await
                    .unwrap();
            }
        }
    });

    client
        .batch_execute("listen news; notify news, 'before'")
        .await
        .unwrap();
    assert_eq!(
        support::soon(notifications.recv()).await.as_deref(),
        Some("before")
    );

    proxy.deafen();
    client.batch_execute("notify news, 'lost'").await.unwrap();
    assert_eq!(support::answer(&client).await, 42);

    proxy.resume();
    client.batch_execute("notify news, 'after'").await.unwrap();
    assert_eq!(
        support::soon(notifications.recv()).await.as_deref(),
        Some("after")
    );
}
