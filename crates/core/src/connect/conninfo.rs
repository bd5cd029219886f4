//! Parses connection strings by libpq's rules.
//!
//! `tokio_postgres` only gets key/value pairs without the password. Its own parser reads other hosts from URLs than libpq
//! does, and its errors show parts of the text, which may be the password.

use tokio_postgres::Config;

use super::options::{OPTIONS, ParsedOptions, UNSUPPORTED, is_name, option, refusal, unknown};
use super::tls::SslSettings;
use super::url;
use crate::error::Result;

const EXPECTED: &str = "the connection string must be a URL, postgresql://user@host/database, or pairs of key=value \
    with a value that has white space in single quotes";

pub(super) fn parse(text: &str) -> Result<(Config, SslSettings)> {
    if !text.is_empty() && text.trim().is_empty() {
        return Err(refusal("the connection string is empty"));
    }
    let mut parsed = ParsedOptions::default();
    match (url::without_scheme(text), unknown_scheme(text)) {
        (Some(rest), _) => url::read(rest, &mut parsed)?,
        (None, Some(scheme)) => {
            return Err(refusal(format!(
                "unknown scheme {scheme:?} in the connection string; write postgresql://… in lowercase and without a driver"
            )));
        }
        (None, None) => read_pairs(text, &mut parsed)?,
    }
    parsed.into_config()
}

/// Returns the scheme of a URL that is not a connection string.
fn unknown_scheme(text: &str) -> Option<&str> {
    let (scheme, _) = text.split_once("://")?;
    let fits = |c: char| c.is_ascii_alphanumeric() || "+.-".contains(c);
    ((1..=32).contains(&scheme.len()) && scheme.chars().all(fits)).then_some(scheme)
}

fn read_pairs(text: &str, parsed: &mut ParsedOptions) -> Result<()> {
    let mut chars = text.chars().peekable();
    loop {
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        if chars.peek().is_none() {
            return Ok(());
        }
        let mut key = String::new();
        while let Some(c) = chars.next_if(|c| !c.is_whitespace() && *c != '=') {
            key.push(c);
        }
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        let has_value = chars.next_if_eq(&'=').is_some();
        let option = match option(&key) {
            Some(option) if has_value => option,
            // Any other word may be part of a password.
            Some(option) => {
                let message =
                    format!("there is no \"=\" after {option:?} in the connection string");
                return Err(refusal(message));
            }
            None if has_value && UNSUPPORTED.contains(&&*key) => return Err(unknown(&key)),
            None if has_value && is_name(&key) => {
                let message = format!(
                    "unknown option in the connection string; the options are {}; put a value with white space \
                     in single quotes",
                    OPTIONS.join(", ")
                );
                return Err(refusal(message));
            }
            None => return Err(refusal(EXPECTED)),
        };
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        let value = value(option, &mut chars)?;
        parsed.set(option, value.into_bytes())?;
    }
}

