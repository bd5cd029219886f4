//! A handler's value, shared by its attempts.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

/// Shares a user's value; a panic in its destructor goes no further.
pub(super) struct Instance<H>(Option<Rc<H>>);

impl<H> Instance<H> {
    pub(super) fn new(value: H) -> Self {
        Self(Some(Rc::new(value)))
    }

    pub(super) fn get(&self) -> Option<&H> {
        self.0.as_deref()
    }
}

impl<H> Clone for Instance<H> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<H> Drop for Instance<H> {
    fn drop(&mut self) {
        let value = self.0.take();
        if catch_unwind(AssertUnwindSafe(|| drop(value))).is_err() {
            tracing::error!("the destructor of a handler panicked");
        }
    }
}
