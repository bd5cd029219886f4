//! The value of a handler: shared by its attempts, and replaced after a panic.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use crate::panic::contained;

/// Makes a handler's value on first use, and a new one after each panic. Attempts that are already running keep the old
/// value.
pub struct Instances<H> {
    factory: Box<dyn Fn() -> H>,
    current: RefCell<Option<Instance<H>>>,
}

impl<H> Instances<H> {
    /// Makes values with `factory`.
    pub fn new(factory: impl Fn() -> H + 'static) -> Self {
        Self {
            factory: Box::new(factory),
            current: RefCell::new(None),
        }
    }

    /// Returns the current value, and makes it if there is none.
    ///
    /// # Errors
    /// Returns the message if the factory panics.
    pub fn get(&self) -> Result<Instance<H>, String> {
        if let Some(current) = &*self.current.borrow() {
            return Ok(current.clone());
        }
        // The factory is user code, so it must not run while `current` is borrowed.
        let made = contained(|| (self.factory)())?;
        let made = Instance(Some(Rc::new(made)));
        let before = self.current.replace(Some(made.clone()));
        drop(before);
        Ok(made)
    }

    /// Drops the value that panicked, unless it was already replaced.
    pub fn replace(&self, broken: &Instance<H>) {
        let is_current = self
            .current
            .borrow()
            .as_ref()
            .is_some_and(|current| current.is(broken));
        if is_current {
            let before = self.current.take();
            drop(before);
        }
    }
}

impl<H> fmt::Debug for Instances<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Instances")
    }
}

/// Shares a value of the user, and contains panics in its destructor.
pub struct Instance<H>(Option<Rc<H>>);

impl<H> Instance<H> {
    fn is(&self, other: &Self) -> bool {
        self.0
            .as_ref()
            .zip(other.0.as_ref())
            .is_some_and(|(one, other)| Rc::ptr_eq(one, other))
    }

    /// Returns the value. `None` only while it is being dropped.
    #[must_use]
    pub fn get(&self) -> Option<&H> {
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

impl<H> fmt::Debug for Instance<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Instance")
    }
}
