//! The keys of cached functions.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pgherald::{CachedFn, cached};
use tokio_postgres::Client;

use crate::support::{Calls, User, start};

#[actix::test]
async fn all_arguments_form_the_key() {
    #[cached(table_of = User)]
    async fn two(id: i64, lang: String) -> String {
        format!("{id} {lang}")
    }

    #[cached(table_of = User)]
    async fn none() -> i64 {
        7
    }

    let _live = (start(two::cache()), start(none::cache()));
    let _: &CachedFn<(i64, String), String> = two::cache();
    let _: &CachedFn<(), i64> = none::cache();
    assert_eq!(two(1, "en".into()).await, "1 en");
    assert_eq!(two(1, "de".into()).await, "1 de");
    assert_eq!(two(2, "de".into()).await, "2 de");
    assert_eq!(none().await, none().await);
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Id(i64);

#[actix::test]
async fn references_become_owned_in_the_key() {
    static CALLS: Calls = Calls::new();

    #[cached(table_of = User)]
    async fn joined(name: &str, user: &Id, words: &[String], fixed: &'static str) -> String {
        CALLS.count();
        format!("{name} {} {} {fixed}", user.0, words.concat())
    }

    #[cached(table_of = User)]
    async fn shouted(name: &str) -> String {
        name.to_uppercase()
    }

    type Key = (String, Id, Vec<String>, String);
    let _: &CachedFn<Key, String> = joined::cache();
    let _: &CachedFn<String, String> = shouted::cache();
    let _live = (start(joined::cache()), start(shouted::cache()));
    let user = Id(7);
    for _ in 0..2 {
        let words = ["a".to_owned(), "b".to_owned()];
        assert_eq!(joined("x", &user, &words, "y").await, "x 7 ab y");
    }
    assert_eq!(CALLS.so_far(), 1);
    let name = String::from("ada");
    assert_eq!(shouted(&name).await, "ADA");
    assert!(shouted::invalidate(&name));
}

#[actix::test]
async fn a_chosen_key_leaves_other_arguments_out() {
    static CALLS: Calls = Calls::new();

    #[cached(row_of = User, key = id, ignore(connection))]
    async fn user(connection: &Calls, id: i64) -> User {
        CALLS.count();
        connection.count();
        User::new(id)
    }

    #[cached(table_of = User, key = (lang, id), ignore(_unused))]
    async fn greeting(id: &i64, _unused: &Calls, lang: &str) -> String {
        format!("{lang} {id}")
    }

    let _: &CachedFn<i64, User> = user::cache();
    let _: &CachedFn<(String, i64), String> = greeting::cache();
    let _live = (start(user::cache()), start(greeting::cache()));
    let (one, other) = (Calls::new(), Calls::new());
    assert_eq!(user(&one, 7).await, user(&other, 7).await);
    assert_eq!((one.so_far(), other.so_far(), CALLS.so_far()), (1, 0, 1));
    assert_eq!(greeting(&7, &CALLS, "en").await, "en 7");
    assert!(greeting::invalidate(&("en".into(), 7)));
}

#[actix::test]
async fn ignored_arguments_and_handles_are_left_out_of_the_key() {
    /// A typical pool: shared, with closures of the program inside.
    #[derive(Clone)]
    struct Pool(Arc<dyn Fn(i64) -> String + Send + Sync>);

    #[cached(table_of = User, ignore(calls))]
    async fn ignored(calls: &Calls, id: i64, lang: &str) -> String {
        calls.count();
        format!("{id} {lang}")
    }

    #[cached(row_of = User)]
    async fn pooled(pool: &Pool, id: i64) -> String {
        (pool.0)(id)
    }

    #[cached(row_of = User, key = id)]
    async fn owned(pool: Pool, id: i64, _client: Arc<Client>) -> String {
        (pool.0)(id)
    }

    let _: &CachedFn<(i64, String), String> = ignored::cache();
    let _: &CachedFn<i64, String> = pooled::cache();
    let _: &CachedFn<i64, String> = owned::cache();
    let _live = (start(ignored::cache()), start(pooled::cache()));
    let calls = Calls::new();
    assert_eq!(ignored(&calls, 7, "en").await, "7 en");
    assert_eq!(ignored(&calls, 7, "de").await, "7 de");
    assert_eq!(ignored(&calls, 7, "de").await, "7 de");
    assert_eq!(calls.so_far(), 2);
    let pool = Pool(Arc::new(|id| id.to_string()));
    assert_eq!(pooled(&pool, 7).await, "7");
    assert!(pooled::invalidate(&7));
}

#[actix::test]
async fn paths_become_owned_in_the_key() {
    #[cached(table_of = User)]
    async fn size(path: &Path, extension: &OsStr) -> usize {
        path.with_extension(extension).as_os_str().len()
    }

    let _live = start(size::cache());
    assert_eq!(size(Path::new("a"), OsStr::new("rs")).await, 4);
    assert!(size::invalidate(&(PathBuf::from("a"), "rs".into())));
}

#[actix::test]
async fn a_key_can_be_an_expression() {
    #[cached(row_of = User, key = user.id, key_type = i64)]
    async fn email(user: &User) -> String {
        user.email.clone()
    }

    #[cached(table_of = User, key = name.to_lowercase(), key_type = String)]
    async fn by_name(name: String) -> String {
        name
    }

    let _live = (start(email::cache()), start(by_name::cache()));
    assert_eq!(email(&User::new(7)).await, "7@example.org");
    assert!(email::invalidate(&7));
    assert_eq!(by_name("Ada".into()).await, "Ada");
    assert_eq!(by_name("ADA".into()).await, "Ada");
}

#[actix::test]
async fn arguments_may_be_mut_and_patterns_outside_of_the_key() {
    #[cached(table_of = User)]
    async fn counted(mut id: i64) -> i64 {
        id += 1;
        id
    }

    #[cached(table_of = User, key = (id))]
    async fn summed(id: i64, _: bool) -> i64 {
        id
    }

    let _live = (start(counted::cache()), start(summed::cache()));
    assert_eq!(counted(7).await, 8);
    assert_eq!(counted(7).await, 8);
    assert!(counted::invalidate(&7));
    assert_eq!(summed(3, true).await, 3);
    assert!(summed::invalidate(&3));
}
