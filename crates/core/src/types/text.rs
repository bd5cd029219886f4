//! Parses the text that PostgreSQL writes for dates, bytes, arrays and composites. Functions return `None` for a text of another
//! form.

use std::borrow::Cow;
use std::iter::Peekable;
use std::str::CharIndices;

use super::{Fields, Type};

/// The maximum number of dimensions of an array in PostgreSQL.
const MAX_DIMENSIONS: usize = 6;

/// An element of an array, or a field of a composite.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    Null,
    Text(Cow<'a, str>),
    List(Vec<Part<'a>>),
}

/// Converts the text of a date or a time to ISO 8601. Returns other texts, such as `infinity`, unchanged.
pub(super) fn iso<'a>(of: &Type, text: &'a str) -> Cow<'a, str> {
    let converted = match of {
        Type::Date => date(text),
        Type::Timestamp | Type::TimestampTz => timestamp(text),
        Type::TimeTz => time(text),
        _ => None,
    };
    converted.map_or(Cow::Borrowed(text), Cow::Owned)
}

fn date(text: &str) -> Option<String> {
    let (date, is_bc) = era(text);
    let (year, rest) = date.split_once('-')?;
    let year: i64 = year.parse().ok()?;
    let year = if is_bc { 1 - year } else { year };
    // ISO 8601 allows years of more than four digits with a sign, if both sides agree on the number of digits.
    Some(match year {
        0..=9_999 => format!("{year:04}-{rest}"),
        _ => format!("{year:+07}-{rest}"),
    })
}

fn timestamp(text: &str) -> Option<String> {
    let (text, is_bc) = era(text);
    let (day, rest) = text.split_once(' ')?;
    let day = match is_bc {
        true => date(&format!("{day} BC"))?,
        false => date(day)?,
    };
    let time = time(rest);
    Some(format!("{day}T{}", time.as_deref().unwrap_or(rest)))
}

/// Appends the minutes of the offset if they are missing. `None` if there is no offset.
fn time(text: &str) -> Option<String> {
    let sign = text.find(['+', '-'])?;
    let minutes = if text[sign..].contains(':') {
        ""
    } else {
        ":00"
    };
    Some(format!("{text}{minutes}"))
}

fn era(text: &str) -> (&str, bool) {
    match text.strip_suffix(" BC") {
        Some(text) => (text, true),
        None => (text, false),
    }
}

/// Parses bytes: `\x` and hexadecimal digits.
pub(super) fn bytes(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("\\x")?.as_bytes();
    let digit = |digit: u8| char::from(digit).to_digit(16).map(|digit| digit as u8);
    let (pairs, rest) = digits.as_chunks::<2>();
    let byte = |[high, low]: &[u8; 2]| Some(digit(*high)? << 4 | digit(*low)?);
    rest.is_empty()
        .then(|| pairs.iter().map(byte).collect())
        .flatten()
}

/// Parses an array: `{1,NULL,"a b"}`, or with bounds `[0:2]={…}`.
pub(super) fn array(text: &str, delimiter: char) -> Option<Vec<Part<'_>>> {
    let text = match text.starts_with('[') {
        true => text.split_once('=')?.1,
        false => text,
    };
    let mut reader = Reader::of(text);
    reader.expect('{')?;
    let list = reader.list(delimiter, MAX_DIMENSIONS)?;
    reader.is_at_end().then_some(list)
}

/// Parses a composite: `(1,,"a b")`. Also returns `None` if the number of fields differs from `fields`.
pub(super) fn composite<'a>(text: &'a str, fields: &Fields) -> Option<Vec<Part<'a>>> {
    let mut reader = Reader::of(text);
    reader.expect('(')?;
    let mut parts = Vec::with_capacity(fields.0.len());
    if fields.0.is_empty() {
        reader.expect(')')?;
        return reader.is_at_end().then_some(parts);
    }
    loop {
        parts.push(reader.field()?);
        match reader.next()? {
            ',' => {}
            ')' => break,
            _ => return None,
        }
    }
    (reader.is_at_end() && parts.len() == fields.0.len()).then_some(parts)
}

struct Reader<'a> {
    text: &'a str,
    chars: Peekable<CharIndices<'a>>,
}

impl<'a> Reader<'a> {
    fn of(text: &'a str) -> Self {
        let chars = text.char_indices().peekable();
        Self { text, chars }
    }

    fn next(&mut self) -> Option<char> {
        self.chars.next().map(|(_, found)| found)
    }

    fn peek(&mut self) -> Option<char> {
        self.chars.peek().map(|(_, found)| *found)
    }

    fn place(&mut self) -> usize {
        self.chars
            .peek()
            .map_or(self.text.len(), |(place, _)| *place)
    }

    fn expect(&mut self, expected: char) -> Option<()> {
        (self.next()? == expected).then_some(())
    }

    fn is_at_end(&mut self) -> bool {
        self.peek().is_none()
    }

