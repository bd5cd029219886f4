//! Which return values are cached.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use pgherald::{Event, Operation, cached};

use crate::support::{Calls, Refused, User, start};

#[actix::test]
async fn a_hit_does_not_run_the_body() {
    static CALLS: Calls = Calls::new();

    #[cached(row_of = User)]
    async fn user(id: i64) -> Result<User, Refused> {
        CALLS.count();
        Ok(User::new(id))
    }

    let _live = start(user::cache());
    assert_eq!(user(7).await.unwrap(), User::new(7));
    assert_eq!(user(7).await.unwrap(), User::new(7));
    assert_eq!(CALLS.so_far(), 1);
    assert_eq!(user(8).await.unwrap(), User::new(8));
    assert_eq!(CALLS.so_far(), 2);
}

#[actix::test]
async fn every_call_runs_the_body_without_a_running_herald() {
    static CALLS: Calls = Calls::new();

    #[cached(row_of = User)]
    async fn user(id: i64) -> User {
        CALLS.count();
        User::new(id)
    }

    assert_eq!(user(7).await, user(7).await);
    assert_eq!(CALLS.so_far(), 2);
}

#[actix::test]
async fn errors_reach_the_caller_and_are_not_cached() {
    static CALLS: Calls = Calls::new();

    #[cached(table_of = User)]
    async fn second_time(id: i64) -> Result<i64, Refused> {
        if CALLS.count() == 1 {
            return Err(Refused(format!("no {id}")));
        }
        Ok(id)
    }

    let _live = start(second_time::cache());
    assert_eq!(second_time(7).await, Err(Refused("no 7".into())));
    assert_eq!(second_time(7).await, Ok(7));
    assert_eq!(second_time(7).await, Ok(7));
    assert_eq!(CALLS.so_far(), 2);
}

#[actix::test]
async fn errors_are_cached_until_an_event_if_a_time_is_given() {
    static CALLS: Calls = Calls::new();
    const TIME: Duration = Duration::from_secs(3_600);

    #[cached(row_of = User, errors_for = TIME)]
    async fn find(id: i64) -> Result<Arc<User>, Refused> {
        Err(Refused(format!("{id}, call {}", CALLS.count())))
    }

    let mut live = start(find::cache());
    let refused = |id, call| Err(Refused(format!("{id}, call {call}")));
    assert_eq!(find(7).await, refused(7, 1));
    assert_eq!(find(7).await, refused(7, 1));
    assert_eq!(find(8).await, refused(8, 2));
    let stats = find::stats();
    assert_eq!(
        (stats.errors, stats.errors_served, stats.entries),
        (2, 1, 0)
    );
    let event = Event::builder("public", "users", Operation::Insert).key(7);
    live.apply(event.build());
    assert_eq!(find(7).await, refused(7, 3));
    assert_eq!(find(8).await, refused(8, 2));
    assert!(!find::invalidate(&7));
    assert_eq!(find(7).await, refused(7, 4));
}

#[actix::test]
async fn none_is_cached_like_any_value() {
    static CALLS: Calls = Calls::new();

    #[cached(row_of = User)]
    async fn find(id: i64) -> Option<User> {
        CALLS.count();
        (id < 8).then(|| User::new(id))
    }

    #[cached(row_of = User)]
    async fn try_find(id: i64) -> Result<Option<User>, Refused> {
        CALLS.count();
        Ok((id < 8).then(|| User::new(id)))
    }

    let _live = (start(find::cache()), start(try_find::cache()));
    assert_eq!(find(8).await, None);
    assert_eq!(find(8).await, None);
    assert_eq!(CALLS.so_far(), 1);
    assert_eq!(try_find(8).await, Ok(None));
    assert_eq!(try_find(8).await, Ok(None));
    assert_eq!(CALLS.so_far(), 2);
}

