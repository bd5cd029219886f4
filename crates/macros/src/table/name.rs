//! Parses names of tables in attributes: `users`, `app.users`, `"My Schema"."Users"`.

use std::iter::Peekable;
use std::str::Chars;

/// The maximum length of an identifier in PostgreSQL.
const MAX_IDENTIFIER_BYTES: usize = 63;

/// Returns the parts between the dots, without quotes.
pub(super) fn parts(text: &str) -> Result<Vec<String>, String> {
    let mut rest = text.chars().peekable();
    let mut parts = Vec::new();
    loop {
        let part = part(&mut rest)?;
        check(&part)?;
        parts.push(part);
        match rest.next() {
            None => return Ok(parts),
            Some('.') => {}
            Some(other) => return Err(format!("`{other}` follows a closing quote")),
        }
    }
}

fn part(rest: &mut Peekable<Chars<'_>>) -> Result<String, String> {
    let mut part = String::new();
    if rest.next_if_eq(&'"').is_none() {
        while let Some(next) = rest.next_if(|next| *next != '.') {
            part.push(next);
        }
        return if part.contains('"') {
            Err("a quote stands inside a name; quote the whole name, and double the quote".into())
        } else {
            Ok(part)
        };
    }
    loop {
        match rest.next() {
            None => return Err("a quote is not closed".into()),
            Some('"') if rest.next_if_eq(&'"').is_none() => return Ok(part),
            Some(next) => part.push(next),
        }
    }
}

fn check(part: &str) -> Result<(), String> {
    if part.is_empty() {
        Err("a name is empty".into())
    } else if part.contains('\0') {
        Err("a name contains a NUL byte".into())
    } else if part.len() > MAX_IDENTIFIER_BYTES {
        let length = part.len();
        Err(format!(
            "a name has {length} bytes, the limit is {MAX_IDENTIFIER_BYTES}"
        ))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::parts;

    #[test]
    fn names_are_split_at_dots_outside_of_quotes() {
        assert_eq!(parts("users").unwrap(), ["users"]);
        assert_eq!(parts("app.Users").unwrap(), ["app", "Users"]);
        assert_eq!(parts(r#""a.b"."c""d""#).unwrap(), ["a.b", "c\"d"]);
        assert_eq!(parts("a.b.c").unwrap().len(), 3);
    }

    #[test]
    fn invalid_identifiers_are_refused() {
        let long = "x".repeat(64);
        for bad in [
            "",
            "app.",
            ".users",
            r#""users"#,
            r#"us"ers"#,
            r#""a"b"#,
            "a\0b",
            &long,
        ] {
            assert!(parts(bad).is_err(), "{bad:?}");
        }
        assert!(parts(&long[1..]).is_ok());
    }
}
