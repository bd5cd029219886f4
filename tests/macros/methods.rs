//! Cached methods. Their caches are associated functions.

use pgherald::{CacheStats, CachedFn, cached};

use crate::support::{Calls, Refused, User, start};

struct Users {
    domain: &'static str,
    calls: Calls,
}

impl Users {
    #[cached(row_of = User, ignore(self))]
    async fn find(&self, id: i64) -> Result<User, Refused> {
        self.calls.count();
        if id < 0 {
            return Err(Refused(self.domain.into()));
        }
        Ok(Self::made(id, self.domain))
    }

    #[cached(row_of = User, ignore(self), key = user.id, key_type = i64)]
    pub(crate) async fn rename(&self, user: User) -> String {
        self.calls.count();
        format!("{}@{}", user.id, self.domain)
    }

    #[cached(row_of = User)]
    async fn by_self(id: i64) -> String {
        Self::made(id, "self").email
    }

    #[cached(row_of = User, key = id, ignore(other))]
    async fn of_another(other: &Self, id: i64) -> String {
        format!("{id}@{}", other.domain)
    }

    #[cached(row_of = User, associated)]
    async fn without_self(id: i64) -> i64 {
        id + 1
    }

    fn made(id: i64, domain: &str) -> User {
        User {
            id,
            email: format!("{id}@{domain}"),
        }
    }
}

#[actix::test]
async fn a_method_is_cached_by_its_key_and_may_use_self() {
    let users = Users {
        domain: "a.org",
        calls: Calls::new(),
    };
    assert_eq!(users.find(7).await.unwrap().email, "7@a.org");
    assert_eq!(users.find(7).await.unwrap().email, "7@a.org");
    assert_eq!(users.calls.so_far(), 2);

    let _live = start(Users::find_cache());
    for _ in 0..3 {
        assert_eq!(users.find(7).await.unwrap().email, "7@a.org");
    }
    assert_eq!(users.calls.so_far(), 3);
    assert_eq!(users.find(-1).await, Err(Refused("a.org".into())));

    let _: &CachedFn<i64, User> = Users::find_cache();
    assert!(Users::find_cache().invalidate(&7));
    assert!(!Users::find_cache().invalidate(&7));
    users.find(7).await.unwrap();
    Users::find_cache().invalidate_all();
    users.find(7).await.unwrap();
    assert_eq!(users.calls.so_far(), 6);
    let _: CacheStats = Users::find_cache().stats();
}

#[actix::test]
async fn the_key_of_a_method_can_be_an_expression() {
    let users = Users {
        domain: "a.org",
        calls: Calls::new(),
    };
    let _live = start(Users::rename_cache());
    assert_eq!(users.rename(User::new(7)).await, "7@a.org");
    assert_eq!(users.rename(User::new(7)).await, "7@a.org");
    assert_eq!(users.calls.so_far(), 1);
}

#[actix::test]
async fn associated_functions_are_recognised_by_self_or_declared() {
    let users = Users {
        domain: "a.org",
        calls: Calls::new(),
    };
    assert_eq!(Users::of_another(&users, 7).await, "7@a.org");
    assert!(!Users::of_another_cache().invalidate(&7));
    let _live = (
        start(Users::by_self_cache()),
        start(Users::without_self_cache()),
    );
    assert_eq!(Users::by_self(7).await, "7@self");
    assert_eq!(Users::without_self(7).await, 8);
    assert!(Users::by_self_cache().invalidate(&7) && Users::without_self_cache().invalidate(&7));
}

#[cached(table_of = User)]
async fn with_types_of_its_own(id: i64) -> i64 {
    if id > 0 {
        struct Twice(i64);
        impl Twice {
            fn of(id: i64) -> Self {
                Self(id * 2)
            }
        }
        return Twice::of(id).0;
    }
    id
}

#[actix::test]
async fn a_self_type_in_the_body_does_not_make_a_function_a_method() {
    let _live = start(with_types_of_its_own::cache());
    assert_eq!(with_types_of_its_own(7).await, 14);
    assert!(with_types_of_its_own::invalidate(&7));
}

struct Tenant<'a> {
    number: i64,
    domain: &'a str,
}

impl Tenant<'_> {
    #[cached(row_by(User, |key: &(i64, i64)| key.1), key = (self.number, id), key_type = (i64, i64))]
    async fn user(&self, id: i64) -> String {
        format!("{id}@{}", self.domain)
    }
}

#[actix::test]
async fn parts_of_self_may_be_in_the_key_and_impl_blocks_may_have_lifetimes() {
    let _live = start(Tenant::user_cache());
    let (one, other) = (
        Tenant {
            number: 1,
            domain: "a.org",
        },
        Tenant {
            number: 2,
            domain: "b.org",
        },
    );
    assert_eq!(one.user(7).await, "7@a.org");
    assert_eq!(other.user(7).await, "7@b.org");
    assert!(Tenant::user_cache().invalidate(&(1, 7)) && Tenant::user_cache().invalidate(&(2, 7)));
}
