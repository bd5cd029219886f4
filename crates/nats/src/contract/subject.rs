//! Subjects, and the encoding of table names as tokens.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use pgherald_core::Operation;

use super::Prefix;

/// The characters that are escaped: all but ASCII letters, digits, `_` and `-`.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'_').remove(b'-');
/// The token of an empty or absent name. No other name is escaped to it.
const EMPTY: &str = "%";
/// The last token of announcements.
const CONTROL: &str = "$control";

/// The subject of a stored message, without its prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject<'a> {
    /// An event.
    Event(EventSubject<'a>),
    /// An announcement about the slice.
    Control {
        /// The slice.
        slice: u16,
    },
}

/// The subject of an event: `PREFIX.SLICE.SCHEMA.TABLE.OPERATION`.
///
/// A name becomes a token by percent-encoding each byte of its UTF-8 that is not an ASCII letter, a digit, `_` or `-`. An empty name
/// becomes `%`.
///
/// ```
/// use pgherald_core::Operation;
/// use pgherald_nats::contract::{EventSubject, Prefix, Subject};
///
/// let prefix = Prefix::default();
/// let subject = EventSubject::new(7, "public", "order.items", Operation::Insert);
/// let text = subject.with(&prefix);
/// assert_eq!(text, "pg.7.public.order%2Eitems.insert");
/// assert_eq!(Subject::parse(&prefix, &text), Some(Subject::Event(subject)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventSubject<'a> {
    /// The slice of the row.
    pub slice: u16,
    /// The schema of the table. Empty if it is unknown.
    pub schema: Cow<'a, str>,
    /// The name of the table.
    pub table: Cow<'a, str>,
    /// The operation.
    pub operation: Operation,
}

impl<'a> EventSubject<'a> {
    /// Makes the subject of an event.
    pub fn new(
        slice: u16,
        schema: impl Into<Cow<'a, str>>,
        table: impl Into<Cow<'a, str>>,
        operation: Operation,
    ) -> Self {
        let (schema, table) = (schema.into(), table.into());
        Self {
            slice,
            schema,
            table,
            operation,
        }
    }

    /// Returns the whole subject.
    #[must_use]
    pub fn with(&self, prefix: &Prefix) -> String {
        let Self {
            slice,
            schema,
            table,
            operation,
        } = self;
        format!(
            "{prefix}.{slice}.{}.{}.{operation}",
            escape(schema),
            escape(table)
        )
    }
}

impl<'a> Subject<'a> {
    /// Parses a subject with this prefix. Returns `None` for other subjects.
    #[must_use]
    pub fn parse(prefix: &Prefix, subject: &'a str) -> Option<Self> {
        let rest = subject.strip_prefix(prefix.as_str())?.strip_prefix('.')?;
        let (slice, rest) = rest.split_once('.')?;
        let slice = slice
            .parse()
            .ok()
            .filter(|number: &u16| number.to_string() == slice)?;
        if rest == CONTROL {
            return Some(Self::Control { slice });
        }
        let mut tokens = rest.split('.');
        let (schema, table, operation) = (
            unescape(tokens.next()?)?,
            unescape(tokens.next()?)?,
            tokens.next()?,
        );
        let operation = Operation::ALL
            .into_iter()
            .find(|one| one.as_str() == operation)?;
        let event = EventSubject {
            slice,
            schema,
            table,
            operation,
        };
        tokens.next().is_none().then_some(Self::Event(event))
    }
}

/// Selects the subjects of events, as the filter of a NATS consumer. An absent part is a wildcard.
///
/// ```
/// use pgherald_nats::contract::{Prefix, SubjectFilter};
///
/// let orders = SubjectFilter { schema: Some("public"), table: Some("orders"), ..SubjectFilter::default() };
/// assert_eq!(orders.with(&Prefix::default()), "pg.*.public.orders.*");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubjectFilter<'a> {
    /// The slice.
    pub slice: Option<u16>,
    /// The schema.
    pub schema: Option<&'a str>,
    /// The name of the table.
    pub table: Option<&'a str>,
    /// The operation.
    pub operation: Option<Operation>,
}

