//! A function is cached by one herald at a time.

use std::time::Duration;

use pgherald::{CacheScope, Herald, ListenerActor, cached};
use pgherald_testkit::fake_source;

use crate::support::User;

async fn herald() -> Herald {
    let (source, _) = fake_source();
    Herald::start_on_current_arbiter(ListenerActor::new(source))
        .await
        .unwrap()
}

#[actix::test]
async fn a_second_herald_is_rejected_until_the_first_has_shut_down() {
    #[cached(row_of = User)]
    async fn user(id: i64) -> User {
        User::new(id)
    }

    let (first, second) = (herald().await, herald().await);
    first.start_cached(user::cache()).await.unwrap();
    for herald in [&first, &second] {
        let error = herald.start_cached(user::cache()).await.unwrap_err();
        assert!(error.is_config(), "{error}");
    }
    {
        let _scope = CacheScope::enter();
        second.start_cached(user::cache()).await.unwrap();
    }

    first.shutdown(Duration::from_secs(10)).await.unwrap();
    second.start_cached(user::cache()).await.unwrap();
}
