//! The tests of a process share one server, and each has its own database.

mod support;

use pgherald_testkit::Postgres;

#[tokio::test]
async fn shared_server_gives_each_its_own_database() {
    let (one, two) = tokio::join!(Postgres::shared(), Postgres::shared());
    let (one, two) = (one.unwrap(), two.unwrap());
    assert!(std::ptr::eq(one, two));

    let (first, second) = tokio::join!(one.create_database(), two.create_database());
    for url in [first.unwrap(), second.unwrap()] {
        one.batch(&url, "create table only_once ()").await.unwrap();
    }
}
