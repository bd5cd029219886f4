//! Recognises connection strings in the wrong place.

/// Returns whether a text looks like a connection string, or a part of one that may be a password. Check it before you print a
/// value that a user may have put in the wrong place.
#[must_use]
pub fn resembles(text: &str) -> bool {
    let is_set = |rest: &str| rest.trim_start().starts_with('=');
    text.contains("://")
        || text
            .split_once(':')
            .is_some_and(|(_, rest)| rest.contains('@'))
        || text
            .to_ascii_lowercase()
            .split("password")
            .skip(1)
            .any(is_set)
}

#[cfg(test)]
mod tests {
    use super::resembles;

    #[test]
    fn connection_strings_and_passwords_are_recognised_and_names_are_not() {
        for text in [
            "host=db password = secret",
            "PGPASSWORD=secret",
            "app:secret@db/shop",
            "postgresql://db/shop",
        ] {
            assert!(resembles(text), "{text}");
        }
        assert!(!resembles("shop.orders"));
    }
}
