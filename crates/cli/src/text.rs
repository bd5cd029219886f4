//! One line of text for a terminal, without characters that would control it.
//!
//! Names and values come from the database and are not trusted.

use std::borrow::Cow;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// One line of text. Its only control characters are the codes of colours.
#[derive(Clone, Debug, Default)]
pub(crate) struct Text(String);

impl Text {
    /// Appends `more`, escaped.
    pub(crate) fn then(self, more: &str) -> Self {
        Self(self.0 + &visible(more))
    }

    /// Returns the text, escaped, between the code of a colour and the code that ends it.
    pub(crate) fn coloured(text: &str, code: u8) -> Self {
        Self(format!("\u{1b}[{code}m{}\u{1b}[0m", visible(text)))
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
pub(crate) fn escaped(text: &str, is_hidden: impl Fn(char) -> bool) -> Cow<'_, str> {
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
