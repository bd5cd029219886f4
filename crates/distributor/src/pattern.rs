//! Patterns of names: `*` stands for any text, all other characters for themselves.

/// A list of patterns. A name is allowed if one of them matches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Patterns(Vec<String>);

impl Patterns {
    pub(crate) fn new(patterns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self(patterns.into_iter().map(Into::into).collect())
    }

    pub(crate) fn allow(&self, name: &str) -> bool {
        self.0.iter().any(|pattern| matches(pattern, name))
    }
}

/// Whether a name matches a pattern.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|start| name.strip_prefix(start)) else {
        return false;
    };
    let Some(end) = parts.next_back() else {
        // There is no `*`.
        return rest.is_empty();
    };
    for part in parts {
        let Some((_, after)) = rest.split_once(part) else {
            return false;
        };
        rest = after;
    }
    rest.ends_with(end)
}

#[cfg(test)]
mod tests {
    use super::{Patterns, matches};

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, name) in [
            ("", ""),
            ("*", ""),
            ("*", "a'b"),
            ("a", "a"),
            ("a*", "a"),
            ("a*", "abc"),
            ("*c", "abc"),
            ("a*c", "abcbc"),
            ("a*b*c", "a1b2c"),
            ("*ü*", "aüb"),
            ("**", "x"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("", "a"),
            ("a", "ab"),
            ("a", "ba"),
            ("a*", "ba"),
            ("*c", "cb"),
            ("a*a", "a"),
            ("ab*ba", "aba"),
            ("a*b*c", "acb"),
            ("a?", "ab"),
        ] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
        assert!(!Patterns::default().allow("a"));
        assert!(Patterns::new(["a", "b*"]).allow("bc"));
    }
}
