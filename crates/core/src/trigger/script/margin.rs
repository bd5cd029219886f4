//! Merges texts that have most lines in common into one text with a margin.

use crate::error::Result;

/// Merges the texts of `count` sets of options. Each line begins with one character per set, a letter if the set has the line
/// and a dot if not, and a bar.
pub(super) fn margined(count: u8, write: impl Fn(u8) -> Result<Option<String>>) -> Result<String> {
    let mut merged: Vec<(u32, String)> = Vec::new();
    for options in 0..count {
        if let Some(text) = write(options)? {
            merge(&mut merged, 1 << options, &text);
        }
    }
    let lines = merged.iter().map(|(sets, line)| {
        let letters = (0..count).map(|options| match sets & 1 << options {
            0 => '.',
            _ => char::from(b'a' + options),
        });
        format!("{}|{line}", letters.collect::<String>())
    });
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

/// Merges the lines of `text`, which belong to `set`, into `merged`. The two share a longest common subsequence of lines.
fn merge(merged: &mut Vec<(u32, String)>, set: u32, text: &str) {
    let lines: Vec<&str> = text.split('\n').collect();
    let (rows, columns) = (merged.len(), lines.len());
    let mut common = vec![vec![0_usize; columns + 1]; rows + 1];
    for row in (0..rows).rev() {
        for column in (0..columns).rev() {
            common[row][column] = match merged[row].1 == lines[column] {
                true => 1 + common[row + 1][column + 1],
                false => common[row + 1][column].max(common[row][column + 1]),
            };
        }
    }
    let before = std::mem::take(merged);
    let mut column = 0;
    for (row, (sets, line)) in before.into_iter().enumerate() {
        // Lines that only this text has come first, unless a later line of `merged` matches one of them.
        while column < columns
            && line != lines[column]
            && common[row][column + 1] > common[row + 1][column]
        {
            merged.push((set, lines[column].to_owned()));
            column += 1;
        }
        let is_shared = column < columns && line == lines[column];
        merged.push((if is_shared { sets | set } else { sets }, line));
        column += usize::from(is_shared);
    }
    let rest = lines[column..].iter();
    merged.extend(rest.map(|line| (set, (*line).to_owned())));
}

#[cfg(test)]
mod tests {
    use super::margined;

    #[test]
    fn margins_name_the_texts_that_have_each_line() {
        let texts = ["a\nb\nd\n", "a\nc\nd\n", "b\nc\ne\n"];
        let merged = margined(4, |set| {
            Ok(texts.get(usize::from(set)).map(|text| (*text).to_owned()))
        });
        let merged = merged.unwrap();
        for (set, text) in texts.iter().enumerate() {
            let lines = merged
                .lines()
                .filter(|line| !line[set..=set].starts_with('.'));
            let lines: Vec<_> = lines.map(|line| &line[5..]).collect();
            assert_eq!(lines.join("\n"), *text, "{merged}");
        }
        assert!(merged.lines().count() <= 7, "{merged}");
    }
}
