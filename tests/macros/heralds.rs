//! A function is cached by one herald at a time.

use std::time::Duration;

use pgherald::{CacheScope, Herald, ListenerActor, cached};
use pgherald_testkit::fake_source;

use crate::support::User;

fn herald() -> Herald {
    let (source, _) = fake_source();
    Herald::on_current_arbiter(ListenerActor::new(source)).unwrap()
}

#[actix::test]
async fn a_second_herald_is_rejected_until_the_first_has_shut_down() {
    #[cached(row_of = User)]
    async fn user(id: i64) -> User {
        User::new(id)
    }

    let (first, second) = (herald(), herald());
    first.cached(user::cache()).await.unwrap();
    for herald in [&first, &second] {
        let error = herald.cached(user::cache()).await.unwrap_err();
        assert!(error.is_config(), "{error}");
    }
    {
        let _scope = CacheScope::enter();
        second.cached(user::cache()).await.unwrap();
    }

    first.shutdown(Duration::from_secs(10)).await.unwrap();
    second.cached(user::cache()).await.unwrap();
}
