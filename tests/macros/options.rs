//! Every option of `#[cached]` reaches the cache.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use pgherald::{Affected, Changed, ChannelName, Greedy, LoadLimit, cached};
use pgherald::{CacheEvent, CacheObserver, Refresh, WhenNotLive};

use crate::support::{Calls, Order, User, start};

#[actix::test]
async fn settings_are_expressions_in_the_scope_of_the_function() {
    static EVALUATED: Calls = Calls::new();
    static CACHE: LazyLock<LoadLimit> = LazyLock::new(|| {
        EVALUATED.count();
        LoadLimit::new(8)
    });

    // Names that generated code might use itself.
    fn describe<T>(value: T) -> T {
        EVALUATED.count();
        value
    }

    #[cached(
        row_of = User,
        strategy = describe(Greedy::new()),
        capacity = describe(10_000),
        ttl = describe(Duration::from_secs(60)),
        ttl_jitter = describe(0.5),
        when_not_live = describe(WhenNotLive::Bypass),
        refresh = Refresh::new(Duration::from_secs(1), |id| async move { Ok(User::new(id)) }),
        load_limit = CACHE,
        load_timeout = describe(Duration::from_secs(60)),
    )]
    async fn user(id: i64) -> User {
        User::new(id)
    }

    #[cached(row_of = User, load_limit = &CACHE)]
    async fn borrowed(id: i64) -> User {
        User::new(id)
    }

    assert_eq!(EVALUATED.so_far(), 0);
    let _live = (start(user::cache()), start(borrowed::cache()));
    assert_eq!(EVALUATED.so_far(), 7);
    assert_eq!(user(7).await.id, borrowed(7).await.id);
}

#[actix::test]
async fn times_of_0_are_refused_when_the_cache_is_built() {
    #[cached(row_of = User, load_timeout = Duration::ZERO)]
    async fn load(id: i64) -> i64 {
        id
    }

    #[cached(row_of = User, errors_for = Duration::ZERO)]
    async fn fail(id: i64) -> Result<i64, i64> {
        Err(id)
    }

    let error = load::cache().build().unwrap_err().to_string();
    assert!(error.contains("load_timeout is 0"), "{error}");
    let error = fail::cache().build().unwrap_err().to_string();
    assert!(error.contains("errors_for is 0"), "{error}");
}

#[actix::test]
async fn an_observer_sees_what_the_cache_does() {
    #[derive(Default)]
    struct Hits(Calls);

    impl CacheObserver for Hits {
        fn observe(&self, event: &CacheEvent<'_>) {
            if let CacheEvent::Hit = event {
                self.0.count();
            }
        }
    }

    static HITS: LazyLock<Arc<Hits>> = LazyLock::new(Arc::default);

    #[cached(row_of = User, observer = Arc::clone(&HITS))]
    async fn user(id: i64) -> i64 {
        id
    }

    let _live = start(user::cache());
    user(7).await;
    user(7).await;
    assert_eq!(HITS.0.so_far(), 1);
}

#[actix::test]
async fn a_cache_that_is_not_live_can_serve_stale_values() {
    static CALLS: Calls = Calls::new();

    #[cached(row_of = User, when_not_live = WhenNotLive::ServeStale { max_age: Duration::from_secs(3_600) })]
    async fn user(id: i64) -> i64 {
        CALLS.count();
        id
    }

    let mut live = start(user::cache());
    user(7).await;
    live.lose_connection();
    user(7).await;
    assert_eq!(CALLS.so_far(), 1);
}

/// Functions with the same names as others.
mod elsewhere {
    use pgherald::cached;

    use super::User;

    pub(super) struct Users;
    pub(super) struct Others;

    #[cached(row_of = User)]
    pub(super) async fn find(id: i64) -> i64 {
        id
    }

    impl Users {
        #[cached(row_of = User, associated)]
        pub(super) async fn find(id: i64) -> i64 {
            id
        }
    }