/// Reads one value: bare up to white space, or in single quotes. A backslash escapes the next character.
fn value(option: &str, chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<String> {
    let quoted = chars.next_if_eq(&'\'').is_some();
    let mut value = String::new();
    while let Some(c) = chars.next_if(|c| quoted || !c.is_whitespace()) {
        match c {
            '\'' if quoted => return Ok(value),
            '\\' => value.extend(chars.next()),
            c => value.push(c),
        }
    }
    if quoted {
        let message = format!(
            "the quote around the value of {option} in the connection string is not closed"
        );
        return Err(refusal(message));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use tokio_postgres::Config;
    use tokio_postgres::config::Host;

    use super::parse;

    fn config(text: &str) -> Config {
        parse(text).expect(text).0
    }

    /// Returns the complete error text for an invalid connection string.
    fn refusal(text: &str) -> String {
        let error = parse(text).map(drop).expect_err(text);
        assert!(error.is_config(), "{text}: {error:?}");
        format!("{} {error:?}", error.chain())
    }

    fn names(hosts: &[Host]) -> Vec<String> {
        hosts
            .iter()
            .map(|host| match host {
                Host::Tcp(name) => name.clone(),
                #[cfg(unix)]
                Host::Unix(path) => path.display().to_string(),
            })
            .collect()
    }

    #[test]
    fn passwords_never_appear_in_errors_or_change_the_host() {
        let places = [
            "postgres://u:{}@h/d",
            "postgres://u:{}@h",
            "postgres://u:{}@h:5432/d?sslmode=disable",
            "postgres://{}@h/d?colour=red",
            "postgres://h/d?password={}",
            "postgres://h/d?user=u&password={}&sslmode=disable",
            "postgres://u@h?password={}",
            "postgres//u:{}@h/d?sslmode=disable",
            "postgres:/u:{}@h/d",
            "Postgresql://u:{}@h/d?sslmode=disable",
            "POSTGRES://u:{}@h/d",
            "postgresql+psycopg://u:{}@h/d?sslmode=disable",
            " postgres://u:{}@h/d?sslmode=disable",
            "'postgres://u:{}@h/d?sslmode=disable'",
            "\"postgres://u:{}@h/d?sslmode=disable\"",
            "url=postgres://u:{}@h/d",
            "host=h dbname=postgres://u:{}@h/d",
            "u:{}@h/d?sslmode=disable",
            "u:{}@h/d",
            "host=h password={}",
            "host=h user=u password={} sslmode=disable",
            "host=h password='{}",
            "host=h password='{}'",
            "password={} host=h colour=red",
            "host=h password:{}",
            "host=h pass word={}",
            "user=u:a {} host=h",
            "user=u {} password=x",
            "user=u:a {}=x",
        ];
        let passwords = [
            "zqa",
            "zqa@zqb",
            "zqa/zqb",
            "zqa?zqb",
            "zqa:zqb",
            "zqa#zqb",
            "zqa%zqb",
            "zqa%ffzqb",
            "zqa%00zqb",
            "zqa&zqb",
            "zqa&zqb=zqc",
            "zqa=zqb",
            "zqa zqb",
            "zqa zqb=zqc",
            "zqa'zqb",
            "zqa' zqb",
            "zqa' zqb='zqc",
            "zqa\\zqb",
            "zqa,zqb",
            "zqa[zqb",
            "zqa@[zqb",
            "zqa://zqb",
            "zqa@zqb@zqc",
            "zqa@zqb/zqc",
            "zqa@zqb:zqc",
            "zqa@zqb,zqc",
            "zqa@zqb?zqc",
            "zqa@zqb?zqc=zqd",
            "zqa@zqb?sslmode=zqc",
            "zqa@zqb?port=zqc",
            "zqa?zqb@zqc",
            "zqa?zqb=zqc@zqd",
            "zqa/zqb@zqc",
            "zqa/zqb?zqc",
            "zqa/zqb?zqc=zqd",
            "12/zqb?zqc=zqd",
            "zqaé@zqb",
        ];
        for place in places {
            for password in passwords {
                let text = place.replace("{}", password);
                match parse(&text) {
                    Ok((config, _)) => {
                        let hosts = names(config.get_hosts());
                        assert_eq!(hosts, ["h"], "{text}");
                        let name = config.get_dbname().unwrap_or_default();
                        assert!(!name.contains("zq"), "{text}: {name}");
                    }
                    Err(error) => {
                        let shown = format!("{} {error:?}", error.chain());
                        assert!(
                            error.is_config() && !shown.contains("zq"),
                            "{text}: {shown}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn at_signs_end_the_user_as_in_libpq() {
        for (text, host, password) in [
            ("postgres://u:p@h/d", "h", "p"),
            ("postgres://u:p:w@h/d", "h", "p:w"),
            ("postgres://u:%40%2f%3F%25@h/d", "h", "@/?%"),
            ("postgres://h/d?password=a@b/c", "h", "a@b/c"),
            ("postgres://h?password=a/b@c", "h", "a/b@c"),
            ("postgres://u:p@h?application_name=x@db.invalid", "h", "p"),
            ("postgres://u:p@h/d?password=later", "h", "later"),
        ] {
            let config = config(text);
            assert_eq!(names(config.get_hosts()), [host], "{text}");
            assert_eq!(config.get_password(), Some(password.as_bytes()), "{text}");
        }
        let named = config("postgres://h/d?application_name=x@db.invalid");
        assert_eq!(names(named.get_hosts()), ["h"]);
        assert_eq!(named.get_application_name(), Some("x@db.invalid"));
        assert_eq!(named.get_user(), None);
        let bytes = config("postgres://u:p%ff@h/d");
        assert_eq!(bytes.get_password(), Some(b"p\xff".as_slice()));
        for text in [
            "postgres://u:p@s3/cret@h/d",
            "postgres://u:p@s3@cret@h/d",
            "postgres://u:p?s3@cret@h/d",
            "postgres://u:p/s3cret@h/d",
            "postgres://u:p@s3?cret@h/d",
            "postgres://h?application_name=x@db.invalid",
        ] {
            let shown = refusal(text);
            let ways = ["%40", "%2F", "%3F"];
            assert!(
                ways.iter().all(|way| shown.contains(way)),
                "{text}: {shown}"
            );
        }
    }

    #[test]
    fn hosts_and_ports_are_parsed_as_in_libpq() {
        for (text, hosts, ports) in [
            ("postgres://", &[][..], &[][..]),
            ("postgres:///d", &[], &[]),
            ("postgres://u@/d", &[], &[]),
            ("postgres://h", &["h"], &[]),
            ("postgres://h:/d", &["h"], &[]),
            ("postgres://a:1,b,c:3/d", &["a", "b", "c"], &[1, 5432, 3]),
            ("postgres://u@[::1]:1,b:2", &["::1", "b"], &[1, 2]),
            ("postgres://[::1]", &["::1"], &[]),
            ("postgres://%2Fvar%2Frun:1/d", &["/var/run"], &[1]),
            ("postgres://u@:1/d?host=/tmp", &["/tmp"], &[1]),
            ("postgres://localhost/d?host=/tmp", &["/tmp"], &[]),
            ("postgres:///d?host=a,b&port=1,2", &["a", "b"], &[1, 2]),
            ("host=a host=b,c port=1", &["b", "c"], &[1]),
        ] {
            let config = config(text);
            assert_eq!(names(config.get_hosts()), hosts, "{text}");
            assert_eq!(config.get_ports(), ports, "{text}");
        }
        for text in [
            "postgres://[::1/d",
            "postgres://[]/d",
            "postgres://[::1]1/d",
            "postgres://h/d?host=a@b",
            "postgres://h/d%",
            "postgres://h/d%4",
            "postgres://h/d%zz",
            "postgres://h/d?application_name=%ff",
            "postgres://h/d?a%00=b",
            "postgres://h/d?sslmode",
            "postgres://h/d?&sslmode=disable",
            "host=u:p@h",
            "=h host=a",
            "host=h =x",
        ] {
            refusal(text);
        }
    }

    #[test]
    fn errors_explain_the_form_of_connection_strings() {
        for (text, part) in [
            (" ", "empty"),
            ("\t\n", "empty"),
            ("postgres//u:p@h/d?sslmode=disable", "postgresql://"),
            ("'postgres://u:p@h/d?sslmode=disable'", "postgresql://"),
            ("Postgresql://u:p@h/d?sslmode=disable", "\"Postgresql\""),
            (
                "postgresql+psycopg://u:p@h/d?sslmode=disable",
                "without a driver",
            ),
            ("postgres://u:p@h/d?colour=red", "colour"),
            ("host=h password=p colour=red", "single quotes"),
            ("host=h requirepeer=postgres", "requirepeer"),
            ("host=h colour=red", "target_session_attrs"),
            ("host=h sslnegotiation=direct", "not supported"),
            ("host h", "no \"=\" after \"host\""),
            ("postgres://h/d?sslcertmode=require", "sslcertmode"),
        ] {
            let shown = refusal(text);
            assert!(shown.contains(part), "{text}: {shown}");
        }
    }
}
