//! Reports for people: lines and tables, printed in full or fitted to a terminal.

use std::io;

use crate::output::{Output, Tone};
use crate::text::Text;
use crate::words;

/// A part of a report.
#[derive(Debug)]
pub(crate) enum Part {
    Line(Text),
    Table(Table),
}

/// A table under a title.
#[derive(Debug)]
pub(crate) struct Table {
    title: String,
    headings: Vec<&'static str>,
    rows: Vec<Vec<Text>>,
}

impl Part {
    pub(crate) fn line(text: impl Into<Text>) -> Self {
        Self::Line(text.into())
    }

    /// Returns a table. Without rows, it is printed as its title and "none".
    pub(crate) fn table(title: &str, headings: &[&'static str], rows: Vec<Vec<Text>>) -> Self {
        Self::Table(Table {
            title: title.to_owned(),
            headings: headings.to_vec(),
            rows,
        })
    }
}

/// Cells of plain text.
pub(crate) fn cells(cells: &[String]) -> Vec<Text> {
    cells.iter().map(Text::from).collect()
}

/// Prints all parts. An empty line separates a table from the parts before and after it.
pub(crate) fn print(output: &mut Output, parts: &[Part]) -> io::Result<()> {
    for line in lines(output, parts, usize::MAX, &rows_of(parts)) {
        output.line(&line)?;
    }
    Ok(())
}

/// Fits a report into `height` lines of `width` columns. Cells and lines that are too wide end with an ellipsis. Rows of the
/// longest tables are left out and counted, then lines at the end.
pub(crate) fn fitted(output: &Output, parts: &[Part], width: usize, height: usize) -> Vec<Text> {
    let mut shown = rows_of(parts);
    loop {
        let mut all = lines(output, parts, width, &shown);
        if all.len() <= height {
            return all;
        }
        // The line that counts the hidden rows needs space, too.
        let longest = shown.iter_mut().max_by_key(|rows| **rows);
        match longest.filter(|rows| **rows > 1) {
            Some(rows) => {
                let excess = all.len() - height;
                *rows -= excess.div_ceil(parts.len()).clamp(1, *rows - 1);
            }
            None => {
                let hidden = all.len() - height.saturating_sub(1);
                all.truncate(height.saturating_sub(1));
                if height > 0 {
                    all.push(more(output, hidden, "line").shortened(width));
                }
                return all;
            }
        }
    }
}

/// Returns the number of rows of each part.
fn rows_of(parts: &[Part]) -> Vec<usize> {
    let rows = parts.iter().map(|part| match part {
        Part::Line(_) => 0,
        Part::Table(table) => table.rows.len(),
    });
    rows.collect()
}

fn more(output: &Output, hidden: usize, noun: &str) -> Text {
    let hidden = words::count(hidden as u64, &format!("more {noun}"));
    output.toned(Tone::Quiet, &format!("… {hidden}"))
}

/// Returns the lines of the parts. `shown` has the number of rows to show of each part.
fn lines(output: &Output, parts: &[Part], width: usize, shown: &[usize]) -> Vec<Text> {
    let mut lines = Vec::new();
    let mut was_line = true;
    for (part, shown) in parts.iter().zip(shown) {
        let is_line = matches!(part, Part::Line(_));
        let is_apart = !(is_line && was_line);
        if is_apart && !lines.is_empty() {
            lines.push(Text::default());
        }
        was_line = is_line;
        match part {
            Part::Line(line) => lines.push(line.shortened(width)),
            Part::Table(table) if table.rows.is_empty() => {
                let none = Text::from(&format!("{}: none", table.title));
                lines.push(none.shortened(width));
            }
            Part::Table(table) => {
                lines.push(Text::from(&table.title).shortened(width));
                lines.extend(output.aligned(&table.headings, &table.rows, *shown, width));
                if let hidden @ 1.. = table.rows.len() - shown {
                    lines.push(more(output, hidden, "row").shortened(width));
                }
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::{Part, cells, fitted, print};
    use crate::output::Output;
    use crate::text::Text;

    fn table(title: &str, rows: usize) -> Part {
        let row = |n: usize| cells(&[format!("name-{n}"), "a rather long text".to_owned()]);
        Part::table(title, &["NAME", "TEXT"], (0..rows).map(row).collect())
    }

    fn shown(parts: &[Part], width: usize, height: usize) -> Vec<String> {
        let output = Output::new(false);
        let lines = fitted(&output, parts, width, height);
        lines.iter().map(|line| line.as_str().to_owned()).collect()
    }

    #[test]
    fn a_report_that_fits_is_not_shortened() {
        let parts = [Part::line("head"), table("One", 1), table("None", 0)];
        let expected = [
            "head",
            "",
            "One",
            "NAME    TEXT",
            "name-0  a rather long text",
            "",
            "None: none",
        ];
        assert_eq!(shown(&parts, 80, 7), expected);
        print(&mut Output::new(false), &parts).unwrap();
    }

    #[test]
    fn columns_are_shortened_to_the_width_and_headings_stay() {
        let lines = shown(&[table("One", 2)], 18, 9);
        assert_eq!(
            lines,
            [
                "One",
                "NAME    TEXT",
                "name-0  a rather …",
                "name-1  a rather …"
            ]
        );
        let lines = shown(&[table("One", 1)], 10, 9);
        assert_eq!(lines, ["One", "NAME  TEXT", "nam…  a r…"]);
        let lines = shown(&[table("One", 1)], 7, 9);
        assert_eq!(lines, ["One", "NAME  …", "nam…  …"]);
    }

    #[test]
    fn characters_of_two_columns_count_twice() {
        let rows = vec![cells(&["日本語テーブル".to_owned(), "x".to_owned()])];
        let lines = shown(&[Part::table("T", &["A", "B"], rows)], 10, 9);
        assert_eq!(lines, ["T", "A        B", "日本語…  x"]);
    }

    #[test]
    fn rows_of_the_longest_tables_are_left_out_and_counted() {
        let parts = [table("Few", 2), table("Many", 50)];
        let lines = shown(&parts, 80, 14);
        assert_eq!(lines.len(), 14, "{lines:#?}");
        assert_eq!(
            lines[2..4],
            ["name-0  a rather long text", "name-1  a rather long text"]
        );
        assert_eq!(lines.last().unwrap(), "… 44 more rows", "{lines:#?}");
        // Lines that do not fit are counted, too.
        let lines = shown(&parts, 80, 4);
        assert_eq!(lines[0], "Few");
        assert_eq!(lines.last().unwrap(), "… 6 more lines", "{lines:#?}");
        for height in 0..60 {
            assert!(shown(&parts, 80, height).len() <= height);
        }
    }

    #[test]
    fn codes_of_colours_have_no_width() {
        let coloured = Text::of_codes("\u{1b}[31mabcdef\u{1b}[0m");
        assert_eq!(coloured.width(), 6);
        assert_eq!(coloured.shortened(4).as_str(), "\u{1b}[31mabc…\u{1b}[0m");
        assert_eq!(
            coloured.padded(8, 0).as_str(),
            "\u{1b}[31mabcdef\u{1b}[0m  "
        );
    }
}
