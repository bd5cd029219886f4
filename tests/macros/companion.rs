//! The companion module that is generated beside a cached function.

use pgherald::{CacheScope, CacheStats, cached};

use crate::support::{Calls, User, start};

mod store {
    use pgherald::cached;

    use super::User;

    #[cached(row_of = User)]
    pub(super) async fn exported(id: i64) -> User {
        User::new(id)
    }

    pub(super) mod inner {
        #[super::cached(row_of = super::User)]
        pub(in super::super) async fn deeper(id: i64) -> super::User {
            super::User::new(id)
        }
    }
}

use store::exported;

#[actix::test]
async fn invalidate_and_invalidate_all_remove_values() {
    static CALLS: Calls = Calls::new();

    #[cached(row_of = User)]
    async fn user(id: i64) -> User {
        CALLS.count();
        User::new(id)
    }

    assert!(!user::invalidate(&7));
    user::invalidate_all();
    let _live = start(user::cache());
    user(7).await;
    user(8).await;
    assert!(user::invalidate(&7));
    assert!(!user::invalidate(&7));
    user(7).await;
    user(8).await;
    assert_eq!(CALLS.so_far(), 3);
    user::invalidate_all();
    user(7).await;
    user(8).await;
    assert_eq!(CALLS.so_far(), 5);
    let _: CacheStats = user::stats();
}

#[actix::test]
async fn the_companion_has_the_visibility_of_its_function() {
    let _live = start(exported::cache());
    assert_eq!(exported(7).await.id, 7);
    assert!(store::exported::invalidate(&7));
    assert!(!store::inner::deeper::invalidate(&7));
    assert_eq!(store::inner::deeper(7).await.id, 7);
}

#[actix::test]
async fn each_function_has_its_own_cache() {
    #[cached(row_of = User)]
    async fn one(id: i64) -> i64 {
        id
    }

    #[cached(row_of = User)]
    async fn other(id: i64) -> i64 {
        -id
    }

    let _live = (start(one::cache()), start(other::cache()));
    assert_eq!((one(7).await, other(7).await), (7, -7));
    one::invalidate_all();
    assert!(other::invalidate(&7));
}

#[actix::test]
async fn a_function_that_is_disabled_by_cfg_has_no_cache() {
    #[cached(row_of = User)]
    #[cfg(windows)]
    async fn absent(id: i64) -> Unknown {
        id
    }

    #[cached(row_of = User)]
    #[cfg(not(windows))]
    async fn r#match(id: i64) -> i64 {
        id
    }

    let _live = start(r#match::cache());
    assert_eq!(r#match(7).await, 7);
    assert_eq!(
        r#match::cache().handle().unwrap().name(),
        "macros::companion::match"
    );
}

#[actix::test]
async fn a_function_that_runs_in_one_herald_is_rejected_by_another() {
    #[cached(row_of = User)]
    async fn user(id: i64) -> User {
        User::new(id)
    }

    let live = start(user::cache());
    let (second, _driver) = user::cache().build().unwrap();
    let refused = user::cache()
        .attach(second.clone())
        .unwrap_err()
        .to_string();
    assert!(refused.contains("CacheScope::enter()"), "{refused}");
    user(7).await;
    assert!(user::invalidate(&7), "the first cache is still in use");

    drop(live);
    user::cache().attach(second).unwrap();
}

#[actix::test]
async fn each_scope_has_its_own_cache() {
    static CALLS: Calls = Calls::new();

    #[cached(row_of = User)]
    async fn number(id: i64) -> usize {
        CALLS.count()
    }

    async fn alone() -> usize {
        let _scope = CacheScope::enter();
        assert!(number::cache().handle().is_none());
        let _live = start(number::cache());
        assert_eq!(number(7).await, number(7).await);
        number(7).await
    }

    let _live = start(number::cache());
    let outside = number(7).await;
    // Like two tests on two threads.
    let other = || actix::System::new().block_on(alone());
    let threads = [std::thread::spawn(other), std::thread::spawn(other)];
    let mut seen = vec![outside, alone().await];
    seen.extend(threads.map(|thread| thread.join().unwrap()));
    seen.sort_unstable();
    assert_eq!(seen, [1, 2, 3, 4]);
    assert_eq!(number(7).await, outside);
}
