//! Numbers, times and sizes for people; names and options as shells read them.

use std::time::SystemTime;

use pgherald_core::TableName;
use postgres_protocol::escape::escape_identifier;

use crate::text::is_hidden;

/// Formats a time in UTC, to the second.
pub(crate) fn time(time: SystemTime) -> String {
    match jiff::Timestamp::try_from(time) {
        Ok(time) => time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        // Beyond the year 9999.
        Err(_) => "some time".to_owned(),
    }
}

/// Formats a duration in its two largest units.
pub(crate) fn duration(seconds: f64) -> String {
    // The conversion saturates, and NaN becomes 0.
    let whole = seconds.max(0.0) as u64;
    match whole {
        0 if seconds > 0.0 => format!("{seconds:.1} s"),
        0..60 => format!("{whole} s"),
        60..3_600 => format!("{} min {} s", whole / 60, whole % 60),
        3_600..86_400 => format!("{} h {} min", whole / 3_600, whole / 60 % 60),
        _ => format!("{} d {} h", whole / 86_400, whole / 3_600 % 24),
    }
}

/// Formats an approximate duration.
pub(crate) fn about(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7_200.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.0} h", s / 3_600.0),
        s => format!("{:.0} days", s / 86_400.0),
    }
}

/// Formats a size like PostgreSQL's `pg_size_pretty`.
pub(crate) fn size(bytes: impl Into<i128>) -> String {
    const UNITS: [&str; 5] = ["bytes", "kB", "MB", "GB", "TB"];
    let (mut left, mut unit) = (bytes.into(), 0);
    while left >= 10 * 1_024 && unit + 1 < UNITS.len() {
        (left, unit) = (left / 1_024 + i128::from(left % 1_024 >= 512), unit + 1);
    }
    format!("{left} {}", UNITS[unit])
}

/// `1 event`, `2 events`.
pub(crate) fn count(number: impl Into<i128>, noun: &str) -> String {
    match number.into() {
        1 => format!("1 {noun}"),
        number => format!("{number} {noun}s"),
    }
}

/// The number of events that a group lags behind: `1 event`, `about 3000000 events`.
pub(crate) fn lag(events: i64, is_estimate: bool) -> String {
    let events = count(events, "event");
    match is_estimate {
        true => format!("about {events}"),
        false => events,
    }
}