    impl Others {
        #[cached(row_of = User, associated)]
        pub(super) async fn find(id: i64) -> i64 {
            id
        }
    }
}

#[actix::test]
async fn caches_of_functions_with_the_same_name_have_distinct_names() {
    let names = [
        elsewhere::find::cache()
            .build()
            .unwrap()
            .0
            .name()
            .to_owned(),
        elsewhere::Users::find_cache()
            .build()
            .unwrap()
            .0
            .name()
            .to_owned(),
        elsewhere::Others::find_cache()
            .build()
            .unwrap()
            .0
            .name()
            .to_owned(),
    ];
    assert_eq!(
        names,
        [
            "macros::options::elsewhere::find",
            "macros::options::elsewhere::Users::find",
            "macros::options::elsewhere::Others::find",
        ]
    );
}

#[actix::test]
async fn the_default_name_of_a_cache_is_that_of_its_function() {
    #[cached(row_of = User)]
    async fn by_default(id: i64) -> i64 {
        id
    }

    #[cached(row_of = User, name = "users by id")]
    async fn renamed(id: i64) -> i64 {
        id
    }

    let _live = (start(by_default::cache()), start(renamed::cache()));
    assert_eq!(
        by_default::cache().handle().unwrap().name(),
        "macros::options::by_default"
    );
    assert_eq!(renamed::cache().handle().unwrap().name(), "users by id");
    assert_eq!((by_default(7).await, renamed(7).await), (7, 7));
}

#[actix::test]
async fn an_invalid_setting_is_an_error_of_start() {
    fn refuse() -> pgherald::Result<usize> {
        "".parse::<ChannelName>().map(|_| 7)
    }

    #[cached(row_of = User, capacity = refuse()?)]
    async fn user(id: i64) -> i64 {
        id
    }

    assert!(user::cache().build().is_err());
    assert_eq!(user(7).await, 7);
}

#[actix::test]
async fn every_kind_of_dependency_can_be_repeated() {
    fn shop(key: &(String, i64)) -> (String, i32) {
        (key.0.clone(), 1)
    }

    #[cached(
        row_by(User, |key: &(String, i64)| key.1),
        row_by(Order, shop),
        keys_by(Order, |change: &Changed<Order>| {
            Affected::Keys(vec![(change.key.0.clone(), change.key.1.into())])
        }),
        keys_by(User, |_| Affected::Everything),
        table_of = User,
        table_of = Order,
    )]
    async fn mixed(shop: &str, id: i64) -> String {
        format!("{shop} {id}")
    }

    #[cached(row_of = Order)]
    async fn order(shop: &str, number: i32) -> String {
        format!("{shop} {number}")
    }

    let _live = (start(mixed::cache()), start(order::cache()));
    assert_eq!(mixed("eu", 7).await, "eu 7");
    assert_eq!(order("eu", 7).await, "eu 7");
}

#[actix::test]
async fn the_crate_path_can_be_changed() {
    mod elsewhere {
        pub(super) mod __private {
            pub(crate) use pgherald::__private::{
                CacheBuilder, CacheStats, CachedFn, Call, Result, Returned, SharedValue, key_part,
                row_of,
            };

            /// Differs from the real one.
            pub(crate) struct Companion;

            impl Companion {
                pub(crate) fn invalidate(&self, key: &i64) -> bool {
                    *key == 7
                }

                pub(crate) fn invalidate_all(&self) {}

                pub(crate) fn stats(&self) -> CacheStats {
                    CacheStats::default()
                }
            }

            pub(crate) fn companion(_: &CachedFn<i64, i64>) -> Companion {
                Companion
            }
        }
    }

    #[cached(row_of = User, crate = elsewhere)]
    async fn user(id: i64) -> i64 {
        id
    }

    assert!(user::invalidate(&7) && !user::invalidate(&8));
    assert_eq!(user(7).await, 7);
}
