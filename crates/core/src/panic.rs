//! Runs code that may panic.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `code` and catches a panic.
///
/// # Errors
/// Returns the panic's message.
pub fn contained<T>(code: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(code)).map_err(message)
}

/// Returns the message of a caught panic.
pub(crate) fn message(panic: Box<dyn Any + Send>) -> String {
    let message = match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (_, Some(text)) => text.clone(),
        _ => "(not a text)".to_owned(),
    };
    // The payload may be a value of the user whose destructor panics in turn. Leak the payload of that second panic, because
    // its destructor may panic as well.
    if let Err(another) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        std::mem::forget(another);
    }
    message
}

#[cfg(test)]
mod tests {
    use super::contained;

    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            std::panic::panic_any(Bomb);
        }
    }

    #[test]
    fn panics_with_any_payload_are_returned_as_messages() {
        assert_eq!(contained(|| 7), Ok(7));
        assert_eq!(
            contained(|| panic!("text")),
            Err::<(), _>("text".to_owned())
        );
        assert_eq!(contained(|| panic!("{}", 7)), Err::<(), _>("7".to_owned()));
        let thrown = contained(|| std::panic::panic_any(Bomb));
        assert_eq!(thrown, Err::<(), _>("(not a text)".to_owned()));
    }
}
