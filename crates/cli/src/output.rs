//! Standard output: aligned tables for people, JSON for programs.
//!
//! Names and values come from the database and are not trusted. Characters that would control a terminal, end a line, or change
//! the direction of writing are escaped, in JSON as well. Only [`Output::sql`] and [`Output::verbatim`] write text unchanged.

use std::borrow::Cow;
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::report::aligned;

/// The standard output of a command. It is buffered: call [`flush`](Self::flush) before waiting for anything.
#[derive(Debug)]
pub(crate) struct Output {
    to: BufWriter<Stdout>,
    json: bool,
    colours: bool,
}

/// How a text is to be read. It determines the colour.
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

    /// Whether the command prints JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether the output is a terminal.
    pub(crate) fn is_terminal(&self) -> bool {
        self.to.get_ref().is_terminal()
    }

    /// Writes one line. Line breaks in the text are escaped.
    pub(crate) fn line(&mut self, text: impl Into<Text>) -> io::Result<()> {
        writeln!(self.to, "{}", text.into().0)
    }

    /// Writes SQL that the library generated. On a terminal, control characters in names are escaped.
    pub(crate) fn sql(&mut self, sql: &str) -> io::Result<()> {
        let sql = match self.is_terminal() {
            true => escaped(sql, |c| !"\n\t".contains(c) && is_hidden(c)),
            false => Cow::Borrowed(sql),
        };
        writeln!(self.to, "{sql}")
    }

    /// Writes a text unchanged. It must not contain names or values from the database.
    pub(crate) fn verbatim(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.to, "{text}")
    }

    /// Clears the terminal and draws the lines from its upper left corner.
    pub(crate) fn draw(&mut self, lines: &[Text]) -> io::Result<()> {
        self.to.write_all(b"\x1b[H")?;
        for (place, line) in lines.iter().enumerate() {
            // A line break after the last line would scroll the terminal.
            let end = if place > 0 { "\n" } else { "" };
            write!(self.to, "{end}{}\x1b[K", line.0)?;
        }
        self.to.write_all(b"\x1b[J")
    }

    /// Writes a value as one line of JSON.
    pub(crate) fn object(&mut self, value: &impl Serialize) -> io::Result<()> {
        value.serialize(&mut Serializer::with_formatter(&mut self.to, Escaping))?;
        self.to.write_all(b"\n")
    }

    /// Returns `text` in the colour of `tone`, if colours are enabled.
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

    /// Writes a table with `headings`. Each column is as wide as its widest cell.
    pub(crate) fn table<C>(&mut self, headings: &[&str], rows: &[Vec<C>]) -> io::Result<()>
    where
        for<'a> &'a C: Into<Text>,
    {
        let texts = rows.iter().map(|row| row.iter().map(Into::into).collect());
        let texts: Vec<Vec<Text>> = texts.collect();
        for line in aligned(self, headings, &texts, texts.len(), usize::MAX) {
            self.line(&line)?;
        }
        Ok(())
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// One line of text. Its only control characters are the codes of colours.
#[derive(Clone, Debug, Default)]
pub(crate) struct Text(String);

impl Text {
    /// Appends `more`, escaped.
    pub(crate) fn then(self, more: &str) -> Self {
        Self(self.0 + &visible(more))
    }

    pub(crate) fn followed_by(self, more: &Self) -> Self {
        Self(self.0 + &more.0)
    }

    /// Returns the text with the codes of its colours.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn trimmed(self) -> Self {
        Self(self.0.trim_end().to_owned())
    }

    /// Returns the number of terminal columns that the text takes.
    pub(crate) fn width(&self) -> usize {
        self.pieces()
            .filter(|(_, is_code)| !is_code)
            .map(|(piece, _)| piece.width())
            .sum()
    }

    /// Pads or shortens the text to `width` columns, and appends `gap` blanks.
    pub(crate) fn padded(&self, width: usize, gap: usize) -> Self {
        let text = self.shortened(width);
        let blanks = width.saturating_sub(text.width()) + gap;
        Self(format!("{}{:blanks$}", text.0, ""))
    }

    /// Shortens the text to `width` columns. A shortened text ends with an ellipsis.
    pub(crate) fn shortened(&self, width: usize) -> Self {
        if self.0.len() <= width || self.width() <= width {
            return self.clone();
        }
        let mut shown = String::with_capacity(self.0.len());
        // For the ellipsis.
        let mut left = width.saturating_sub(1);
        let mut is_full = false;
        for (piece, is_code) in self.pieces() {
            if is_code {
                // Keep all codes, so that the colour is reset at the end.
                shown.push_str(piece);
                continue;
            }
            for c in piece.chars() {
                let columns = c.width().unwrap_or(0);
                if is_full || columns > left {
                    if !is_full && width > 0 {
                        shown.push('…');
                    }
                    is_full = true;
                    break;
                }
                left -= columns;
                shown.push(c);
            }
        }
        Self(shown)
    }

    /// Splits the text into pieces of plain text (`false`) and codes of colours (`true`). Plain text has no escape characters.
    fn pieces(&self) -> impl Iterator<Item = (&str, bool)> {
        self.0.split_inclusive('m').flat_map(|piece| {
            let (text, code) = match piece.find('\u{1b}') {
                Some(place) => piece.split_at(place),
                None => (piece, ""),
            };
            [(text, false), (code, true)]
        })
    }

    #[cfg(test)]
    pub(crate) fn of_codes(text: &str) -> Self {
        Self(text.to_owned())
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

/// Returns `text` with all hidden characters escaped, so it is one line.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    escaped(text, is_hidden)
}

/// Returns `text` with the characters escaped for which `is_hidden` holds.
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

/// Whether a character is not displayed as itself: control characters, line breaks, characters that change the direction of
/// writing, and invisible ones (`Default_Ignorable_Code_Point` of Unicode's DerivedCoreProperties, except variation selectors,
/// which occur in text with emoji).
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

/// Writes JSON with all hidden characters escaped.
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

    /// Writes JSON from the database. Between its strings, control characters are only whitespace, and a blank replaces them.
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
    fn hidden_characters_are_escaped() {
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
    fn json_with_escaped_characters_parses_to_the_same_value() {
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
