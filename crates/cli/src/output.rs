//! Standard output: aligned tables for people, JSON for programs.
//!
//! Names and values are other people's: what would do something to a terminal, begin a line, or turn the direction of
//! writing is shown as what it is, in JSON as well. Only [`Output::sql`] and [`Output::verbatim`] write what they are given.

use std::borrow::Cow;
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

/// Where commands write to. Buffered: [`flush`](Self::flush) before waiting for anything.
#[derive(Debug)]
pub(crate) struct Output {
    to: BufWriter<Stdout>,
    json: bool,
    colours: bool,
}

/// What a word means to whoever reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Good,
    Warning,
    Bad,
    Quiet,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        let stdout = io::stdout();
        // See no-color.org.
        let colours = !json
            && stdout.is_terminal()
            && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self {
            to: BufWriter::with_capacity(1 << 16, stdout),
            json,
            colours,
        }
    }

    /// Whether JSON is wanted.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether somebody looks at it as it comes.
    pub(crate) fn is_terminal(&self) -> bool {
        self.to.get_ref().is_terminal()
    }

    /// One line, whatever the text holds.
    pub(crate) fn line(&mut self, text: impl Into<Text>) -> io::Result<()> {
        writeln!(self.to, "{}", text.into().0)
    }

    /// SQL that the library made. On a terminal, what its names would do to that is shown instead.
    pub(crate) fn sql(&mut self, sql: &str) -> io::Result<()> {
        let sql = match self.is_terminal() {
            true => escaped(sql, |c| !"\n\t".contains(c) && is_hidden(c)),
            false => Cow::Borrowed(sql),
        };
        writeln!(self.to, "{sql}")
    }

    /// As it is: for what holds nothing of others.
    pub(crate) fn verbatim(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.to, "{text}")
    }

    /// Empties the terminal.
    pub(crate) fn clear(&mut self) -> io::Result<()> {
        // To the upper left corner, and nothing left below or above it.
        self.verbatim("\u{1b}[H\u{1b}[2J\u{1b}[3J")
    }

    /// One object on a line of its own.
    pub(crate) fn object(&mut self, value: &impl Serialize) -> io::Result<()> {
        value.serialize(&mut Serializer::with_formatter(&mut self.to, Escaping))?;
        self.to.write_all(b"\n")
    }

    /// `text` in the colour of `tone`, where there are colours.
    pub(crate) fn toned(&self, tone: Tone, text: &str) -> Text {
        let text = visible(text);
        let code = match tone {
            _ if !self.colours => return Text(text.into_owned()),
            Tone::Good => 32,
            Tone::Warning => 33,
            Tone::Bad => 31,
            Tone::Quiet => 2,
        };
        Text(format!("\u{1b}[{code}m{text}\u{1b}[0m"))
    }

    /// Columns as wide as what is in them, under `headings`.
    pub(crate) fn table<C>(&mut self, headings: &[&str], rows: &[Vec<C>]) -> io::Result<()>
    where
        for<'a> &'a C: Into<Text>,
    {
        let shown = rows
            .iter()
            .map(|row| row.iter().map(|cell| cell.into().0).collect());
        let rows: Vec<Vec<String>> = shown.collect();
        let width = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            let widest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
            widest.max(headings[column].chars().count())
        };
        let widths: Vec<_> = (0..headings.len()).map(width).collect();
        let aligned = |cells: &mut dyn Iterator<Item = &str>| {
            let padded = cells
                .zip(&widths)
                .map(|(cell, width)| format!("{cell:<width$}"));
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        let head = aligned(&mut headings.iter().copied());
        let head = self.toned(Tone::Quiet, &head);
        self.line(head)?;
        for row in rows {
            self.verbatim(&aligned(&mut row.iter().map(AsRef::as_ref)))?;
        }
        Ok(())
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// One line of text that does nothing to a terminal but colour it.
#[derive(Clone, Debug)]
pub(crate) struct Text(String);

impl Text {
    /// This, and behind it `more`.
    pub(crate) fn then(self, more: &str) -> Self {
        Self(self.0 + &visible(more))
    }
}

impl<T: AsRef<str> + ?Sized> From<&T> for Text {
    fn from(text: &T) -> Self {
        Self(visible(text.as_ref()).into_owned())
    }
}

impl From<&Text> for Text {
    fn from(text: &Text) -> Self {
        text.clone()
    }
}

/// `text` as one line in which nothing is hidden.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    escaped(text, is_hidden)
}

