//! Numbers, times and sizes as people say them; names as shells read them.

use std::time::SystemTime;

use pgherald_core::TableName;
use postgres_protocol::escape::escape_identifier;

use crate::output::is_hidden;

/// The time in UTC, to the second.
pub(crate) fn time(time: SystemTime) -> String {
    match jiff::Timestamp::try_from(time) {
        Ok(time) => time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        // Beyond the year 9999.
        Err(_) => "some time".to_owned(),
    }
}

/// How long, in its two largest units.
pub(crate) fn duration(seconds: f64) -> String {
    // Saturates, and is 0 of what is no number.
    let whole = seconds.max(0.0) as u64;
    match whole {
        0 if seconds > 0.0 => format!("{seconds:.1} s"),
        0..60 => format!("{whole} s"),
        60..3_600 => format!("{} min {} s", whole / 60, whole % 60),
        3_600..86_400 => format!("{} h {} min", whole / 3_600, whole / 60 % 60),
        _ => format!("{} d {} h", whole / 86_400, whole / 3_600 % 24),
    }
}

/// About how long.
pub(crate) fn about(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7_200.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.0} h", s / 3_600.0),
        s => format!("{:.0} days", s / 86_400.0),
    }
}

/// How much, as PostgreSQL's `pg_size_pretty` says it.
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

/// An argument as a shell reads it. What would be hidden, such as the end of a line, is written as bash, zsh and ksh read it.
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

/// The last argument of a command: one that begins like an option is told to be none.
pub(crate) fn last(text: &str) -> String {
    let dashes = if text.starts_with('-') { "-- " } else { "" };
    format!("{dashes}{}", argument(text))
}

/// An option and its value, which may begin like an option.
pub(crate) fn option(name: &str, value: &str) -> String {
    let between = if value.starts_with('-') { '=' } else { ' ' };
    format!("--{name}{between}{}", argument(value))
}

/// A table as a shell reads it, and then this command. Names are quoted as in SQL only if SQL requires it: a simple name means the
/// same table however it is read, unless another table's own name contains the dot: then the command refuses it.
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

/// The same, quoted in any case: for tables that may be confused.
pub(crate) fn quoted(table: &TableName) -> String {
    argument(&format!(
        "{}.{}",
        escape_identifier(table.schema()),
        escape_identifier(table.name())
    ))
}

/// What is written in double quotes, as in SQL, up to the closing one, and what comes behind it.
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

/// One line of at most so many characters.
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

/// One line of at most so many characters of an error with its causes. The first cause is at the end and explains most, so what
/// does not fit is left out of the middle.
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
    fn tables_are_told_apart() {
        let said = [
            ("shop", "orders"),
            ("shop", "My Orders"),
            ("a.b", "c"),
            ("a", "it's \"c\""),
            ("-s", "t"),
        ];
        let said = said.map(|(schema, name)| table(&TableName::new(schema, name).unwrap()));
        let expected = [
            "shop.orders",
            r#"'"shop"."My Orders"'"#,
            r#"'"a.b"."c"'"#,
            r#"'"a"."it'\''s ""c"""'"#,
            r#"'"-s"."t"'"#,
        ];
        assert_eq!(said, expected);
    }

    #[test]
    fn arguments_are_read_back_as_they_were() {
        assert_eq!(argument("it's\n\\\u{9b}é"), r"$'it\'s\012\\\302\233é'");
        assert_eq!(
            ["work", "-w", "-- w"].map(last),
            ["work", "-- -w", "-- '-- w'"]
        );
        assert_eq!(option("channel", "a b"), "--channel 'a b'");
        assert_eq!(option("channel", "-ch"), "--channel=-ch");
    }

    #[test]
    fn what_is_said() {
        let said = [0.0, 0.25, 59.9, 61.0, 7_260.0, 90_000.0, f64::NAN].map(duration);
        let expected = [
            "0 s",
            "0.2 s",
            "59 s",
            "1 min 1 s",
            "2 h 1 min",
            "1 d 1 h",
            "0 s",
        ];
        assert_eq!(said, expected);
        let said = [0, 8_192, 65_536, 10_737_418_240, i64::MAX].map(size);
        assert_eq!(
            said,
            ["0 bytes", "8192 bytes", "64 kB", "10 GB", "8388608 TB"]
        );
        assert_eq!(
            [0, 1, 2].map(|n| count(n, "event")),
            ["0 events", "1 event", "2 events"]
        );
        let said = ["public.users", "it's me", "", "$HOME", "a;b"].map(argument);
        let expected = ["public.users", r"'it'\''s me'", "''", "'$HOME'", "'a;b'"];
        assert_eq!(said, expected);
        assert_eq!(shortened("a\n b", 3), "a b");
        assert_eq!(shortened("abcd", 3), "ab…");
        assert_eq!(shortened_error("abcdefgh\n i", 10), "abcdefgh i");
        assert_eq!(shortened_error("abcdefghijk", 10), "abc…fghijk");
        assert_eq!(shortened_error("日本語", 2), "…語");
    }
}