impl SubjectFilter<'_> {
    /// Returns the whole filter.
    #[must_use]
    pub fn with(&self, prefix: &Prefix) -> String {
        let any = || "*".to_owned();
        let slice = self.slice.map_or_else(any, |slice| slice.to_string());
        let schema = self
            .schema
            .map_or_else(any, |schema| escape(schema).into_owned());
        let table = self
            .table
            .map_or_else(any, |table| escape(table).into_owned());
        let operation = self.operation.map_or("*", Operation::as_str);
        format!("{prefix}.{slice}.{schema}.{table}.{operation}")
    }
}

/// Escapes a name, so that it is one token.
pub(crate) fn escape(name: &str) -> Cow<'_, str> {
    match name {
        "" => Cow::Borrowed(EMPTY),
        _ => utf8_percent_encode(name, ESCAPED).into(),
    }
}

/// Unescapes a token. Returns `None` if it is empty or not UTF-8.
pub(crate) fn unescape(token: &str) -> Option<Cow<'_, str>> {
    match token {
        "" => None,
        EMPTY => Some(Cow::Borrowed("")),
        _ => percent_decode_str(token).decode_utf8().ok(),
    }
}

#[cfg(test)]
mod tests {
    use pgherald_core::Operation;
    use proptest::prelude::*;

    use super::{EventSubject, Prefix, Subject, SubjectFilter};

    /// Whether a filter of NATS matches a subject.
    fn matches(filter: &str, subject: &str) -> bool {
        let (filter, subject): (Vec<_>, Vec<_>) =
            (filter.split('.').collect(), subject.split('.').collect());
        let same = |(one, other): (&&str, &&str)| *one == "*" || one == other;
        filter.len() == subject.len() && filter.iter().zip(&subject).all(same)
    }

    #[test]
    fn control_subjects_are_parsed_and_foreign_subjects_are_not() {
        let prefix: Prefix = "a.b".parse().unwrap();
        let control = prefix.control(12);
        assert_eq!(
            Subject::parse(&prefix, &control),
            Some(Subject::Control { slice: 12 })
        );
        for foreign in [
            "a.b",
            "a.b.",
            "a.b.1",
            "a.bc.1.s.t.insert",
            "a.b.1.s.t",
            "a.b.x.s.t.insert",
            "a.b.01.s.t.insert",
            "a.b.1.s.t.merge",
            "a.b.1.s.t.insert.more",
            "a.b.1..t.insert",
            "a.b.1.%ff.t.insert",
            "a.b.70000.s.t.insert",
            "a.b.1.$control.x",
        ] {
            assert_eq!(Subject::parse(&prefix, foreign), None, "{foreign}");
        }
    }

    proptest! {
        #[test]
        fn any_name_is_escaped_to_one_token_and_parsed_back(
            slice in any::<u16>(),
            (schema, table) in (".{0,20}", ".{0,20}"),
            operation in prop::sample::select(Operation::ALL.to_vec()),
        ) {
            let prefix = Prefix::default();
            let event = EventSubject::new(slice, &*schema, &*table, operation);
            let subject = event.with(&prefix);
            prop_assert_eq!(subject.split('.').count(), 5);
            prop_assert!(subject.bytes().all(|byte| byte.is_ascii_graphic() && !b"*>".contains(&byte)), "{}", subject);
            prop_assert_eq!(Subject::parse(&prefix, &subject), Some(Subject::Event(event)));
            let filter = SubjectFilter { schema: Some(&schema), table: Some(&table), ..SubjectFilter::default() };
            prop_assert!(matches(&filter.with(&prefix), &subject));
            prop_assert!(matches(&SubjectFilter::default().with(&prefix), &subject));
            let other = SubjectFilter { table: Some("other!"), ..filter };
            prop_assert!(!matches(&other.with(&prefix), &subject));
        }
    }
}
