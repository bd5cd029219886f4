//! Standard output: aligned tables for people, JSON for programs.

use std::borrow::Cow;
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

use serde::Serialize;

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

    /// Lines, in which what would do something to a terminal is shown instead.
    pub(crate) fn line(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.to, "{}", visible(text, false))
    }

    /// As it is.
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
        serde_json::to_writer(&mut self.to, value)?;
        self.to.write_all(b"\n")
    }

    /// `text` in the colour of `tone`, where there are colours.
    pub(crate) fn toned(&self, tone: Tone, text: &str) -> String {
        let code = match tone {
            _ if !self.colours => return text.to_owned(),
            Tone::Good => 32,
            Tone::Warning => 33,
            Tone::Bad => 31,
            Tone::Quiet => 2,
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }

    /// Columns as wide as what is in them, under `headings`.
    pub(crate) fn table(&mut self, headings: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
        let shown = rows
            .iter()
            .map(|row| row.iter().map(|cell| visible(cell, true)).collect());
        let rows: Vec<Vec<_>> = shown.collect();
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
        self.verbatim(&head)?;
        for row in rows {
            self.verbatim(&aligned(&mut row.iter().map(AsRef::as_ref)))?;
        }
        Ok(())
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// `text` with its control characters escaped, but for colours; and for the ends of lines, unless it is to be one line.
pub(crate) fn visible(text: &str, one_line: bool) -> Cow<'_, str> {
    let is_fine = |c: char| !c.is_control() || (!one_line && "\n\t".contains(c));
    if text.chars().all(is_fine) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let colour = COLOURS.iter().find(|colour| rest.starts_with(**colour));
        let taken = match colour {
            Some(colour) => colour.len(),
            None => next.len_utf8(),
        };
        if colour.is_some() || is_fine(next) {
            shown.push_str(&rest[..taken]);
        } else {
            shown.extend(next.escape_default());
        }
        rest = &rest[taken..];
    }
    Cow::Owned(shown)
}

const COLOURS: [&str; 5] = [
    "\u{1b}[32m",
    "\u{1b}[33m",
    "\u{1b}[31m",
    "\u{1b}[2m",
    "\u{1b}[0m",
];

#[cfg(test)]
mod tests {
    use super::visible;

    #[test]
    fn what_would_do_something_to_a_terminal_is_shown() {
        assert_eq!(visible("a\tb\nc", false), "a\tb\nc");
        assert_eq!(visible("a\nb", true), "a\\nb");
        assert_eq!(visible("\u{1b}]0;x\u{7}", false), "\\u{1b}]0;x\\u{7}");
        assert_eq!(
            visible("\u{1b}[31mé\u{1b}[0m", true),
            "\u{1b}[31mé\u{1b}[0m"
        );
        assert_eq!(visible("\u{1b}[2J\u{9b}", true), "\\u{1b}[2J\\u{9b}");
    }
}
