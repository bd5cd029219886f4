//! `Postgres::terminate_backends` terminates clients with the given application name, or all.

mod support;

use pgherald_testkit::Postgres;

#[tokio::test]
async fn terminate_backends_counts() {
    let server = Postgres::start().await.unwrap();
    let named = |name: &str| format!("{}?application_name={name}", server.url());
    let (_one, first) = support::connect(&named("one")).await;
    let (_two, second) = support::connect(&named("two")).await;
    let (_three, third) = support::connect(&named("two")).await;

    assert_eq!(server.terminate_backends(Some("none")).await.unwrap(), 0);
    assert_eq!(server.terminate_backends(Some("two")).await.unwrap(), 2);
    assert!(support::soon(second).await.unwrap().is_err());
    assert!(support::soon(third).await.unwrap().is_err());
    assert!(!first.is_finished());

    assert_eq!(server.terminate_backends(None).await.unwrap(), 1);
    assert!(support::soon(first).await.unwrap().is_err());
}
