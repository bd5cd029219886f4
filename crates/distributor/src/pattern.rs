//! Patterns of names: `*` stands for any text, all other characters for themselves.

use pgherald_core::__private::host::errors;
use pgherald_core::Result;

/// The pattern of every name.
const ANY: &str = "*";

/// A pattern for the schema of a table and one for its name. The two are compared separately, because names may have dots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TablePattern {
    schema: String,
    name: String,
}

impl TablePattern {
    /// Parses a pattern such as `public.users`, `public.*` or `*`.
    ///
    /// # Errors
    /// If it is neither `*` nor has a dot between schema and name.
    pub fn parse(pattern: &str) -> Result<Self> {
        let of = |schema: &str, name: &str| Self {
            schema: schema.to_owned(),
            name: name.to_owned(),
        };
        match pattern.split_once('.') {
            Some((schema, name)) if !schema.is_empty() && !name.is_empty() => Ok(of(schema, name)),
            None if pattern == ANY => Ok(Self::any()),
            _ => Err(errors::bad_access(format!(
                "the pattern {pattern:?} of a table has no schema and name; write it as \"public.users\", \"public.*\" or \"*\""
            ))),
        }
    }

    /// Returns the pattern of every table.
    pub(crate) fn any() -> Self {
        Self {
            schema: ANY.to_owned(),
            name: ANY.to_owned(),
        }
    }

    /// Whether the pattern matches a table. A table whose schema is not known needs a pattern of any schema.
    #[must_use]
    pub fn matches(&self, schema: Option<&str>, name: &str) -> bool {
        matches(&self.name, name)
            && match schema {
                Some(schema) => matches(&self.schema, schema),
                None => self.schema == ANY,
            }
    }

    /// Whether the pattern matches a table of this name in any schema.
    pub(crate) fn matches_name(&self, name: &str) -> bool {
        matches(&self.name, name)
    }

    pub(crate) fn is_any(&self) -> bool {
        self.schema == ANY && self.name == ANY
    }

    /// Returns the schema and the name if they are the only ones that match.
    pub(crate) fn exact(&self) -> Option<(&str, &str)> {
        let is_exact = !self.schema.contains(ANY) && !self.name.contains(ANY);
        is_exact.then_some((&self.schema, &self.name))
    }
}

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
fn matches(pattern: &str, name: &str) -> bool {
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