    /// Reads the elements after an opening brace, up to and including the closing one.
    fn list(&mut self, delimiter: char, dimensions: usize) -> Option<Vec<Part<'a>>> {
        let mut parts = Vec::new();
        if self.peek()? == '}' {
            self.next();
            return Some(parts);
        }
        loop {
            let part = match self.peek()? {
                '{' if dimensions > 1 => {
                    self.next();
                    Part::List(self.list(delimiter, dimensions - 1)?)
                }
                '{' => return None,
                '"' => {
                    self.next();
                    Part::Text(self.quoted(String::new())?.into())
                }
                _ => match self.until(&[delimiter, '}'])? {
                    "" => return None,
                    "NULL" => Part::Null,
                    text => Part::Text(text.into()),
                },
            };
            parts.push(part);
            match self.next()? {
                '}' => return Some(parts),
                found if found == delimiter => {}
                _ => return None,
            }
        }
    }

    /// Reads an unquoted text up to one of `ends`.
    fn until(&mut self, ends: &[char]) -> Option<&'a str> {
        let start = self.place();
        loop {
            let found = self.peek()?;
            if ends.contains(&found) {
                let end = self.place();
                return self.text.get(start..end);
            }
            if matches!(found, '"' | '\\') {
                return None;
            }
            self.next();
        }
    }

    /// Reads a quoted text after its opening quote, and appends it to `text`.
    fn quoted(&mut self, mut text: String) -> Option<String> {
        loop {
            match self.next()? {
                '\\' => text.push(self.next()?),
                // Composites write a quote as two.
                '"' if self.peek() == Some('"') => {
                    self.next();
                    text.push('"');
                }
                '"' => return Some(text),
                found => text.push(found),
            }
        }
    }

    /// Reads a field of a composite. An empty field is null.
    fn field(&mut self) -> Option<Part<'a>> {
        match self.peek()? {
            '"' => {
                self.next();
                Some(Part::Text(self.quoted(String::new())?.into()))
            }
            _ => Some(match self.until(&[',', ')'])? {
                "" => Part::Null,
                text => Part::Text(text.into()),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Part, array, bytes, composite, iso};
    use crate::types::{Fields, Type};

    fn text(text: &str) -> Part<'_> {
        Part::Text(text.into())
    }

    #[test]
    fn arrays_are_read_with_their_quotes_nulls_bounds_and_dimensions() {
        let read = |of| array(of, ',');
        assert_eq!(read("{}"), Some(vec![]));
        assert_eq!(read("[0:1]={1,NULL}"), Some(vec![text("1"), Part::Null]));
        assert_eq!(
            read(r#"{"a,b","NULL","\"\\{}",c d}"#),
            Some(vec![text("a,b"), text("NULL"), text("\"\\{}"), text("c d")])
        );
        let nested = |parts| Part::List(parts);
        assert_eq!(
            read("{{1,2},{3,NULL}}"),
            Some(vec![
                nested(vec![text("1"), text("2")]),
                nested(vec![text("3"), Part::Null])
            ])
        );
        let boxes = array("{(1,1),(0,0);(2,2),(0,0)}", ';').unwrap();
        assert_eq!(boxes, [text("(1,1),(0,0)"), text("(2,2),(0,0)")]);
        for bad in [
            "",
            "{",
            "{1",
            "{1}}",
            "{1,}",
            "1,2",
            "{\"a}",
            "{{{{{{{1}}}}}}}",
            "[0:1]{1}",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn composites_are_read_if_their_number_of_fields_fits_the_type() {
        let fields = |count: usize| (0..count).map(|n| (n.to_string().into(), Type::Text));
        let read = |of, count| composite(of, &fields(count).collect::<Fields>());
        assert_eq!(
            read(r#"(1,,"a ""b"" \\ c,)","")"#, 4),
            Some(vec![
                text("1"),
                Part::Null,
                text(r#"a "b" \ c,)"#),
                text("")
            ])
        );
        assert_eq!(read("()", 0), Some(vec![]));
        assert_eq!(read("()", 1), Some(vec![Part::Null]));
        for (bad, count) in [
            ("(1,2)", 1),
            ("(1)", 2),
            ("(1", 1),
            ("1", 1),
            ("(1))", 1),
            ("", 0),
        ] {
            assert_eq!(read(bad, count), None, "{bad}");
        }
    }

    #[test]
    fn dates_and_times_are_converted_to_iso_8601() {
        for (of, text, expected) in [
            (Type::Date, "2026-11-29", "2026-11-29"),
            (Type::Date, "0044-03-15 BC", "-000043-03-15"),
            (Type::Date, "0001-01-01 BC", "0000-01-01"),
            (Type::Date, "12026-11-29", "+012026-11-29"),
            (Type::Date, "infinity", "infinity"),
            (Type::Date, "-infinity", "-infinity"),
            (
                Type::Timestamp,
                "2026-11-29 01:02:03.5",
                "2026-11-29T01:02:03.5",
            ),
            (
                Type::Timestamp,
                "0044-03-15 01:02:03 BC",
                "-000043-03-15T01:02:03",
            ),
            (
                Type::TimestampTz,
                "2026-11-29 01:02:03.5+00",
                "2026-11-29T01:02:03.5+00:00",
            ),
            (
                Type::TimestampTz,
                "0044-03-15 01:02:03+00 BC",
                "-000043-03-15T01:02:03+00:00",
            ),
            (Type::TimestampTz, "-infinity", "-infinity"),
            (Type::TimeTz, "01:02:03-08", "01:02:03-08:00"),
            (Type::TimeTz, "01:02:03+05:30", "01:02:03+05:30"),
        ] {
            assert_eq!(iso(&of, text), expected, "{of:?}");
        }
    }

    #[test]
    fn bytes_are_pairs_of_hexadecimal_digits() {
        assert_eq!(bytes("\\x00fF"), Some(vec![0, 255]));
        assert_eq!(bytes("\\x"), Some(vec![]));
        for bad in ["", "00", "\\x0", "\\xzz", "\\xé"] {
            assert_eq!(bytes(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parsers_panic(text in r#"[\[\](){},"\\=:;a1é -]{0,40}"#) {
            let fields: Fields = [("a".into(), Type::Text), ("b".into(), Type::Text)].into_iter().collect();
            let _ = array(&text, ',');
            let _ = composite(&text, &fields);
            let _ = bytes(&text);
            for of in [Type::Date, Type::Timestamp, Type::TimestampTz, Type::TimeTz] {
                let _ = iso(&of, &text);
            }
        }
    }
}
