//! Standard output: aligned tables for people, JSON for programs.
//!
//! Names and values are other people's: what would do something to a terminal, begin a line, or turn the direction of
//! writing is shown as what it is, in JSON as well. Only [`Output::sql`] and [`Output::verbatim`] write what they are given.

use std::borrow::Cow;
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::report::aligned;

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

    /// Draws the lines from the upper left corner of the terminal on, and leaves nothing else there.
    pub(crate) fn draw(&mut self, lines: &[Text]) -> io::Result<()> {
        self.to.write_all(b"\x1b[H")?;
        for (place, line) in lines.iter().enumerate() {
            // A line's end in the last line would move the others up.
            let end = if place > 0 { "\n" } else { "" };
            write!(self.to, "{end}{}\x1b[K", line.0)?;
        }
        self.to.write_all(b"\x1b[J")
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

/// One line of text that does nothing to a terminal but colour it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Text(String);

impl Text {
    /// This, and behind it `more`.
    pub(crate) fn then(self, more: &str) -> Self {
        Self(self.0 + &visible(more))
    }

    pub(crate) fn followed_by(self, more: &Self) -> Self {
        Self(self.0 + &more.0)
    }

    /// With the codes of its colours.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn trimmed(self) -> Self {
        Self(self.0.trim_end().to_owned())
    }

    /// The columns of a terminal that it takes.
    pub(crate) fn width(&self) -> usize {
        self.pieces()
            .filter(|(_, is_code)| !is_code)
            .map(|(piece, _)| piece.width())
            .sum()
    }

    /// With blanks behind it, up to `width` columns, shortened to them if it has more; and then `gap` blanks.
    pub(crate) fn padded(&self, width: usize, gap: usize) -> Self {
        let text = self.shortened(width);
        let blanks = width.saturating_sub(text.width()) + gap;
        Self(format!("{}{:blanks$}", text.0, ""))
    }

    /// At most `width` columns of it, with an ellipsis at the end if that is not all.
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
                // The colour ends where it is to end.
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

    /// Its pieces in their order; codes of colours are pieces of their own. (No other text has an escape character.)
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
