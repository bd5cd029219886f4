//! Standard output: aligned tables for people, JSON for programs.
//!
//! Names and values come from the database and are not trusted. Characters that would control a terminal, end a line, or change
//! the direction of writing are escaped, in JSON as well. Only [`Output::sql`] and [`Output::verbatim`] write text unchanged.

use std::borrow::Cow;
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};
use unicode_width::UnicodeWidthStr;

use crate::text::{Text, escaped, is_hidden};

/// The number of blanks between two columns.
const GAP: usize = 2;

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
        writeln!(self.to, "{}", text.into().as_str())
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
            write!(self.to, "{end}{}\x1b[K", line.as_str())?;
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
        let code = match tone {
            _ if !self.colours => return Text::from(text),
            Tone::Good => 32,
            Tone::Warning => 33,
            Tone::Bad => 31,
            Tone::Quiet => 2,
        };
        Text::coloured(text, code)
    }

    /// Writes a table with `headings`. Each column is as wide as its widest cell.
    pub(crate) fn table<C>(&mut self, headings: &[&str], rows: &[Vec<C>]) -> io::Result<()>
    where
        for<'a> &'a C: Into<Text>,
    {
        let texts = rows.iter().map(|row| row.iter().map(Into::into).collect());
        let texts: Vec<Vec<Text>> = texts.collect();
        for line in self.aligned(headings, &texts, texts.len(), usize::MAX) {
            self.line(&line)?;
        }
        Ok(())
    }

    /// Returns the headings and the first `shown` rows as lines. Columns are as wide as their widest cells, and are narrowed to fit
    /// into `width`, but not below their headings.
    pub(crate) fn aligned(
        &self,
        headings: &[&str],
        rows: &[Vec<Text>],
        shown: usize,
        width: usize,
    ) -> Vec<Text> {
        let rows = &rows[..shown.min(rows.len())];
        let natural = |(column, heading): (usize, &&str)| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            let widest = cells.map(Text::width).max().unwrap_or(0);
            widest.max(heading.width())
        };
        let mut widths: Vec<_> = headings.iter().enumerate().map(natural).collect();
        let total =
            |widths: &[usize]| widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1);
        while total(&widths) > width {
            // Narrow the widest column that is wider than its heading.
            let columns = widths.iter_mut().zip(headings);
            let shrinkable = columns.filter(|(width, heading)| **width > heading.width());
            let Some((widest, heading)) = shrinkable.max_by_key(|(width, _)| **width) else {
                break;
            };
            *widest = (*widest - 1).max(heading.width());
        }
        let line = |cells: &[Text]| {
            let padded = cells
                .iter()
                .zip(&widths)
                .map(|(cell, width)| cell.padded(*width, GAP));
            let line = padded.fold(Text::default(), |line, cell| line.followed_by(&cell));
            line.trimmed().shortened(width)
        };
        let head: Vec<Text> = headings
            .iter()
            .map(|heading| Text::from(*heading))
            .collect();
        let head = line(&head);
        let head = self.toned(Tone::Quiet, head.as_str());
        std::iter::once(head)
            .chain(rows.iter().map(|row| line(row)))
            .collect()
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
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

    use super::{Escaping, Serializer, Text};
    use crate::text::visible;

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
            Text::of_codes("\u{1b}[31mx\u{1b}[0m")
                .then("\u{1b}")
                .as_str(),
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