#[actix::test]
async fn a_value_returned_in_an_arc_is_shared_and_need_not_be_clone() {
    struct Large(i64);

    #[cached(table_of = User)]
    async fn large(id: i64) -> Arc<Large> {
        Arc::new(Large(id))
    }

    #[cached(table_of = User)]
    async fn try_large(id: i64) -> Result<Arc<Large>, Refused> {
        if id < 0 {
            return Err(Refused("negative".into()));
        }
        Ok(Arc::new(Large(id)))
    }

    let _live = (start(large::cache()), start(try_large::cache()));
    let (first, second) = (large(7).await, large(7).await);
    assert!(Arc::ptr_eq(&first, &second));
    assert_eq!(first.0, 7);
    let (first, second) = (try_large(7).await.unwrap(), try_large(7).await.unwrap());
    assert!(Arc::ptr_eq(&first, &second));
    assert_eq!(try_large(-1).await.err(), Some(Refused("negative".into())));
    // The cache holds the value itself, not an Arc of it.
    let held: Option<Arc<Large>> = large::cache().handle().unwrap().get(&7);
    assert_eq!(held.unwrap().0, 7);
}

#[actix::test]
async fn an_arc_of_an_unsized_type_is_a_value() {
    #[cached(table_of = User)]
    async fn text(id: i64) -> Arc<str> {
        id.to_string().into()
    }

    #[cached(table_of = User)]
    async fn list(id: i64) -> Result<Arc<[i64]>, Refused> {
        Ok([id].into())
    }

    let _live = (start(text::cache()), start(list::cache()));
    assert!(Arc::ptr_eq(&text(7).await, &text(7).await));
    assert!(Arc::ptr_eq(
        &list(7).await.unwrap(),
        &list(7).await.unwrap()
    ));
}

#[actix::test]
async fn a_result_behind_an_alias_is_a_result() {
    mod ours {
        pub(super) type Result<T> = std::result::Result<T, super::Refused>;
    }

    static CALLS: Calls = Calls::new();

    #[cached(row_of = User)]
    async fn user(id: i64) -> ours::Result<User> {
        CALLS.count();
        Err(Refused(id.to_string()))
    }

    let _live = start(user::cache());
    assert!(user(7).await.is_err());
    assert!(user(7).await.is_err());
    assert_eq!(CALLS.so_far(), 2);
}

#[actix::test]
async fn a_body_may_use_question_marks_and_return_and_need_not_be_send() {
    #[derive(Clone, Debug, PartialEq)]
    struct Text(String);

    impl From<std::num::ParseIntError> for Text {
        fn from(error: std::num::ParseIntError) -> Self {
            Self(error.to_string())
        }
    }

    #[cached(table_of = User)]
    async fn parsed(text: String, fallback: bool) -> Result<Vec<i64>, Text> {
        let here_only = Rc::new(1);
        tokio::task::yield_now().await;
        if fallback {
            return Ok(Vec::from_iter(text.parse()));
        }
        let number = text.parse::<i64>()? * *here_only;
        Ok(vec![number])
    }

    let _live = start(parsed::cache());
    assert_eq!(parsed("7".into(), false).await, Ok(vec![7]));
    assert_eq!(parsed("x".into(), true).await, Ok(vec![]));
    assert!(parsed("x".into(), false).await.is_err());
}

#[actix::test]
async fn the_return_type_is_known_in_the_body() {
    type Any = Arc<dyn std::error::Error + Send + Sync>;

    #[cached(table_of = User)]
    async fn checked(id: i64) -> Result<i64, Any> {
        if id < 0 {
            return Err(Arc::new(std::fmt::Error));
        }
        Ok(id)
    }

    let _live = start(checked::cache());
    assert!(checked(-1).await.is_err());
    assert_eq!(checked(7).await.ok(), Some(7));
}

#[actix::test]
async fn a_body_that_calls_itself_with_its_own_key_runs_directly() {
    static CALLS: Calls = Calls::new();

    #[cached(table_of = User)]
    async fn nested(id: i64) -> Result<usize, Refused> {
        if CALLS.count() < 3 {
            return Box::pin(nested(id)).await;
        }
        Ok(CALLS.so_far())
    }

    let _live = start(nested::cache());
    assert_eq!(nested(7).await, Ok(3));
    assert_eq!(nested(7).await, Ok(3));
}

#[actix::test]
async fn calls_are_send_if_the_body_is() {
    fn is_send(_: &impl Send) {}

    #[cached(row_of = User)]
    async fn value(id: i64) -> User {
        User::new(id)
    }

    #[cached(row_of = User)]
    async fn result(id: i64) -> Result<User, Refused> {
        Ok(User::new(id))
    }

    is_send(&value(7));
    is_send(&result(7));
}
