//! Running code that may panic.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `code`; a panic comes back as what it said.
///
/// # Errors
/// The panic's message.
pub fn contained<T>(code: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(code)).map_err(message)
}

/// The message of a caught panic.
pub(crate) fn message(panic: Box<dyn Any + Send>) -> String {
    let message = match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (_, Some(text)) => text.clone(),
        _ => "(not a text)".to_owned(),
    };
    // What was thrown can be a user's value, with a destructor that panics in its turn. What that throws is
    // leaked: there has to be an end to it.
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
    fn whatever_is_thrown_comes_back_as_a_message() {
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
