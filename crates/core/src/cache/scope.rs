//! Scopes, which give functions separate caches.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// 0 is the scope of the process, outside of any `CacheScope`.
pub(super) type ScopeId = u64;

thread_local!(static CURRENT: Cell<ScopeId> = const { Cell::new(0) });

/// Returns the scope of this thread.
pub(super) fn current() -> ScopeId {
    CURRENT.get()
}

/// Gives cached functions separate caches on this thread until it is dropped. It is for tests that run at the same time
/// in one process, each with a herald and a database.
///
/// A function that is started within the scope is cached on this thread only. On other threads it runs without a cache,
/// so a scope cannot make a value wrong. `#[actix::test]`, and `#[tokio::test]` with its default flavor, run all tasks
/// of a test on one thread.
///
/// ```
/// use pgherald_core::CacheScope;
///
/// # async fn start() {}
/// # async fn test() {
/// let _scope = CacheScope::enter(); // first of all in the test
/// // … start a herald, and call the functions that it caches
/// # start().await;
/// # }
/// ```
#[derive(Debug)]
#[must_use = "the scope ends when it is dropped: keep it in a variable such as `_scope`"]
pub struct CacheScope {
    outer: ScopeId,
    /// A scope belongs to its thread.
    not_send: PhantomData<*const ()>,
}

impl CacheScope {
    /// Begins a new scope. Functions have no cache in it until they are started.
    pub fn enter() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let scope = LAST.fetch_add(1, Relaxed) + 1;
        Self {
            outer: CURRENT.replace(scope),
            not_send: PhantomData,
        }
    }
}

impl Drop for CacheScope {
    fn drop(&mut self) {
        // The thread-local may be destroyed already when a thread ends.
        let _ = CURRENT.try_with(|current| current.set(self.outer));
    }
}
