//! A handler's value, shared by its attempts.

use std::rc::Rc;

use pgherald_core::handler::contained;

/// Shares a user's value; a panic in its destructor goes no further.
pub(super) struct Instance<H>(Option<Rc<H>>);

impl<H> Instance<H> {
    pub(super) fn new(value: H) -> Self {
        Self(Some(Rc::new(value)))
    }

    /// Whether both share one value.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.0
            .as_ref()
            .zip(other.0.as_ref())
            .is_some_and(|(one, other)| Rc::ptr_eq(one, other))
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
        if let Err(message) = contained(|| drop(value)) {
            tracing::error!(message, "the destructor of a handler panicked");
        }
    }
}