/// `text` with the characters that `is_hidden` escaped.
fn escaped(text: &str, is_hidden: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match is_hidden(c) {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
    }
    Cow::Owned(shown)
}

/// Whether a character does something instead of being seen: controls, ends of lines, those that turn the direction of
/// writing, and what is not shown at all (`Default_Ignorable_Code_Point` of Unicode's DerivedCoreProperties, but for
/// the selectors of variants, which text with emoji has).
pub(crate) fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
                | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}'
                | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}'
        )
}

/// JSON in which nothing is hidden.
struct Escaping;

impl Formatter for Escaping {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        to: &mut W,
        text: &str,
    ) -> io::Result<()> {
        let mut rest = text;
        while let Some(place) = rest.find(is_hidden) {
            let (before, hidden) = rest.split_at(place);
            to.write_all(before.as_bytes())?;
            let mut characters = hidden.chars();
            let mut units = [0; 2];
            let hidden = characters.next().unwrap_or_default();
            for unit in hidden.encode_utf16(&mut units) {
                write!(to, "\\u{unit:04x}")?;
            }
            rest = characters.as_str();
        }
        to.write_all(rest.as_bytes())
    }

    /// JSON of others, in which such characters stand in strings only.
    fn write_raw_fragment<W: ?Sized + Write>(&mut self, to: &mut W, json: &str) -> io::Result<()> {
        let shown = json.replace(|c: char| c.is_ascii_control() && c != '\u{7f}', " ");
        self.write_string_fragment(to, &shown)
    }
}

#[cfg(test)]
mod tests {
    use serde::Serialize;
    use serde_json::value::RawValue;

    use super::{Escaping, Serializer, Text, visible};

    #[test]
    fn what_would_do_something_to_a_terminal_is_shown() {
        assert_eq!(visible("a\tb\nc"), "a\\tb\\nc");
        assert_eq!(visible("\u{1b}]0;x\u{7}é"), "\\u{1b}]0;x\\u{7}é");
        assert_eq!(
            visible("\u{1b}[31m\u{9b}\u{7f}"),
            "\\u{1b}[31m\\u{9b}\\u{7f}"
        );
        assert_eq!(
            visible("\u{202e}\u{2066}\u{2028}\u{61c}"),
            "\\u{202e}\\u{2066}\\u{2028}\\u{61c}"
        );
        assert_eq!(
            visible("a\u{200b}\u{feff}\u{ad}\u{e0041} 👍\u{fe0f}"),
            "a\\u{200b}\\u{feff}\\u{ad}\\u{e0041} 👍\u{fe0f}"
        );
        assert_eq!(
            Text("\u{1b}[31mx\u{1b}[0m".to_owned()).then("\u{1b}").0,
            "\u{1b}[31mx\u{1b}[0m\\u{1b}"
        );
    }

    #[test]
    fn json_hides_nothing_and_means_the_same() {
        let text = "\n\u{1b}é\u{7f}\u{9b}\u{202e}\u{2029}\u{200b}\u{e0041}x\"";
        let raw = RawValue::from_string("[\n \"\u{9b}\u{2066}\"]".to_owned()).unwrap();
        let mut json = Vec::new();
        (text, raw)
            .serialize(&mut Serializer::with_formatter(&mut json, Escaping))
            .unwrap();
        let json = String::from_utf8(json).unwrap();
        assert_eq!(
            json,
            r#"["\n\u001bé\u007f\u009b\u202e\u2029\u200b\udb40\udc41x\"",[  "\u009b\u2066"]]"#
        );
        let read: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(read[0], text);
        assert_eq!(read[1][0], "\u{9b}\u{2066}");
    }
}
