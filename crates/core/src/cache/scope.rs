//! Which of several caches a function uses.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// 0 is the process itself, outside of any scope.
pub(super) type ScopeId = u64;

thread_local!(static CURRENT: Cell<ScopeId> = const { Cell::new(0) });

/// The scope of this thread.
pub(super) fn current() -> ScopeId {
    CURRENT.get()
}

/// Gives cached functions caches of their own on this thread, until it is dropped: for tests that run at the same time in one
/// process, each with a herald and a database.
///
/// A function that is started within the scope is cached on this thread only. On other threads it runs as if it had no
/// cache, so a scope cannot make a value wrong. `#[actix::test]`, and `#[tokio::test]` with its default flavor, run all
/// tasks of a test on one thread.
///
/// ```
/// use pgherald_core::cache::CacheScope;
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
    /// It belongs to its thread.
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
        // A thread that is ending may have no scope any more.
        let _ = CURRENT.try_with(|current| current.set(self.outer));
    }
}