/// Quotes an argument for a shell. An argument with hidden characters, such as line breaks, is written as `$'…'`, which bash,
/// zsh and ksh support.
pub(crate) fn argument(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-.,:/@+".contains(c);
    if text.contains(is_hidden) {
        let bytes = |c: char| {
            let bytes = c.to_string().into_bytes().into_iter();
            bytes.map(|byte| format!("\\{byte:03o}")).collect()
        };
        let written = text.chars().map(|c| match c {
            '\'' | '\\' => format!("\\{c}"),
            c if is_hidden(c) => bytes(c),
            c => c.to_string(),
        });
        return format!("$'{}'", written.collect::<String>());
    }
    match !text.is_empty() && text.chars().all(plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

/// Quotes the last argument of a command. Puts `--` in front of one that begins like an option.
pub(crate) fn last(text: &str) -> String {
    let dashes = if text.starts_with('-') { "-- " } else { "" };
    format!("{dashes}{}", argument(text))
}

/// Returns an option with its value, which may begin like an option.
pub(crate) fn option(name: &str, value: &str) -> String {
    let between = if value.starts_with('-') { '=' } else { ' ' };
    format!("--{name}{between}{}", argument(value))
}

/// Quotes a table for a shell and for this command. Names are quoted as in SQL only if SQL requires it. An unquoted name is
/// ambiguous only if another table's name contains the dot; the command refuses such a name.
pub(crate) fn table(table: &TableName) -> String {
    let is_simple = |part: &str| {
        let begins_well = part.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
        begins_well
            && part
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    match is_simple(table.schema()) && is_simple(table.name()) {
        true => table.to_string(),
        false => quoted(table),
    }
}

/// Like [`table`], but always quotes the names as in SQL, for tables that may be confused.
pub(crate) fn quoted(table: &TableName) -> String {
    argument(&format!(
        "{}.{}",
        escape_identifier(table.schema()),
        escape_identifier(table.name())
    ))
}

/// Parses a name in double quotes, as in SQL, from behind the opening quote. Returns the name and the rest of the text.
pub(crate) fn unquoted(mut text: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    loop {
        let (before, after) = text.split_once('"')?;
        name.push_str(before);
        match after.strip_prefix('"') {
            Some(more) => {
                name.push('"');
                text = more;
            }
            None => return Some((name, after)),
        }
    }
}

/// Shortens a text to one line of at most `most` characters.
pub(crate) fn shortened(text: &str, most: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(most) {
        Some(_) => line
            .chars()
            .take(most.saturating_sub(1))
            .chain(['…'])
            .collect(),
        None => line,
    }
}

/// Shortens an error with its causes to one line of at most `most` characters. It leaves out the middle, because the root cause
/// is at the end.
pub(crate) fn shortened_error(text: &str, most: usize) -> String {
    let line: Vec<char> = shortened(text, usize::MAX).chars().collect();
    if line.len() <= most {
        return line.into_iter().collect();
    }
    let kept = most.saturating_sub(1);
    let (start, end) = (kept / 3, line.len() - (kept - kept / 3));
    let start = line[..start].iter();
    start.chain(&['…']).chain(&line[end..]).collect()
}

#[cfg(test)]
mod tests {
    use pgherald_core::TableName;

    use super::{argument, count, duration, last, option, shortened, shortened_error, size, table};

    #[test]
    fn tables_with_special_names_are_quoted() {
        let formatted = [
            ("shop", "orders"),
            ("shop", "My Orders"),
            ("a.b", "c"),
            ("a", "it's \"c\""),
            ("-s", "t"),
        ];
        let formatted =
            formatted.map(|(schema, name)| table(&TableName::new(schema, name).unwrap()));
        let expected = [
            "shop.orders",
            r#"'"shop"."My Orders"'"#,
            r#"'"a.b"."c"'"#,
            r#"'"a"."it'\''s ""c"""'"#,
            r#"'"-s"."t"'"#,
        ];
        assert_eq!(formatted, expected);
    }

    #[test]
    fn arguments_are_quoted_for_shells() {
        assert_eq!(argument("it's\n\\\u{9b}é"), r"$'it\'s\012\\\302\233é'");
        assert_eq!(
            ["work", "-w", "-- w"].map(last),
            ["work", "-- -w", "-- '-- w'"]
        );
        assert_eq!(option("channel", "a b"), "--channel 'a b'");
        assert_eq!(option("channel", "-ch"), "--channel=-ch");
    }

    #[test]
    fn numbers_and_texts_are_formatted_for_people() {
        let formatted = [0.0, 0.25, 59.9, 61.0, 7_260.0, 90_000.0, f64::NAN].map(duration);
        let expected = [
            "0 s",
            "0.2 s",
            "59 s",
            "1 min 1 s",
            "2 h 1 min",
            "1 d 1 h",
            "0 s",
        ];
        assert_eq!(formatted, expected);
        let formatted = [0, 8_192, 65_536, 10_737_418_240, i64::MAX].map(size);
        assert_eq!(
            formatted,
            ["0 bytes", "8192 bytes", "64 kB", "10 GB", "8388608 TB"]
        );
        assert_eq!(
            [0, 1, 2].map(|n| count(n, "event")),
            ["0 events", "1 event", "2 events"]
        );
        let formatted = ["public.users", "it's me", "", "$HOME", "a;b"].map(argument);
        let expected = ["public.users", r"'it'\''s me'", "''", "'$HOME'", "'a;b'"];
        assert_eq!(formatted, expected);
        assert_eq!(shortened("a\n b", 3), "a b");
        assert_eq!(shortened("abcd", 3), "ab…");
        assert_eq!(shortened_error("abcdefgh\n i", 10), "abcdefgh i");
        assert_eq!(shortened_error("abcdefghijk", 10), "abc…fghijk");
        assert_eq!(shortened_error("日本語", 2), "…語");
    }
}
